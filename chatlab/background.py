"""A web application that runs in the background, while the cells of a notebook go on.

It runs on a thread and an event loop of its own, or in a process of its own, which can be killed.
It knows aiohttp, and nothing of chats.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Self, TypeVar

import cloudpickle
from aiohttp import web

Build = Callable[[], web.Application]
Result = TypeVar("Result")
PATIENCE = 10.0
"""Seconds after which something that should have happened at once is called an error."""
DRAIN = 0.1
"""Seconds that a stopping server gives to the requests it is answering."""

try:  # keep the register when the module is reloaded: a lost server would hold its port for ever
    _LIVE: dict[str, BackgroundServer] = _LIVE  # type: ignore[used-before-def]
except NameError:
    _LIVE = {}


async def serve(
    build: Build, host: str, port: int, ready: Callable[[int], None], stop: asyncio.Event
) -> None:
    """Serve an application until `stop` is set; `ready` is called with the port it listens on.

    Raises OSError if the port is taken, and whatever building or starting the application raises.
    """
    runner = web.AppRunner(build(), access_log=None, shutdown_timeout=DRAIN)
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        ready(site.port)
        await stop.wait()
    finally:
        await runner.cleanup()


class BackgroundServer:
    """A server beside the notebook: start it, stop it, start it again on the same port.

    `build` makes the application anew for each start. `name` is its place among the servers of
    this Python process: starting a second server of the same name stops the first, so that a cell
    can be run twice. With `process=True` it runs in a process of its own and can be killed.
    `report`, if given, hears of each error from the server's thread, and `errors` stays empty.
    """

    def __init__(
        self,
        build: Build,
        *,
        name: str = "server",
        host: str = "127.0.0.1",
        port: int = 0,
        process: bool = False,
        report: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.build, self.name, self.host, self.port = build, name, host, port
        self.errors: list[BaseException] = []
        """What went wrong on the server's side since `check` was last called."""
        self.report = report or self.errors.append
        self._worker: _Worker = _Process(self) if process else _Thread(self)

    @property
    def url(self) -> str:
        """The address for a client in this process."""
        return f"http://{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the server has been started and not stopped or killed."""
        return _LIVE.get(self.name) is self

    def start(self) -> Self:
        """Start serving; return when the port listens. A running server is left as it is.

        Raises whatever kept the server from starting, for instance OSError for a taken port.
        """
        if self.running:
            return self
        if self.name in _LIVE:
            _LIVE[self.name].stop()
        self.port = self._worker.start()
        _LIVE[self.name] = self
        return self

    def stop(self) -> None:
        """Stop serving and wait until everything is closed. Clients see their connection end."""
        if self.running:
            self._worker.stop()
            del _LIVE[self.name]

    def kill(self) -> None:
        """End the server's process at once, as `kill -9` does. Raises RuntimeError for a thread."""
        if self.running:
            self._worker.kill()
            del _LIVE[self.name]

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the server's own loop and return its result, from a plain cell."""
        return self._worker.run(coroutine)

    def check(self) -> None:
        """Raise what went wrong on the server's side since the last check, if anything did."""
        errors, self.errors = self.errors, []
        if errors:
            raise BaseExceptionGroup(f"errors in the server {self.name!r}", errors)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class _Worker(Protocol):
    """Where a server runs."""

    def start(self) -> int: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result: ...


class _Thread:
    """A thread with an event loop of its own, so that a busy cell does not hold up the server."""

    def __init__(self, server: BackgroundServer) -> None:
        self.server = server

    def start(self) -> int:
        ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        self.thread = threading.Thread(
            target=self._main, args=(ready,), name=f"chatlab-{self.server.name}", daemon=True
        )
        self.thread.start()
        return ready.result(PATIENCE)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(PATIENCE)
        if self.thread.is_alive():
            raise TimeoutError(f"the server {self.server.name!r} is still busy after {PATIENCE} s")

    def kill(self) -> None:
        raise RuntimeError("a thread cannot be killed: use BackgroundServer(..., process=True)")

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def _main(self, ready: concurrent.futures.Future[int]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                self.server.report(error)
            else:
                ready.set_exception(error)

    async def _serve(self, ready: concurrent.futures.Future[int]) -> None:
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()
        self.loop.set_exception_handler(on_error(self.server.report))
        server = self.server
        await serve(server.build, server.host, server.port, ready.set_result, self.stopped)


class _Process:
    """A process of its own. It ends when its standard input ends, so it cannot outlive us."""

    def __init__(self, server: BackgroundServer) -> None:
        self.server = server

    def start(self) -> int:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from chatlab.background import _child; _child()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that interrupting a notebook does not interrupt it
        )
        server = self.server
        cloudpickle.dump((server.build, server.host, server.port), self.process.stdin)
        self.process.stdin.flush()
        port = self._first_news()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        if isinstance(port, BaseException):
            self.stop()
            raise port
        return port

    def stop(self) -> None:
        self.process.stdin.close()
        self._wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.stdin.close()
        self._wait()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        coroutine.close()
        raise RuntimeError("a coroutine cannot run in another process")

    def _first_news(self) -> int | BaseException:
        try:
            return cloudpickle.load(self.process.stdout)
        except EOFError:
            return RuntimeError("the server's process ended before it could serve")

    def _listen(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                self.server.report(cloudpickle.load(self.process.stdout))

    def _wait(self) -> None:
        self.process.wait(PATIENCE)
        self.listener.join(PATIENCE)
        self.process.stdout.close()


def on_error(report: Callable[[BaseException], None]) -> Callable[..., None]:
    """Return an exception handler for an event loop that reports instead of logging."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "exception" in context:
            report(context["exception"])
        else:
            loop.default_exception_handler(context)

    return handle


def _child() -> None:
    """Be the process of a server: what to serve comes on standard input, and its end means stop.

    Standard output carries the port first, then errors; what a handler prints goes to standard
    error instead.
    """
    parent = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def tell(news: int | BaseException) -> None:
        parent.write(_pickled(news))
        parent.flush()

    try:
        asyncio.run(_serve_parent(tell))
    except Exception as error:
        tell(error)


async def _serve_parent(tell: Callable[[int | BaseException], None]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(on_error(tell))
    build, host, port = cloudpickle.load(sys.stdin.buffer)

    def watch() -> None:
        sys.stdin.buffer.read()  # returns when the parent closes its end, or is gone
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True).start()
    await serve(build, host, port, tell, stop)


def _pickled(news: int | BaseException) -> bytes:
    try:
        return cloudpickle.dumps(news)
    except Exception:  # an exception may hold anything, also what cannot travel
        return cloudpickle.dumps(RuntimeError("".join(traceback.format_exception(news))))


@atexit.register
def _stop_all() -> None:
    for server in list(_LIVE.values()):
        server.stop()
