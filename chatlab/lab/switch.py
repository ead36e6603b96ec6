"""The server under study: how it is built, started, ended, and held in the middle of an action.

It records starts and ends in the history, and knows no tabs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from chatlab.harness import BackgroundServer, Gate, Hold, WatchedServer, watched
from chatlab.history import SERVER, History
from chatlab.recovery import Recovery, SessionStore
from chatlab.server import create_app


def study_app(
    server: Callable[..., None],
    gate: Gate | None,
    db: Path,
    *,
    heartbeat: float | None,
    recovery: bool,
    store: bool,
    clock: Callable[[], float],
    keep: int | None,
) -> partial[Any]:
    """Return a function that makes the application of the server under study."""
    beats = {"ping_interval": heartbeat, "ping_timeout": heartbeat} if heartbeat else {}
    sessions = partial(Recovery, store=SessionStore(db) if store else None, clock=clock)
    return partial(
        create_app,
        partial(watched, server, gate),
        db=db,
        server=partial(WatchedServer, **beats),
        recovery=sessions if recovery else None,
        keep=keep,
    )


class Switch:
    """Starts, ends and holds a server. One in another process has no gate, and cannot be held."""

    def __init__(self, server: BackgroundServer, gate: Gate | None, history: History) -> None:
        self._server, self._gate, self._history = server, gate, history
        self._hold: Hold | None = None
        self.way_to_end: Literal["stop", "kill"] = "kill" if gate is None else "stop"

    def end(self, kind: Literal["stop", "kill"]) -> None:
        """Stop or kill the server, if it runs. Do not wait for the tabs."""
        if self._server.running:
            self.go_on()
            self._history.record(kind, SERVER)
            getattr(self._server, kind)()

    def start(self) -> None:
        """Start the server again, if it does not run. Do not wait for the tabs."""
        if not self._server.running:
            self._history.record("start", SERVER)
            self._server.start()

    def kill_and_start(self) -> None:
        self.end("kill")
        self.start()

    @property
    def actions(self) -> dict[str, Callable[[], None]]:
        """What a person can do to the server at any time."""
        return {self.way_to_end: partial(self.end, self.way_to_end), "start": self.start}

    def go_on(self) -> None:
        """End a pause that was forgotten."""
        if self._hold is not None:
            self._hold.release()

    async def pause(
        self, action: Coroutine[Any, Any, Any], quiet: Callable[[], Awaitable[None]]
    ) -> Pause:
        """Begin an action, and hold the server in the middle of it. `quiet` waits for the rest.

        Raises RuntimeError if the server does not read its log, or is in another process.
        """
        if self._gate is None:
            action.close()
            raise RuntimeError("a server in another process cannot be held")
        self.go_on()
        await quiet()
        self._hold = hold = self._gate.hold_next()
        pause = Pause(hold, asyncio.create_task(action))
        reached = asyncio.create_task(hold.reached())
        await asyncio.wait({pause.action, reached}, return_when=asyncio.FIRST_COMPLETED)
        if not hold.was_reached:  # a handler may read the log in the background
            await quiet()
        if not hold.was_reached:
            reached.cancel()
            self._gate.open()
            await pause.action
            raise RuntimeError("the server did not read the log, so it is not held")
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
