"""A web application as a program: it says where it is, and stops when it is asked to.

This module knows signals and the terminal. It must not know what is served.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from aiohttp import web

from chatlab.harness.addresses import where
from chatlab.harness.serving import serve

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and the usual signal to end."""


def run(app: web.Application, host: str = "localhost", port: int = 3000) -> None:
    """Serve an application until Ctrl-C, and say where it is: in the place of aiohttp's `run_app`.

    What a stranger may cost is bounded, as `listening` says. Raises OSError if the address or the
    port cannot be used, ValueError outside the main thread, and any error of starting the
    application.
    """

    def ready(bound: int) -> None:
        print(f"Serving on {where(host, bound)} (Ctrl-C stops it)", flush=True)

    async def serving() -> None:
        await serve(lambda: app, host, port, ready, stop_at_signal())

    before = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            runner.run(serving())
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def new_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop's event loops if they are installed: they are faster than asyncio's."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop
    return new_event_loop


def stop_at_signal() -> asyncio.Event:
    """Return an event that one of SIGNALS sets. The next one ends the program.

    It ends it at once, whatever it is busy with: that is what somebody wants who asks twice.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def first(*signal_and_frame: Any) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop.set)

    for each in SIGNALS:
        signal.signal(each, first)
    return stop
