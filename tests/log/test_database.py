"""SQLite for a server: all or nothing, many at once, on one thread."""

import sqlite3
import threading

import pytest

from chatlab.log.database import Writer, make_durable, transaction


@pytest.fixture
async def writer(tmp_path):
    writer = Writer(tmp_path / "x.db")
    await writer.open(lambda db: db.execute("CREATE TABLE t (n INTEGER UNIQUE)"))
    yield writer
    await writer.close()


async def rows(writer):
    return await writer.run(lambda db: [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")])


def insert(*numbers):
    """Return what inserts numbers in one transaction."""

    def work(db):
        with transaction(db):
            db.executemany("INSERT INTO t VALUES (?)", [(number,) for number in numbers])

    return work


async def test_transaction_is_all_or_nothing(writer):
    """One that fails leaves nothing, and the next one works."""
    await writer.run(insert(1, 2))
    with pytest.raises(sqlite3.IntegrityError):
        await writer.run(insert(3, 2))
    await writer.run(insert(4))
    assert await rows(writer) == [1, 2, 4]


async def test_all_work_is_done_on_one_thread_which_ends(tmp_path):
    """Not on the loop's, and it is gone when the writer is closed."""
    writer = Writer(tmp_path / "x.db")
    threads = []
    await writer.open(lambda db: threads.append(threading.current_thread()))
    await writer.run(lambda db: threads.append(threading.current_thread()))
    assert threads[0] is threads[1] is not threading.current_thread()
    await writer.close()
    await writer.close()  # once more is nothing
    assert not threads[0].is_alive()


async def test_file_that_cannot_be_opened_is_named(tmp_path):
    """And the writer can be closed all the same."""
    writer = Writer(tmp_path / "nowhere" / "x.db")
    with pytest.raises(sqlite3.OperationalError, match=r"cannot open .*nowhere"):
        await writer.open(make_durable)
    await writer.close()
