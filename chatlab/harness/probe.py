"""What a lab asks the server under study: is it at rest, and will it wait here for a moment?

It runs beside the handlers, on the server's own loop, and leaves the handlers themselves as a
learner wrote them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import socketio

from chatlab.log import MessageLog
from chatlab.messages import Message

REST = "lab: rest"
"""A tab asks this. It is answered when no handler is busy. If it comes with a number, all who are
connected, or about to be, are sent the same event with the same number before."""


class Hold:
    """A moment at which the server is held. It can be waited for and ended from any thread."""

    def __init__(self) -> None:
        self._reached: Future[None] = Future()
        self._released: Future[None] = Future()

    @property
    def was_reached(self) -> bool:
        """Whether the server has come to this point."""
        return self._reached.done()

    async def reached(self) -> None:
        """Wait until the server has come to this point."""
        await asyncio.wrap_future(self._reached)

    def release(self) -> None:
        """Let the server go on, if it is held; never hold it, if it has not come yet."""
        if not self._released.done():
            self._released.set_result(None)

    async def here(self) -> None:
        """Be held, on the server's side."""
        self._reached.set_result(None)
        await asyncio.shield(asyncio.wrap_future(self._released))


class Gate:
    """The place where a server is held: right after it has read rows from the log."""

    def __init__(self) -> None:
        self._next: Hold | None = None
        self.passages = 0
        """How often somebody has come by."""

    def hold_next(self) -> Hold:
        """Hold the next one who comes by, and nobody after it."""
        self._next = Hold()
        return self._next

    async def passed(self) -> None:
        """Come by, on the server's side."""
        self.passages += 1
        hold, self._next = self._next, None
        if hold is not None:
            await hold.here()

    def open(self) -> None:
        """Hold nobody."""
        self._next = None


class WatchedServer(socketio.AsyncServer):
    """python-socketio's server, which also knows what its handlers are busy with."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.handling: dict[asyncio.Task[Any], Callable[[], bool]] = {}
        """The tasks of handlers, each with a function that says whether it is busy."""
        self.changed = asyncio.Event()

    def start_background_task(self, target: Any, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task = super().start_background_task(target, *args, **kwargs)
        self.handling[task] = lambda: True
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.handling.pop(task, None)
        self.changed.set()

    @contextmanager
    def resting(self, busy: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Let the current task count as busy only if `busy` says so."""
        task = asyncio.current_task()
        if task not in self.handling:
            yield
            return
        self.handling[task] = busy
        self.changed.set()
        try:
            yield
        finally:
            self.handling[task] = lambda: True

    async def rest(self) -> None:
        """Wait until no handler is busy, apart from the one that calls this."""
        del self.handling[asyncio.current_task()]
        while any(busy() for busy in self.handling.values()):
            self.changed.clear()
            await self.changed.wait()


def watched(
    server: Callable[..., None], gate: Gate | None, sio: WatchedServer, log: MessageLog
) -> None:
    """Register the handlers under study, and the answer to REST.

    A handler that waits for the log to grow is done with what there is, and one that is held is
    at rest too. A server in another process has no gate.
    """
    newer, after = log.newer, log.after

    async def watched_newer(offset: int) -> None:
        with sio.resting(lambda: log.head > offset):
            await newer(offset)

    async def gated_after(offset: int, limit: int = -1) -> list[Message]:
        rows = await after(offset, limit)
        with sio.resting():
            await gate.passed()
        return rows

    log.newer = watched_newer
    if gate is not None:
        log.after = gated_after
    server(*(sio, log)[: len(inspect.signature(server).parameters)])

    @sio.on(REST)
    async def rest(sid: str, number: int | None) -> None:
        await sio.rest()
        if number is not None:
            await sio.emit(REST, number)
