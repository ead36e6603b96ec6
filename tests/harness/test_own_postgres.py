"""A PostgreSQL of one's own: it starts, ends, and is gone with the process."""

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from databases import postgres, url_of

from chatlab.harness import Postgres, held_up, shared_postgres
from chatlab.mistakes import BadMoment

PROGRAM = """
import os, signal
from chatlab.harness import Postgres
database = Postgres().start()
print(database.data.parent, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_started_and_stopped_twice_is_as_once():
    """A cell can be run again. `running` tells which it is."""
    with Postgres() as database:
        assert database.running
        assert database.start().running
        database.stop("immediate")
        database.stop()
        assert not database.running
        assert database.start().running
        folder = database.data.parent
    assert not database.running
    assert not folder.exists()


def test_process_that_is_killed_leaves_no_database():
    """Neither its programs nor its folder."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    folder = Path(ended.stdout.strip())  # the guard ends last, and has the output too
    assert ended.returncode == -9 and folder.is_absolute()
    assert not folder.exists()


def test_process_has_one_that_is_shared():
    """Whoever asks gets the same."""
    assert shared_postgres() is shared_postgres()
    assert postgres() is shared_postgres()


async def test_dropped_database_is_gone_although_it_is_used():
    """What cannot be done is an error with PostgreSQL's own words."""
    url = postgres().make_database("to_drop")
    db = await asyncpg.connect(url)
    postgres().drop_database("to_drop")
    with pytest.raises((asyncpg.PostgresError, ConnectionError)):
        await db.fetchval("SELECT 1")
    with pytest.raises(BadMoment, match=r'dropdb failed: .*"to_drop" does not exist'):
        postgres().drop_database("to_drop")


async def test_work_is_held_up_by_a_lock_or_has_ended(tmp_path):
    """And it is not held up because others are."""
    url = url_of(tmp_path / "one")
    one, two, watcher = [await asyncpg.connect(url) for _ in range(3)]
    lock = "SELECT pg_advisory_lock(1)"
    work = asyncio.ensure_future(one.execute(lock))
    assert not await held_up(work, one, watcher)
    work = asyncio.ensure_future(two.execute(lock))
    assert await held_up(work, two, watcher)
    assert not await held_up(asyncio.ensure_future(one.execute("SELECT 1")), one, watcher)
    await one.close()
    await work
    await two.close()
    await watcher.close()
