"""A probe in a running server: it finds out whether handlers are busy, and can hold one.

It runs beside the handlers, on the server's own loop, and needs no change in the handlers that a
learner wrote. It must not know the lab that asks, nor what the handlers are for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import socketio

from chatlab.harness.serving import DRAIN
from chatlab.log import Log
from chatlab.messages import MAX_OFFSET, Message
from chatlab.mistakes import awaited

Result = TypeVar("Result")
REST = "lab: rest"
"""A client emits this event; the server acknowledges it when no handler is busy. If the event has
a number, the server first emits the same event with this number to all connections, also to those
that are not complete yet."""
TURNS = 20
"""How many turns of the loop a task has between two of its calls: more than a queue, or a gather,
takes to hand something on."""


class Hold:
    """A moment at which a handler is held. Any thread can wait for it and end it."""

    def __init__(self) -> None:
        self._reached: Future[None] = Future()
        self._released: Future[None] = Future()

    @property
    def was_reached(self) -> bool:
        """Whether this holds a handler, or has held one."""
        return self._reached.done()

    async def reached(self) -> None:
        """Wait until this holds a handler."""
        await asyncio.wrap_future(self._reached)

    def release(self) -> None:
        """Let the handler go on. One that comes later does not wait."""
        if not self._released.done():
            self._released.set_result(None)

    async def here(self) -> None:
        """Hold the handler that awaits this, until `release`."""
        self._reached.set_result(None)
        await asyncio.shield(asyncio.wrap_future(self._released))


class Gate:
    """The point at which a handler can be held: right after it has read rows from the log."""

    def __init__(self) -> None:
        self._next: Hold | None = None
        self.passages = 0
        """How often a handler has passed."""

    def hold_next(self) -> Hold:
        """Hold the next handler that passes, and no other."""
        self._next = Hold()
        return self._next

    def open(self) -> None:
        """Hold no handler."""
        self._next = None

    async def passed(self) -> None:
        """Count the handler that calls this, and hold it after `hold_next`."""
        self.passages += 1
        hold, self._next = self._next, None
        if hold is not None:
            await hold.here()


class WatchedServer(socketio.AsyncServer):
    """python-socketio's server, which also knows which of its handlers are busy.

    It relies on something undocumented: python-socketio starts each handler of an event with
    `start_background_task`.

    A task that a handler starts in another way, with `asyncio.create_task` for instance, is not
    known. But what it does is: it counts as busy while a call that is `counted` goes on.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.handling: dict[asyncio.Task[Any], Callable[[], bool]] = {}
        """The tasks of handlers, each with a function that says whether it is busy."""
        self.changed = asyncio.Event()
        self.begun = self.ended = 0
        """How many calls that are counted have begun, and how many have ended."""

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
        """Inside this block, count the current task as busy only while `busy` returns True."""
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

    def counted(self, call: Callable[..., Awaitable[Result]]) -> Callable[..., Awaitable[Result]]:
        """Let a function count its calls, whichever task makes them."""

        @wraps(call)
        async def counting(*args: Any, **kwargs: Any) -> Result:
            self.begun += 1
            try:
                return await call(*args, **kwargs)
            finally:
                self.ended += 1
                self.changed.set()

        return counting

    async def rest(self) -> None:
        """Wait until no handler is busy, except the one that calls this, and no call goes on."""
        del self.handling[asyncio.current_task()]
        begun = None
        while begun != self.begun:  # a task that nobody knows has gone on
            begun = self.begun
            while begun != self.ended or any(busy() for busy in self.handling.values()):
                self.changed.clear()
                await self.changed.wait()
                begun = self.begun
            for _ in range(TURNS):
                await asyncio.sleep(0)

    async def shutdown(self) -> None:
        """Stop, and end the handlers that still run: the log that they read is closed next."""
        await super().shutdown()
        running = [task for task in self.handling if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=DRAIN)


def register(server: Callable[..., None], sio: socketio.AsyncServer, log: Log) -> None:
    """Let a server register its handlers: it is `server(sio)`, or `server(sio, log)`."""
    server(*(sio, log)[: len(inspect.signature(server).parameters)])


def watched(server: Callable[..., None], gate: Gate | None, sio: WatchedServer, log: Log) -> None:
    """Register the handlers of `server`, and the one that answers REST.

    A handler that waits for the log to grow counts as busy only when the log has grown. A handler
    that is held counts as not busy. A server in another process has no gate. A forgotten `await` is
    an error of the server.
    """
    loop = asyncio.get_running_loop()

    def forgotten(error: Exception) -> None:
        if not loop.is_closed():
            loop.call_exception_handler({"message": str(error), "exception": error})

    for of, name in [(sio, "emit"), (log, "append"), (log, "after")]:
        setattr(of, name, sio.counted(getattr(of, name)))
    newer, after, reach = log.newer, log.after, log.reach

    @wraps(newer)
    async def watched_newer(offset: int) -> None:
        with sio.resting(lambda: log.head > offset):
            await newer(offset)

    @wraps(after)
    async def gated_after(offset: int, limit: int = -1) -> list[Message]:
        rows = await after(offset, limit)
        with sio.resting():
            await gate.passed()
        return rows

    log.newer = watched_newer
    if gate is not None:
        log.after = gated_after
    for of, name in [(sio, "emit"), (log, "append"), (log, "after"), (log, "newer")]:
        setattr(of, name, awaited(getattr(of, name), forgotten))
    register(server, sio, log)

    @sio.on(REST)
    async def rest(sid: str, number: int | None) -> None:
        await reach(MAX_OFFSET)  # what other servers have stored is under way too
        await sio.rest()
        if number is not None:
            await sio.emit(REST, number)
