"""Compare servers that share a PostgreSQL with one on SQLite, and with Node's, in one run.

`make bench` runs it. Each load is put on all of them, one right after the other, in every round.
Senders and readers are spread over the servers. Node's servers have the official adapter for
PostgreSQL: see node/cluster.mjs.
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
from servers import make_log, node_is_missing, running

from chatlab.harness import Postgres

ROUNDS = int(os.environ.get("CHATLAB_ROUNDS", "5"))
SQLITE, OURS, NODE = "finished", "shared", "node cluster"
CASES = {
    "SQLite": (SQLITE, 1),
    "PostgreSQL": (OURS, 1),
    "2 servers": (OURS, 2),
    "3 servers": (OURS, 3),
    "Node": (NODE, 1),
    "2 of Node": (NODE, 2),
    "3 of Node": (NODE, 3),
}
"""What each column of the table is: which server, and how many."""
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
    "to a client of another server: ms": {"do": "crosses", "times": 200},
    "later than at its own server: ms more": {"do": "crosses", "times": 200},
}
NUMBERS = itertools.count(1)


def measure(asked, server, count, database):
    """Put a load on so many servers with a fresh log; return its figures by unit.

    Raises RuntimeError if it does not come to its end: a server may lose messages.
    """
    with contextlib.ExitStack() as stack:
        if server == SQLITE:
            log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "chat.db"
            make_log(log, 0)
        else:
            log = database.make_database(f"log{next(NUMBERS)}")
        servers = [stack.enter_context(running(server, log)) for _ in range(count)]
        told = {"port": [server.port for server in servers], "pid": servers[0].pid}
        command = [sys.executable, load.__file__, json.dumps(asked | told)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return json.loads(done.stdout)


def main():
    cases = CASES
    if reason := node_is_missing():
        print(f"The servers in Node.js are left out: {reason}.")
        cases = {name: case for name, case in CASES.items() if case[0] != NODE}
    figures, failures = {}, []
    with Postgres() as database:
        for number, (title, asked) in itertools.product(range(ROUNDS), LOADS.items()):
            for name in cases if number % 2 else reversed(cases):
                if asked["do"] != "crosses" or cases[name][1] == 2:
                    progress(f"round {number + 1} of {ROUNDS}: {title}, {name}")
                    try:
                        measured = measure(asked, *cases[name], database)[unit_of(title)]
                        figures.setdefault((title, name), []).append(measured)
                    except RuntimeError as error:
                        failures.append(f"{title}, {name}: {error}")
    progress("")
    print(table(figures, cases))
    print(beside_node(figures))
    print(verdicts(figures))
    print(*failures, sep="\n")


def unit_of(title):
    return title.rpartition(": ")[2]


def progress(sentence):
    """Say what is going on, on a line that the next one takes."""
    print(f"\r\x1b[K{sentence}", end="", file=sys.stderr, flush=True)


def table(figures, cases):
    """Return a table of the medians, in Markdown."""
    lines = [["medians", *cases], ["---"] * (len(cases) + 1)]
    for title in LOADS:
        values = [figures.get((title, name)) for name in cases]
        lines.append([title, *(_short(median(each)) if each else "-" for each in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def beside_node(figures):
    """Return a table of how many times as good as Node's servers as many of ours are."""
    lines = [["times as good as Node", "1 server", "2 servers", "3 servers"], ["---"] * 4]
    ours, nodes = list(CASES)[1:4], list(CASES)[4:]
    for title in LOADS:
        if title == ADDED:  # a difference, which may be below zero
            continue
        pairs = zip(ours, nodes, strict=True)
        lines.append([title, *(ratio(figures, title, *pair) for pair in pairs)])
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratio(figures, title, name, other):
    """Return how many times as good one column is as another: in the middle, worst and best."""
    each = ratios(figures, title, name, other)
    return f"{median(each):.2g} ({min(each):.2g} to {max(each):.2g})" if each else "-"


def ratios(figures, title, name, other):
    pairs = zip(figures.get((title, name), ()), figures.get((title, other), ()), strict=False)
    return [better(unit_of(title), *pair) for pair in pairs]


TARGETS = [
    ("10 senders: messages/s", "PostgreSQL", "SQLite", 0.9),
    ("fan-out to 300 clients: events/s", "2 servers", "PostgreSQL", 1.5),
]
"""A load, and how many times as good one column is to be as another."""
ADDED = "later than at its own server: ms more"
MOST_ADDED = 5
"""The most milliseconds by which a message may be later at another server, in the median."""


def verdicts(figures):
    """Return a line for each target: whether it is reached, and by how much."""
    lines = [""]
    for title, name, other, least in TARGETS:
        reached = median(ratios(figures, title, name, other)) >= least
        said = f"{title}, {name}: at least {least} times as good as {other}"
        lines.append(f"{_reached(reached)} {said}: {ratio(figures, title, name, other)}")
    added = median(figures[ADDED, "2 servers"])
    lines.append(f"{_reached(added <= MOST_ADDED)} {ADDED}: at most {MOST_ADDED}: {added:.2g}")
    return "\n".join(lines)


def _reached(reached):
    return f"{'reached' if reached else 'NOT REACHED':13}"


if __name__ == "__main__":
    main()
