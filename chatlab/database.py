"""SQLite as a server needs it: durable, and many writes in one transaction.

It knows no table. What is written here is on the disk before anybody is told of it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from os import PathLike
from typing import Generic, TypeVar

import aiosqlite

PRAGMAS = {"busy_timeout": 5000, "journal_mode": "wal", "synchronous": 2}
"""What durability rests on. synchronous 2 is FULL: a commit returns when the disk has it.
busy_timeout is in milliseconds."""
MAX_BATCH = 1000
"""Writes in one transaction; SQLite allows 32,766 placeholders in the look-up of their keys."""

T = TypeVar("T")


async def connect(path: str | PathLike[str]) -> aiosqlite.Connection:
    """Open a database, in which each statement stands alone if no transaction is begun.

    Raises sqlite3.Error, with a sentence, if the file cannot be opened.
    """
    try:
        sqlite3.connect(path).close()  # where this fails, aiosqlite would leave a thread
        return await aiosqlite.connect(path, isolation_level=None)
    except sqlite3.Error as error:
        raise type(error)(f"cannot open {path}: {error}") from error


async def make_durable(db: aiosqlite.Connection) -> None:
    """Set the pragmas, and see that they are set. Raises sqlite3.NotSupportedError if not."""
    for pragma, wanted in PRAGMAS.items():
        await db.execute(f"PRAGMA {pragma} = {wanted}")
        [(value,)] = await db.execute_fetchall(f"PRAGMA {pragma}")
        if value != wanted:
            raise sqlite3.NotSupportedError(f"{pragma} stays {value}, and it has to be {wanted}")


@asynccontextmanager
async def transaction(db: aiosqlite.Connection) -> AsyncIterator[None]:
    """Commit what is written inside, or nothing of it if that fails."""
    await db.execute("BEGIN IMMEDIATE")
    try:
        yield
        await db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            await db.execute("ROLLBACK")
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
