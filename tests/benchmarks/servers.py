"""The servers that are compared, each in a process of its own, and the logs they begin with."""

import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

from chatlab.log.sqlite import SCHEMA

HERE = Path(__file__).parent
NODE = HERE / "node"
COMMANDS = {
    "node": ["node", NODE / "server.mjs", "{db}"],
    "tutorial": ["node", NODE / "server.mjs", "{db}", "--as-in-tutorial"],
    "node cluster": ["node", NODE / "cluster.mjs", "{db}"],
    "plain": [sys.executable, HERE / "plain.py", "{db}"],
    "finished": [sys.executable, "-m", "chatlab", "--port", "0", "--db", "{db}"],
    "shared": [sys.executable, "-m", "chatlab", "--port", "0", "--log", "{db}"],
    "null": [sys.executable, HERE / "null.py"],
}
"""How each is started. It prints its port, after a colon, when it listens."""
ROWS = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO messages SELECT n, 'key ' || n, 'message ' || n FROM numbers
"""

Server = namedtuple("Server", "port pid")


@contextlib.contextmanager
def running(name, db):
    """Run a server on a database until the block ends."""
    command = [str(part).format(db=db) for part in COMMANDS[name]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = re.search(r":(\d+)\b", process.stdout.readline())
            if said is None:
                raise RuntimeError(f"the server {name!r} does not start")
            yield Server(int(said[1]), process.pid)
        finally:
            process.kill()


def make_log(db, rows):
    """Make a message log of so many rows."""
    with contextlib.closing(sqlite3.connect(db)) as database, database:
        database.execute(SCHEMA)
        if rows:
            database.execute(ROWS, (rows,))


def node_is_missing():
    """Return why the servers in Node.js cannot run, or None if they can.

    Their packages are fetched before the first run, into a folder that git ignores.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "there is no node and no npm on the PATH"
    if not (NODE / "node_modules").exists():
        print("npm fetches the packages of the Node server; it takes minutes", file=sys.stderr)
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True)
    return f"npm could not fetch their packages: {done.stderr.strip()}" if done.returncode else None
