"""Group commit: many writes in one transaction.

It must not know a database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic as clock
from typing import Generic, TypeVar

MAX_BATCH = 1000
"""The most writes in one transaction: a query may have a placeholder for each, and databases allow
about 32,000."""
TURNS = 20
"""How many turns of the event loop a batch waits for those who were answered just now, if these
turns take no longer than the last write."""

T = TypeVar("T")


class Batches(Generic[T]):
    """One task that writes in batches (group commit).

    A batch is everything that was put while the batch before was written. It also waits a moment
    for those who were answered by that one: see `_let_arrive`. So a hundred senders share the cost
    of one `fsync`, and no sender waits for a batch to become full.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: asyncio.Queue[T] = asyncio.Queue()
        self._writing = asyncio.create_task(self._write_forever())

    @property
    def waiting(self) -> int:
        """How many items wait for the next batch."""
        return self._waiting.qsize()

    def take(self) -> list[T]:
        """Take all items that wait: they are not written."""
        taken = [self._waiting.get_nowait() for _ in range(self.waiting)]
        for _ in taken:
            self._waiting.task_done()
        return taken

    def put(self, item: T) -> None:
        """Add an item to the next batch."""
        self._waiting.put_nowait(item)

    async def close(self) -> None:
        """Write all items that were put, and end the task. Nobody may put any meanwhile."""
        await self._waiting.join()
        self._writing.cancel()

    async def _write_forever(self) -> None:
        likely, took = 1, 0.0
        while True:
            batch = [await self._waiting.get()]
            await self._let_arrive(likely - len(batch), clock() + took)
            while not self._waiting.empty() and len(batch) < MAX_BATCH:
                batch.append(self._waiting.get_nowait())
            began = clock()
            await self._write(batch)
            took = clock() - began
            for _ in batch:
                self._waiting.task_done()
            likely = min(MAX_BATCH, len(batch) + self.waiting)

    async def _let_arrive(self, count: int, deadline: float) -> None:
        """Wait until this many items are here, but at most TURNS turns of the event loop.

        Whoever was answered often writes again at once. Without these turns ten senders stay two
        groups of five: one waits while the other is written, and each needs a commit of its own.
        The deadline is for senders who come by themselves: who waits for more of them finds even
        more to wait for the next time.
        """
        for _ in range(TURNS):
            if self.waiting >= count or clock() > deadline:
                return
            await asyncio.sleep(0)
