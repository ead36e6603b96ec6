"""A web application that runs in the background while the cells of a notebook go on.

This module knows the servers of this Python process by name. It must not know how a server runs
in its thread or process, nor anything about chats.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from chatlab.harness.addresses import url
from chatlab.harness.serving import Build, Report
from chatlab.harness.workers import ServerProcess, ServerThread
from chatlab.mistakes import expect, is_count

Result = TypeVar("Result")
MOST_ERRORS = 100
"""How many errors a server keeps until somebody looks: one that repeats must not fill memory."""

try:  # a reload of this module must not forget its servers: they would keep their ports
    _LIVE: dict[str, BackgroundServer] = _LIVE  # type: ignore[used-before-def]
except NameError:
    _LIVE = {}


class BackgroundServer:
    """A server in the background: start it, stop it, start it again on the same port.

    `build` returns a new application for each start. Starting a second server with the same `name`
    in this Python process stops the first, so that a cell can be run twice. `port=0` takes any free
    port. With `process=True` the server runs in its own process, which can be killed. `report`, if
    given, is called from another thread with each error of the server; then `errors` stays empty.
    """

    def __init__(
        self,
        build: Build,
        *,
        name: str = "server",
        host: str = "127.0.0.1",
        port: int = 0,
        process: bool = False,
        report: Report | None = None,
    ) -> None:
        expect(callable(build), "build is a function that makes an application", build)
        expect(is_count(port), "port is a number, or 0 for any free port", port)
        self.build, self.name, self.host, self.port = build, name, host, port
        self.errors: list[BaseException] = []
        """The server's errors since `check` was last called, the first MOST_ERRORS of them."""
        self._left_out = 0
        self._worker = (ServerProcess if process else ServerThread)(name, report or self._keep)

    @property
    def url(self) -> str:
        """The address for a client in this process."""
        return url(self.host, self.port)

    @property
    def running(self) -> bool:
        """Whether the server serves: it was started, and was not stopped and did not die."""
        return _LIVE.get(self.name) is self and self._worker.alive

    def start(self) -> Self:
        """Start serving; return when the port listens. Leave a running server as it is.

        Raises any error that keeps the server from starting, for instance OSError for a taken port.
        """
        if self.running:
            return self
        if self.name in _LIVE:
            _LIVE[self.name].stop()
        self.port = self._worker.start(self.build, self.host, self.port)
        _LIVE[self.name] = self
        return self

    def stop(self) -> None:
        """Stop serving and wait until everything is closed. Clients see their connection end.

        Raises TimeoutError if a handler keeps the server's thread busy for longer than
        `workers.PATIENCE`; a process that is busy for so long is killed.
        """
        if _LIVE.get(self.name) is self:
            self._worker.stop()
            del _LIVE[self.name]

    def kill(self) -> None:
        """End the server's process at once, as `kill -9` does. Raises RuntimeError for a thread."""
        if _LIVE.get(self.name) is self:
            self._worker.kill()
            del _LIVE[self.name]

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the server's own loop and return its result, from a plain cell.

        Raises RuntimeError in a handler (it already runs on that loop), for a server that is not
        running, and for a server in another process.
        """
        expect(isinstance(coroutine, Coroutine), "run takes a coroutine", coroutine)
        return self._worker.run(coroutine)

    def ping(self, seen: Callable[[], None]) -> None:
        """Call a function on the server's own loop, as soon as that is free."""
        self._worker.ping(seen)

    def busy(self) -> str:
        """Say where a server in a thread is busy, and how to end it."""
        return self._worker.busy()

    def check(self) -> None:
        """Raise the server's errors since the last check, if there are any."""
        errors, more = self.errors.copy(), self._left_out
        self._left_out -= more
        del self.errors[: len(errors)]
        if errors:
            message = f"errors in the server {self.name!r}"
            raise BaseExceptionGroup(f"{message}, and {more} more" if more else message, errors)

    def _keep(self, error: BaseException) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(error)
        else:
            self._left_out += 1

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


@atexit.register
def _stop_all() -> None:
    with contextlib.ExitStack() as stack:  # if one server cannot be stopped, the others still are
        for server in _LIVE.values():
            stack.callback(server.stop)
