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
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, Self, TypeVar

import cloudpickle
from aiohttp import web

Build = Callable[[], web.Application]
Result = TypeVar("Result")
PATIENCE = 10.0
"""Seconds after which something that should have happened at once is called an error."""
CROWD = 4096
"""Connections that may wait to be accepted, if the system allows so many. One that finds no room
tries again a second later, then two, four, eight: who comes back in a crowd would starve."""
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
    async with listening(build(), host, port) as bound:
        ready(bound)
        await stop.wait()


@contextlib.asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application until the block ends; give the port it listens on."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN)
    try:
        await runner.setup()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(runner.server, host, port, backlog=CROWD)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await stop_listening(server)
    finally:
        await runner.cleanup()


async def stop_listening(server: asyncio.Server) -> None:
    """Close the listening sockets, so that no connection is left half accepted.

    asyncio accepts a connection in two steps; if the server is closed between them, the second
    fails, and the socket stays open until the garbage is collected.
    """
    with contextlib.suppress(NotImplementedError):  # Windows accepts in another way
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener)
        await asyncio.sleep(0)
    server.close()


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
        """Whether the server serves: it was started, and was not stopped and did not die."""
        return _LIVE.get(self.name) is self and self._worker.alive

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
        """Stop serving and wait until everything is closed. Clients see their connection end.

        Raises TimeoutError if a handler keeps the server's thread busy for longer than PATIENCE; a
        process that is busy for so long is killed.
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

        Raises RuntimeError where that cannot be: in a handler, which runs on that loop already, for
        a server that is not running, and for one in another process.
        """
        return self._worker.run(coroutine)

    def check(self) -> None:
        """Raise what went wrong on the server's side since the last check, if anything did."""
        errors = self.errors.copy()
        del self.errors[: len(errors)]
        if errors:
            raise BaseExceptionGroup(f"errors in the server {self.name!r}", errors)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class _Worker(Protocol):
    """Where a server runs."""

    @property
    def alive(self) -> bool: ...
    def start(self) -> int: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result: ...


class _Thread:
    """A thread with an event loop of its own, so that a busy cell does not hold up the server."""

    def __init__(self, server: BackgroundServer) -> None:
        self.server = server

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    def start(self) -> int:
        self.loop, self.stopped = asyncio.new_event_loop(), asyncio.Event()
        ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        self.thread = threading.Thread(
            target=self._main, args=(ready,), name=f"chatlab-{self.server.name}", daemon=True
        )
        self.thread.start()
        try:
            return ready.result(PATIENCE)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed already: the server has died
            self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(PATIENCE)
        if self.alive:
            raise TimeoutError(f"the server {self.server.name!r} is still busy after {PATIENCE} s")

    def kill(self) -> None:
        raise RuntimeError("a thread cannot be killed: use BackgroundServer(..., process=True)")

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        if not self.server.running or self.thread is threading.current_thread():
            coroutine.close()
            raise RuntimeError("run needs a running server, and a thread other than the server's")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(PATIENCE)
        finally:
            future.cancel()  # what is not done by now, nobody waits for

    def _main(self, ready: concurrent.futures.Future[int]) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                self.server.report(error)
            else:
                ready.set_exception(error)

    async def _serve(self, ready: concurrent.futures.Future[int]) -> None:
        self.loop.set_exception_handler(on_error(self.server.report))
        server = self.server
        await serve(server.build, server.host, server.port, ready.set_result, self.stopped)


class _Process:
    """A process of its own. It ends when its standard input ends, so it cannot outlive us."""

    def __init__(self, server: BackgroundServer) -> None:
        self.server = server

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def start(self) -> int:
        server = self.server
        to_serve = cloudpickle.dumps((server.build, server.host, server.port))
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from chatlab.harness.background import _child; _child()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that interrupting a notebook does not interrupt it
        )
        ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        self.listener = threading.Thread(target=self._listen, args=(ready,), daemon=True)
        self.listener.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended: `ready` will say so
                self.process.stdin.write(to_serve)
                self.process.stdin.flush()
            return ready.result(PATIENCE)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.listener.join(PATIENCE)
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.stop()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        coroutine.close()
        raise RuntimeError("a coroutine cannot run in another process")

    def _listen(self, ready: concurrent.futures.Future[int]) -> None:
        """Hear of the port, or of what kept the server from starting; then of errors."""
        with contextlib.suppress(EOFError):
            while True:
                news = cloudpickle.load(self.process.stdout)
                if not isinstance(news, BaseException):
                    ready.set_result(news)
                elif ready.done():
                    self.server.report(news)
                else:
                    ready.set_exception(news)
        if not ready.done():
            ready.set_exception(RuntimeError("the server's process ended before it could serve"))


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
    except BaseException as error:
        tell(error)


async def _serve_parent(tell: Callable[[int | BaseException], None]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(on_error(tell))
    build, host, port = cloudpickle.load(sys.stdin.buffer)

    def watch() -> None:
        os.read(0, 1)  # returns when the parent closes its end, or is gone
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            loop.call_soon_threadsafe(stop.set)
        time.sleep(PATIENCE)
        os._exit(1)  # a handler that never ends does not make this process outlive its parent

    threading.Thread(target=watch, daemon=True).start()
    await serve(build, host, port, tell, stop)


def _pickled(news: int | BaseException) -> bytes:
    try:
        pickled = cloudpickle.dumps(news)
        cloudpickle.loads(pickled)
    except Exception:  # an exception may hold anything, also what cannot travel
        return cloudpickle.dumps(RuntimeError("".join(traceback.format_exception(news))))
    return pickled


@atexit.register
def _stop_all() -> None:
    with contextlib.ExitStack() as stack:  # one that cannot be stopped does not keep the others
        for server in _LIVE.values():
            stack.callback(server.stop)
