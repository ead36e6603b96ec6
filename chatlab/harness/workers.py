"""Where a server runs: in a thread with its own event loop, or in its own process.

This module knows threads, processes and the pipes between them. It must not know which servers
exist, nor what they serve.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, NoReturn, TypeVar

import cloudpickle

from chatlab.harness.serving import Build, Report, serve
from chatlab.mistakes import BadMoment, TooLong

Result = TypeVar("Result")
News = int | BaseException
"""What a server reports: the port it listens on, then errors; or an error if it cannot start."""
PREFIX = "chatlab-"
"""How the names of the threads with servers begin."""
PATIENCE = 10.0
"""Seconds to wait for something that should happen at once, before it counts as an error."""


class _Worker:
    """What a thread and a process have in common: passing on what the server reports."""

    def __init__(self, name: str, report: Report) -> None:
        self.name, self.report = name, report

    def _begin(self, target: Callable[..., None], *args: Any) -> None:
        """Call `target` in a new thread. Its first report sets `ready`: the port, or an error."""
        self.ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        name = f"{PREFIX}{self.name}"
        self.thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self.thread.start()

    def _pass_on(self, news: News) -> None:
        if not isinstance(news, BaseException):
            self.ready.set_result(news)
        elif self.ready.done():
            self.report(news)
        else:
            self.ready.set_exception(news)


@cache
def _protect_this_process() -> None:
    """Refuse, from now on, that a server in a thread kills this process: it is a notebook's kernel.

    Python asks such a hook before each call of `os.kill`, and a hook cannot be removed.
    """
    sys.addaudithook(_refuse_to_kill)


def _refuse_to_kill(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "os.kill" or arguments[0] != os.getpid() or not arguments[1]:
        return
    if threading.current_thread().name.startswith(PREFIX):
        raise BadMoment(
            "this server runs in the notebook's own process, which it would kill: "
            "give it one of its own, with `process=True`"
        )


class ServerThread(_Worker):
    """A server in its own thread, with its own loop, so that a busy cell does not block it."""

    thread = threading.Thread()  # before the first start: a thread that is not alive

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    def start(self, build: Build, host: str, port: int) -> int:
        """Serve; return the port once it listens. Raises the error that prevents it."""
        _protect_this_process()
        self.loop, self.stopped = asyncio.new_event_loop(), asyncio.Event()
        self._begin(self._main, build, host, port)
        try:
            return self.ready.result(PATIENCE)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has died
            self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(PATIENCE)
        if self.alive:
            still = f"the server {self.name!r} is still busy after {PATIENCE} s"
            raise TooLong(f"{still}: {self.busy()}")

    def kill(self) -> NoReturn:
        raise BadMoment("a thread cannot be killed: use BackgroundServer(..., process=True)")

    def ping(self, seen: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(seen)

    def busy(self) -> str:
        stack = traceback.extract_stack(sys._current_frames().get(self.thread.ident))
        cells = [frame for frame in stack if not os.path.exists(frame.filename)]
        return (
            f"it is in the line `{(cells or stack)[-1].line}`, and does not get to an `await`. "
            "If that never ends, restart the kernel: a thread cannot be ended"
        )

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        if not self.alive or self.thread is threading.current_thread():
            coroutine.close()
            raise BadMoment("run needs a running server, and a thread other than the server's")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(PATIENCE)
        finally:
            future.cancel()  # after a time-out the coroutine must not go on unnoticed

    def _main(self, *to_serve: Any) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.run(serve(*to_serve, self._pass_on, self.stopped, self.report))
        except BaseException as error:
            self._pass_on(error)


class ServerProcess(_Worker):
    """A server in a child process. It ends when its input ends, so it ends with its parent."""

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def start(self, build: Build, host: str, port: int) -> int:
        """Serve; return the port once it listens. Raises the error that prevents it."""
        to_serve = cloudpickle.dumps((build, host, port))
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from chatlab.harness.workers import child; child()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Interrupting a notebook must not interrupt its server. The first option is for Linux
            # and macOS, the second for Windows.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._begin(self._listen)
        try:
            with contextlib.suppress(OSError):  # the process has ended: `ready` has the error
                self.process.stdin.write(to_serve)
                self.process.stdin.flush()
            return self.ready.result(PATIENCE)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.thread.join(PATIENCE)
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.stop()

    def ping(self, seen: Callable[[], None]) -> None:
        seen()  # it can always be killed, so nobody has to know whether it is stuck

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> NoReturn:
        coroutine.close()
        raise BadMoment("a coroutine cannot run in another process")

    def _listen(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                self._pass_on(cloudpickle.load(self.process.stdout))
        if not self.ready.done():
            self._pass_on(RuntimeError("the server's process ended before it could serve"))


def child() -> None:
    """Run a server in this process: read what to serve from standard input, stop when it ends.

    Standard output carries the port, then errors. What a handler prints goes to standard error.
    """
    parent = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def report(news: News) -> None:
        parent.write(_pickled(news))
        parent.flush()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        to_serve = cloudpickle.load(sys.stdin.buffer)
        threading.Thread(target=_watch_parent, args=(loop, stop), daemon=True).start()
        await serve(*to_serve, report, stop, report=report)

    try:
        asyncio.run(main())
    except BaseException as error:
        report(error)


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    os.read(0, 1)  # returns when the parent closes its end, or has ended
    with contextlib.suppress(RuntimeError):  # the loop may be closed already
        loop.call_soon_threadsafe(stop.set)
    time.sleep(PATIENCE)
    os._exit(1)  # even if a handler never ends, this process must end


def _pickled(news: News) -> bytes:
    try:
        pickled = cloudpickle.dumps(news)
        cloudpickle.loads(pickled)
    except Exception:  # an exception may contain something that cannot be pickled
        return cloudpickle.dumps(RuntimeError("".join(traceback.format_exception(news))))
    return pickled
