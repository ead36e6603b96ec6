"""The server under study: how it is built, started, ended, and held in the middle of an action.

It records starts and ends in the history, and knows no tabs.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from chatlab.harness import BackgroundServer, Gate, Hold, WatchedServer, watched
from chatlab.history import SERVER, History
from chatlab.mistakes import BadMoment
from chatlab.server import create_app

STUCK = 30
"""After how many looks without a sign of the server's thread it counts as stuck."""
REWRITTEN = (
    "`{}` was defined anew, and this lab still runs the old one: run its Lab(...) cell again, "
    "and those after it"
)


class StudiedServer:
    """Builds, starts, ends and holds a server, in a thread or in a process of its own.

    A server in a process can be killed, and one in a thread can be held. `app` is what `create_app`
    takes besides the handlers and their Socket.IO server, and `which` says in the history which of
    several servers it is. The other arguments are those of a Lab and of a BackgroundServer.
    """

    gate: Gate | None
    """The point at which the server can be held: after it has read rows from the log."""

    def __init__(
        self,
        handlers: Callable[..., None],
        history: History,
        report: Callable[[BaseException], None],
        name: str,
        process: bool,
        heartbeat: float | None,
        app: dict[str, Any],
        which: str | None = None,
    ) -> None:
        self.gate = None if process else Gate()
        self._handlers, self._report = getattr(handlers, "func", handlers), report  # of a partial
        self._code = self._code_by_name()
        self._looks = 0
        self._history = history
        self._hold: Hold | None = None
        self._which = which
        self._kind: Literal["stop", "kill"] = "kill" if process else "stop"
        beats = {"ping_interval": heartbeat, "ping_timeout": heartbeat} if heartbeat else {}
        sio = partial(WatchedServer, **beats)
        build = partial(create_app, partial(watched, handlers, self.gate), server=sio, **app)
        full_name = name if which is None else f"{name}, {which}"
        self.server = BackgroundServer(build, name=full_name, process=process, report=report)

    @property
    def reads(self) -> int:
        """How often it has read rows from the log. Raises BadMoment for one in a process."""
        if self.gate is None:
            raise BadMoment("the reads of a server in another process are not known")
        return self.gate.passages

    def end(self, kind: Literal["stop", "kill"]) -> None:
        """Stop or kill the server, if it runs. Do not wait for the tabs.

        Raises RuntimeError if a server in a thread is to be killed.
        """
        if kind == "kill" and self.gate is not None:
            raise BadMoment(
                "only a server in a process of its own can be killed: `Lab(..., process=True)`"
            )
        if self.server.running:
            self.go_on()
            self._history.record(kind, SERVER, self._which)
            getattr(self.server, kind)()

    def start(self) -> None:
        """Start the server again, if it does not run. Do not wait for the tabs."""
        if not self.server.running:
            self._history.record("start", SERVER, self._which)
            self.server.start()

    def kill_and_start(self) -> None:
        """Kill the server and start it again at once. Do not wait for the tabs."""
        self.end("kill")
        self.start()

    @property
    def actions(self) -> dict[str, Callable[[], None]]:
        """What a person can do to the server at any time: kill it or stop it, and start it."""
        return {self._kind: partial(self.end, self._kind), "start": self.start}

    def check_definition(self) -> None:
        """Warn, once, if a cell has defined the function of the handlers anew."""
        if (code := self._code_by_name()) not in (None, self._code):
            self._code = code
            warnings.warn(REWRITTEN.format(self._handlers.__name__), stacklevel=4)

    def _code_by_name(self) -> Any:
        """Return the code of what has the name of the function now, where it was defined.

        A lambda, or a function that was defined inside another, has no such name.
        """
        place = getattr(self._handlers, "__globals__", {})
        named = place.get(getattr(self._handlers, "__qualname__", None))
        return getattr(named, "__code__", None)

    def look(self) -> None:
        """Report a server whose thread does not go on. Call this again and again."""
        self._looks = self._looks + 1 if self.server.running else 0
        if self._looks == STUCK:
            self._report(BadMoment(f"the server does not answer any more: {self.server.busy()}"))
        elif self._looks < STUCK:
            self.server.ping(self._seen)

    def _seen(self) -> None:
        self._looks = 0

    def go_on(self) -> None:
        """Let the server go on, if a pause still holds it. Do nothing otherwise."""
        if self._hold is not None:
            self._hold.release()

    async def pause(
        self, action: Coroutine[Any, Any, Any], quiet: Callable[[], Awaitable[None]]
    ) -> Pause:
        """Begin an action, and hold the server when it has read rows from the log.

        `quiet` waits until all the rest is done. Raises RuntimeError if the server does not read
        its log meanwhile, or is in another process.
        """
        if self.gate is None:
            action.close()
            raise BadMoment("a server in another process cannot be held: leave process=True out")
        self.go_on()
        await quiet()
        self._hold = hold = self.gate.hold_next()
        pause = Pause(hold, asyncio.create_task(action))
        reached = asyncio.create_task(hold.reached())
        await asyncio.wait({pause.action, reached}, return_when=asyncio.FIRST_COMPLETED)
        if not hold.was_reached:  # the action has ended; a background task may still read the log
            await quiet()
        if not hold.was_reached:
            reached.cancel()
            self.gate.open()
            await pause.action
            raise BadMoment("the server did not read the log, so it is not held")
        return pause


class Pause:
    """A server that is held in the middle of an action, until `go_on`."""

    def __init__(self, hold: Hold, action: asyncio.Task[Any]) -> None:
        self._hold, self.action = hold, action
        action.add_done_callback(lambda action: action.cancelled() or action.exception())

    async def go_on(self) -> Any:
        """Let the server go on; return what the action returns.

        Returns None if the action failed because the tab has lost its connection meanwhile.
        """
        self._hold.release()
        with suppress(ConnectionError):
            return await self.action
