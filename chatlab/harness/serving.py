"""Serve a web application on the running event loop, until an event tells it to stop.

This module knows asyncio and aiohttp, and what one client may cost. It must not know threads,
processes or notebooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from chatlab.harness.listener import Listener

Build = Callable[[], web.Application]
Report = Callable[[BaseException], None]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
DRAIN = 0.1
"""Seconds that a server, when it stops, gives to unfinished requests."""
IN_TIME = 75.0
"""Seconds until a connection is closed on which the next request does not come, or its body does
not. nginx keeps a connection for 60 seconds: if the server closed it first, a request that nginx
is just sending would be lost."""
MOST_HEADERS, HEADERS_SIZE = 64, 32_768
"""The most headers of a request, and the most bytes of all. Proxies add some, and browsers send
localhost the cookies of every server there; the official server in Node.js takes half of it."""


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
    """Serve an application until the `async with` block ends; yield the port it listens on.

    A client has IN_TIME for a request, and MOST_HEADERS and HEADERS_SIZE for its headers.
    Compressed bodies stay packed: aiohttp would unpack one for any path, 900 MB from 875 kB.
    The errors of handlers are logged, those of clients are not.
    """
    app.middlewares.insert(0, _bounded)
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=IN_TIME,
        logger=LOGGER,
        max_headers=MOST_HEADERS,
        shutdown_timeout=DRAIN,
    )
    try:
        await runner.setup()
        runner.server.request_handler = partial(_readable, runner.server.request_handler)
        async with Listener(runner.server, host, port) as listener:
            yield listener.port
    finally:
        await runner.cleanup()


async def _readable(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    """Refuse headers that are not UTF-8: aiohttp takes them, and fails where it repeats one."""
    try:
        b"\n".join(value for _, value in request.raw_headers).decode()
    except UnicodeDecodeError:
        raise web.HTTPBadRequest from None
    return await handler(request)


@web.middleware
async def _bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse headers that are too large, and hang up if the body does not come in time."""
    if sum(len(name) + len(value) for name, value in request.raw_headers) > HEADERS_SIZE:
        refusal = web.HTTPRequestHeaderFieldsTooLarge()
        refusal.force_close()  # an open connection keeps its last request in memory
        raise refusal
    too_late = asyncio.get_running_loop().call_later(IN_TIME, request.protocol.force_close)
    request.content.on_eof(too_late.cancel)
    try:
        return await handler(request)
    except (web.RequestPayloadError, ConnectionError) as error:
        if isinstance(error, ConnectionError) and request.transport is not None:
            raise  # another connection was lost, not the client's
        raise web.HTTPBadRequest from None
    finally:
        too_late.cancel()  # aiohttp gives the rest of a body that nobody has read ten seconds


def _is_of_the_server(record: logging.LogRecord) -> bool:
    """Whether an error is one of the server: a request that nobody can read is none."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


LOGGER = logging.getLogger(__name__)
LOGGER.addFilter(_is_of_the_server)


def _report(report: Report, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if "exception" in context:
        report(context["exception"])
    else:
        loop.default_exception_handler(context)
