"""SQLite as a server needs it: durable, and many writes in one transaction.

It knows no table. What is written here is on the disk before anybody is told of it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike
from typing import Generic, Self, TypeVar

PRAGMAS = {"busy_timeout": 5000, "journal_mode": "wal", "synchronous": 2}
"""What durability rests on. synchronous 2 is FULL: a commit returns when the disk has it.
busy_timeout is in milliseconds."""
MAX_BATCH = 1000
"""Writes in one transaction; SQLite allows 32,766 placeholders in the look-up of their keys."""

T = TypeVar("T")


class Writer:
    """The connection that writes, on a thread of its own. `open` it, and `run` functions there.

    A transaction is one function, and so one step of that thread: to go there and back for every
    statement takes longer than the statements.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")

    async def open(self, prepare: Callable[[sqlite3.Connection], None]) -> Self:
        """Open the database, and prepare it. If that fails, `close` it all the same.

        Raises sqlite3.Error, with a sentence, if the file cannot be opened, and what `prepare`
        raises.
        """
        self._db = await self._on_thread(self._connect)
        await self.run(prepare)
        return self

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Let the thread do something with the connection, and return what it returns."""
        return await self._on_thread(lambda: work(self._db))

    async def close(self) -> None:
        """Close the connection, and end the thread."""
        if self._db is not None:
            await self.run(sqlite3.Connection.close)
            self._db = None
        self._thread.shutdown()

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _connect(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(self._path, isolation_level=None)
        except sqlite3.Error as error:
            raise type(error)(f"cannot open {self._path}: {error}") from error


def make_durable(db: sqlite3.Connection) -> None:
    """Set the pragmas, and see that they are set. Raises sqlite3.NotSupportedError if not."""
    for pragma, wanted in PRAGMAS.items():
        db.execute(f"PRAGMA {pragma} = {wanted}")
        [(value,)] = db.execute(f"PRAGMA {pragma}")
        if value != wanted:
            raise sqlite3.NotSupportedError(f"{pragma} stays {value}, and it has to be {wanted}")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what is written inside, or nothing of it if that fails."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


class Batches(Generic[T]):
    """One task that writes batch after batch: each is whatever came while the last was written.

    So a hundred who write share the price of one `fsync`, and nobody waits for company.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: asyncio.Queue[T] = asyncio.Queue()
        self._writing = asyncio.create_task(self._write_forever())

    def put(self, one: T) -> None:
        """Let something be written."""
        self._waiting.put_nowait(one)

    async def close(self) -> None:
        """Write what still waits, and end the task."""
        await self._waiting.join()
        self._writing.cancel()

    async def _write_forever(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < MAX_BATCH:
                batch.append(self._waiting.get_nowait())
            await self._write(batch)
            for _ in batch:
                self._waiting.task_done()
