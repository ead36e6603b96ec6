"""The event loop on which the cells of a notebook run, used from another thread.

The thread of the live demo asks whether a cell is busy, and lets the loop of the cells do the
actions of its buttons. This module knows loops and threads, and nothing of labs.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

BUSY = 0.5
"""Seconds without an answer from the loop after which a cell is called busy."""


class Cells:
    """Runs actions on the loop of the cells. An action waits while a cell is busy.

    A cell is busy while its code runs without an `await`: the loop can do nothing else then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[asyncio.Task[None]] = set()
        self._asked: float | None = None

    def busy(self) -> bool:
        """Return whether the loop has not answered for BUSY seconds. Call it again and again.

        Each call asks the loop for an answer, unless it still has to answer an earlier call.
        """
        asked = self._asked
        if asked is None:
            asked = self._asked = time.monotonic()
            self._loop.call_soon_threadsafe(self._answer)
        return time.monotonic() - asked > BUSY

    def _answer(self) -> None:
        self._asked = None

    async def run(self, action: Callable[[], Any]) -> None:
        """Call an action on the loop of the cells, and await there what it returns.

        Raises what the action raises, and RuntimeError if it was interrupted.
        """
        done: Future[None] = Future()
        self._loop.call_soon_threadsafe(self.begin, action, done)
        await asyncio.wrap_future(done)

    def begin(self, action: Callable[[], Any], done: Future[None]) -> None:
        """Begin an action. Call it on the loop of the cells. `done` gets its end, or its error."""
        if done.set_running_or_notify_cancel():
            self._running.add(task := self._loop.create_task(_call(action)))
            task.add_done_callback(partial(self._ended, done))

    def _ended(self, done: Future[None], task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or not isinstance(error, Exception | None):
            # A KeyboardInterrupt is for the cells: it must not end the other thread.
            error = RuntimeError("it was interrupted")
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    async def close(self) -> None:
        """Cancel the actions that have not ended. Call it on the loop of the cells."""
        await asyncio.sleep(0)  # so that actions which were asked for before have begun
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)


async def _call(action: Callable[[], Any]) -> None:
    """Call an action, and await what it returns if that can be awaited."""
    if inspect.isawaitable(outcome := action()):
        await outcome
