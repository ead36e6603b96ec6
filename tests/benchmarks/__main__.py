"""Compare three servers under the same load, in one run: `make bench`.

CHATLAB_ROUNDS is how often everything but the storm is measured. The servers of a step are measured
one right after the other, on one machine; so ratios are taken round by round.
"""

import json
import os
import platform
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import load
import report
from plan import PLAN, STORM
from servers import HERE, make_log, node_is_missing, running

ROUNDS = int(os.environ.get("CHATLAB_ROUNDS", "5"))
RESULTS = HERE / "results"
FILES = 4096
"""Files that a process may have open: each of its connections is one."""


def main():
    if not Path("/proc/self/status").exists():
        sys.exit("make bench reads from /proc how much memory a process has: it is not here.")
    allow_files(FILES)
    skipped = ()
    if reason := node_is_missing():
        print(f"The servers in Node.js are left out: {reason}.")
        skipped = ("node", "tutorial")
    figures, failures = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for number, step in steps():
            names = [name for name in step.servers if name not in skipped]
            # They change places, so that none is always measured first.
            for name in names if number % 2 else reversed(names):
                progress(f"round {number + 1} of {ROUNDS}: {step.title}, {name}")
                try:
                    note(figures, step, name, measure(step, name, Path(folder)))
                except RuntimeError as error:
                    failures.append(f"{step.title}, {name}: {error}")
    progress("")
    publish(figures, failures)


def steps():
    """Give each round's steps, with the number of the round; the storm comes last, and once."""
    for number in range(ROUNDS):
        for step in PLAN:
            yield number, step
    yield ROUNDS - 1, STORM


def measure(step, name, folder):
    """Start a server with a log of its own, put the load on it, and return the figures by unit.

    Raises RuntimeError, with what went wrong, if the server does not stand the load.
    """
    db = folder / "chat.db"
    for file in folder.glob("chat.db*"):
        file.unlink()
    shutil.copy(log_of(step.rows, folder), db)
    with running(name, db) as server:
        asked = json.dumps(step.load | server._asdict())
        command = [sys.executable, load.__file__, asked]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return json.loads(done.stdout)


def log_of(rows, folder):
    """Return a message log of so many rows, which is made once."""
    db = folder / f"{rows} rows.db"
    if not db.exists():
        make_log(db, rows)
    return db


def note(figures, step, name, measured):
    """Add what was measured to the figures: {(title, unit): {server: [one a round]}}."""
    for unit in step.figures:
        servers = figures.setdefault((step.title, unit), {})
        servers.setdefault(name, []).append(measured[unit])


def progress(sentence):
    """Say what is going on, on a line that the next one takes."""
    print(f"\r\x1b[K{sentence}", end="", file=sys.stderr, flush=True)


def publish(figures, failures):
    """Print what was found, and write the figures and their picture."""
    print(report.table(figures))
    print(report.verdicts(figures))
    print(*failures, sep="\n")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "results.json").write_text(json.dumps(as_data(figures, failures), indent=1))
    (RESULTS / "results.svg").write_text(report.picture(figures))
    print(f"The figures and a picture of them are in {os.path.relpath(RESULTS)}.")


def as_data(figures, failures):
    """Return everything in a form that JSON has."""
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "rounds": ROUNDS,
        "figures": [
            {"title": title, "unit": unit, "servers": servers}
            for (title, unit), servers in figures.items()
        ],
        "failures": failures,
    }


def allow_files(count):
    """Raise the limit of open files, here and in every process that is started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


if __name__ == "__main__":
    main()
