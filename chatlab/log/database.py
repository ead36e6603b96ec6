"""SQLite as a server needs it: durable, and many writes in one transaction.

It promises that a transaction is on the disk when it returns. It must not know any table.
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
"""What makes a commit durable. synchronous 2 is FULL: a commit returns when the disk has it.
busy_timeout is in milliseconds."""
MAX_BATCH = 1000
"""The most writes in one transaction. The query for their keys has a placeholder for each of them,
and SQLite allows 32,766 in a query."""

T = TypeVar("T")


class Writer:
    """The connection that writes, on a thread of its own. Call `open`, then `run` functions there.

    Put a whole transaction into one function: changing threads for every statement takes longer
    than the statements.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")

    async def open(self, prepare: Callable[[sqlite3.Connection], None]) -> Self:
        """Open the database, and prepare it. Call `close` also if this fails.

        Raises sqlite3.Error, with a sentence, if the file cannot be opened, and what `prepare`
        raises.
        """
        self._db = await self._on_thread(self._connect)
        await self.run(prepare)
        return self

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the connection on the thread, and return its result."""
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
    """Set the pragmas, and check each of them. Raises sqlite3.NotSupportedError if one stays."""
    for pragma, wanted in PRAGMAS.items():
        db.execute(f"PRAGMA {pragma} = {wanted}")
        [(value,)] = db.execute(f"PRAGMA {pragma}")
        if value != wanted:
            raise sqlite3.NotSupportedError(f"{pragma} stays {value}, and it has to be {wanted}")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit everything that is written inside, or nothing if there is an error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


class Batches(Generic[T]):
    """One task that writes in batches (group commit).

    A batch is everything that was put while the batch before was written. So a hundred senders
    share the cost of one `fsync`, and no sender waits for a batch to become full.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: asyncio.Queue[T] = asyncio.Queue()
        self._writing = asyncio.create_task(self._write_forever())

    def put(self, item: T) -> None:
        """Add an item to the next batch."""
        self._waiting.put_nowait(item)

    async def close(self) -> None:
        """Write all items that were put, and end the task."""
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
