"""90 · Event loops: a plain function that runs a coroutine on the loop of another thread.

Properties: the coroutine runs on that loop and on no other; its result is returned, or its error
raised, whatever they are, and more than once; nothing has to be awaited. If there is no result
after five seconds the function raises TimeoutError, neither much sooner nor much later.

Nobody waits five seconds for that. The loop has a clock of its own, which goes on while the
function waits. For a future as for an event, Python waits with `Condition.wait`, so that is what is
replaced during the check; and so are the clocks by which a queue and a condition see that the time
is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from inspect import CORO_CREATED, getcoroutinestate, iscoroutine
from threading import Condition, Thread, Timer, get_ident
from time import monotonic
from typing import Any
from unittest.mock import patch

from chatlab.course import judged

ASKED, LATE = 5.0, 10.0
"""Seconds on the loop's clock: for which to wait, and after which the longest coroutine ends."""
PATIENCE = 10.0
"""Seconds after which it ends for a function that does not wait, but asks again and again."""
STEP, TURNS = 0.5, 10
"""Seconds by which the clock goes on, and how many times the loop turns at each step."""


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still, unless the thread that made it waits for something."""

    now = 0.0
    ran_on: asyncio.AbstractEventLoop | None = None
    """The loop on which the coroutine ran, if it ran at all."""
    ended = False
    """Whether the coroutine has ended."""
    stopped = False
    """Whether the function has stopped this loop."""

    def time(self) -> float:
        return self.now

    async def note(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run the coroutine that the function is given; note where it runs, and its end."""
        self.ran_on = asyncio.get_running_loop()
        try:
            return await work
        finally:
            self.ended = True

    def be_late(self) -> None:
        """Let the coroutine end that takes longest."""
        self.now = LATE

    async def go_on(self, seconds: float, waiting: Condition) -> None:
        """Let the time pass, but not beyond the end of the coroutine; then wake who waits."""
        until = self.now + seconds
        while self.now < until and not self.ended:
            self.now += STEP
            for _ in range(TURNS):
                await asyncio.sleep(0)
        if not self.ended:  # otherwise the result is on its way, and wakes who waits
            with waiting:
                waiting.notify_all()

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Let this thread wait by the clock of the loop."""
        wait, here = Condition.wait, get_ident()

        def wait_here(condition: Condition, timeout: float | None = None) -> bool:
            if get_ident() != here:
                return wait(condition, timeout)
            seconds = LATE if timeout is None else timeout
            asyncio.run_coroutine_threadsafe(self.go_on(seconds, condition), self)
            wait(condition, PATIENCE)
            return self.ended

        def clock() -> float:
            return monotonic() + (self.now if get_ident() == here else 0)

        clocks = patch("queue.time", clock), patch("threading._time", clock)
        with patch.object(Condition, "wait", wait_here), clocks[0], clocks[1]:
            yield


@judged
def check(bridge: Callable[..., Any]) -> str:
    """Give the function coroutines that return, one that raises, and one that takes too long."""
    for wrong in filter(None, _faults(bridge)):
        return f"not yet: {wrong}"
    return "solved: results and errors come back, and after five seconds it gives up"


def _faults(bridge: Callable[..., Any]) -> Iterator[str]:
    """Yield what is wrong, one property after the other; "" if nothing is."""
    for value in (42, None, "a text"):
        yield _returns(bridge, value)
    yield _raises(bridge)
    yield _gives_up(bridge)


def _returns(bridge: Callable[..., Any], value: Any) -> str:
    async def work() -> Any:
        await asyncio.sleep(0)
        return value

    with _another_thread() as loop:
        try:
            got = _call(bridge, loop, work())
        except TimeoutError:
            return "it waits, and no result comes: does the coroutine not run on `loop`?"
    if iscoroutine(got):
        got.close()
        return "it returns a coroutine: it has to be a plain function, not an `async` one"
    if got is not value:
        kind = type(got).__name__
        return f"it returns a value of type {kind}, and the coroutine has returned {value!r}"
    if loop.ran_on is not loop:
        return "the coroutine did not run on `loop`"
    return "it stops the loop, which others still need" if loop.stopped else ""


def _raises(bridge: Callable[..., Any]) -> str:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("the error of the coroutine")

    with _another_thread() as loop, suppress(LookupError):
        got = _call(bridge, loop, work())
        return f"the coroutine raised an error, and nobody is told: it returns {got!r}"
    return ""


def _gives_up(bridge: Callable[..., Any]) -> str:
    with _another_thread() as loop:
        began = monotonic()
        try:
            got = _call(bridge, loop, asyncio.sleep(LATE))
        except TimeoutError:
            waited = loop.now or monotonic() - began
            if abs(waited - ASKED) < 1:
                return ""
            return f"it gives up after {waited:g} seconds, and five were asked for"
    if loop.now < LATE:
        return f"without a result it returns {got!r}, and TimeoutError is asked for"
    return "for a coroutine that does not end, it waits much longer than five seconds"


def _call(bridge: Callable[..., Any], loop: Loop, work: Coroutine[Any, Any, Any]) -> Any:
    """Call the function; then wait until the loop has begun what it was given, if anything."""
    coroutine, turn = loop.note(work), asyncio.sleep(0)
    try:
        with loop.waited_for():
            return bridge(loop, coroutine)
    finally:
        with suppress(RuntimeError, CancelledError):
            asyncio.run_coroutine_threadsafe(turn, loop).result(PATIENCE)
        for unused in (coroutine, work, turn):
            if getcoroutinestate(unused) == CORO_CREATED:
                unused.close()


@contextmanager
def _another_thread() -> Iterator[Loop]:
    """Run a loop in a thread of its own; at the end nothing of it is left."""

    async def stay() -> None:
        await over.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(stay())
            except RuntimeError:
                loop.stopped = True

    loop, over = Loop(), asyncio.Event()
    thread = Thread(target=run, daemon=True)
    late = Timer(PATIENCE, loop.call_soon_threadsafe, [loop.be_late])
    thread.start()
    late.start()
    try:
        yield loop
    finally:
        late.cancel()
        late.join()
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(over.set)
        thread.join()
