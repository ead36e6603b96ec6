"""Compare one server on SQLite with one, two and three on a PostgreSQL, in one run: `make bench`.

Each load is put on all of them, one right after the other, in every round. Senders and readers are
spread over the servers.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import load
from plan import better
from servers import make_log, running

from chatlab.harness import Postgres

ROUNDS = int(os.environ.get("CHATLAB_ROUNDS", "5"))
COUNTS = (0, 1, 2, 3)
"""How many servers share the PostgreSQL; 0 is the one on SQLite."""
NAMES = ["SQLite", *(f"{count} on PostgreSQL" for count in COUNTS[1:])]
INGEST = {"do": "ingest", "seconds": 2}
LOADS = {
    "1 sender: ms": INGEST | {"senders": 1},
    "10 senders: messages/s": INGEST | {"senders": 10},
    "100 senders: messages/s": INGEST | {"senders": 100},
    "fan-out to 300 clients: events/s": {
        "do": "fan_out",
        "clients": 300,
        "messages": 200,
        "in_flight": 20,
    },
}
NUMBERS = itertools.count(1)


def measure(asked, count, database):
    """Put a load on so many servers with a fresh log; return its figures by unit."""
    with contextlib.ExitStack() as stack:
        if count:
            log = database.make_database(f"log{next(NUMBERS)}")
            servers = [stack.enter_context(running("shared", log)) for _ in range(count)]
        else:
            log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "chat.db"
            make_log(log, 0)
            servers = [stack.enter_context(running("finished", log))]
        told = {"port": [server.port for server in servers], "pid": servers[0].pid}
        command = [sys.executable, load.__file__, json.dumps(asked | told)]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def main():
    figures, added = {(title, count): [] for title in LOADS for count in COUNTS}, []
    with Postgres() as database:
        for number in range(ROUNDS):
            for title, asked in LOADS.items():
                for count in COUNTS if number % 2 else reversed(COUNTS):
                    progress(f"round {number + 1} of {ROUNDS}: {title}, {NAMES[count]}")
                    unit = title.rpartition(": ")[2]
                    figures[title, count].append(measure(asked, count, database)[unit])
            added.append(measure({"do": "crosses", "times": 200}, 2, database)["ms"])
    progress("")
    print(table(figures))
    print(f"{'to a client of another server: ms':34}{median(added):.3g} more")


def progress(sentence):
    """Say what is going on, on a line that the next one takes."""
    print(f"\r\x1b[K{sentence}", end="", file=sys.stderr, flush=True)


def table(figures):
    """Return a line for each load: the medians, and how many times as good as SQLite each is."""
    lines = [" " * 34 + "".join(f"{name:>28}" for name in NAMES)]
    for title in LOADS:
        cells = [_cell(title, figures[title, count], figures[title, 0]) for count in COUNTS]
        lines.append(f"{title:34}" + "".join(f"{cell:>28}" for cell in cells))
    return "\n".join(lines)


def _cell(title, values, of_sqlite):
    each = [better(title, one, other) for one, other in zip(values, of_sqlite, strict=True)]
    return f"{median(values):,.1f} (x{median(each):.2f}, {min(each):.2f}-{max(each):.2f})"


if __name__ == "__main__":
    main()
