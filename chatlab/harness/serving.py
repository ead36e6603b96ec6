"""Serve a web application on the running event loop, until an event tells it to stop.

This module knows asyncio and aiohttp, and what one client may cost. It must not know threads,
processes or notebooks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from aiohttp import web

from chatlab.harness.listener import Listener

Build = Callable[[], web.Application]
Report = Callable[[BaseException], None]
DRAIN = 0.1
"""Seconds that a server, when it stops, gives to unfinished requests."""


async def serve(
    build: Build,
    host: str,
    port: int,
    ready: Callable[[int], None],
    stop: asyncio.Event,
    report: Report | None = None,
) -> None:
    """Serve an application until `stop` is set; call `ready` with the port once it listens.

    `report`, if given, is called with the errors of the loop's tasks and callbacks instead of
    logging them. Raises OSError if the port is taken, and any error of building or starting the
    application.
    """
    if report:
        asyncio.get_running_loop().set_exception_handler(partial(_report, report))
    async with listening(build(), host, port) as bound:
        ready(bound)
        await stop.wait()


@contextlib.asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application until the `async with` block ends; yield the port it listens on."""
    # Compressed bodies stay packed: aiohttp would unpack one for any path, 900 MB from 875 kB.
    options = {"access_log": None, "auto_decompress": False, "shutdown_timeout": DRAIN}
    runner = web.AppRunner(app, **options)
    try:
        await runner.setup()
        async with Listener(runner.server, host, port) as listener:
            yield listener.port
    finally:
        await runner.cleanup()


def _report(report: Report, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if "exception" in context:
        report(context["exception"])
    else:
        loop.default_exception_handler(context)
