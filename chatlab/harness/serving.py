"""Serve a web application on the running event loop, until an event tells it to stop.

This module knows asyncio and aiohttp. It must not know threads, processes or notebooks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from aiohttp import web

Build = Callable[[], web.Application]
Report = Callable[[BaseException], None]
CROWD = 4096
"""How many connections may wait to be accepted, if the system allows so many. A client that finds
no place tries again after one second, then two, four, eight: with many clients this takes long."""
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
        loop = asyncio.get_running_loop()
        server = await loop.create_server(runner.server, host, port, backlog=CROWD)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await stop_listening(server)
    finally:
        await runner.cleanup()


async def stop_listening(server: asyncio.Server) -> None:
    """Close the listening sockets so that no connection is left half accepted.

    asyncio accepts a connection in two steps. If the server is closed between them, the second
    step fails, and the socket stays open until garbage collection. So this stops the first step,
    lets the second one finish, and then closes. It relies on something undocumented: asyncio
    accepts connections in a reader of the listening socket.
    """
    with contextlib.suppress(NotImplementedError):  # Windows: its loop has no readers
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener)
        await asyncio.sleep(0)
    server.close()


def _report(report: Report, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if "exception" in context:
        report(context["exception"])
    else:
        loop.default_exception_handler(context)
