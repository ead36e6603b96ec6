"""A PostgreSQL for the tests of this process, and a database in it for each test that asks."""

import itertools
import os
import signal
from contextlib import asynccontextmanager, contextmanager
from functools import cache

import asyncpg

from chatlab.harness import shared_postgres

NUMBERS = itertools.count(1)
PIDS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE $1
"""


def postgres():
    """Start it, when the first test needs it. It ends with this process."""
    return shared_postgres().start()


@cache
def url_of(path):
    """Return the address of the database that has the place of a file."""
    return postgres().make_database(f"test{next(NUMBERS)}")


@asynccontextmanager
async def connected(url):
    """A connection of the test's own to a database."""
    db = await asyncpg.connect(url)
    try:
        yield db
    finally:
        await db.close()


@contextmanager
def frozen(pids):
    """Stop processes of the database, as if their machine did not answer."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def pids(url, what="%"):
    """Return the processes of the database of a test that do something."""
    async with connected(url) as db:
        return [row[0] for row in await db.fetch(PIDS, what)]


async def everything(url):
    """Return them all, and the process that makes them."""
    [first] = (postgres().data / "postmaster.pid").read_text().split()[:1]
    return [*await pids(url), int(first)]
