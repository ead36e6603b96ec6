"""The finished server, and the frame into which every server of the notebooks is put.

A server is a function that registers its handlers: `handlers(sio, log)`. The frame around it is
always the same: Socket.IO on aiohttp, the message log, the page.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from os import PathLike
from pathlib import Path
from typing import Any

import socketio
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError

from chatlab.log import MessageLog
from chatlab.messages import CHAT_MESSAGE, Refused, offset_of

Handlers = Callable[[socketio.AsyncServer, MessageLog], None]
PAGE = Path(__file__).parent / "page"
BROWSER_CLIENT = PAGE / "vendor" / "socket.io.min.js"
SIO = web.AppKey("sio", socketio.AsyncServer)
TRANSPORTS = web.AppKey("transports", set[asyncio.Transport])


def chat(sio: socketio.AsyncServer, log: MessageLog) -> None:
    """Register the handlers of the finished server."""

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        try:
            offset = offset_of(auth)
        except Refused as refusal:
            raise ConnectionRefusedError(str(refusal), refusal.as_dict()) from None
        if offset > log.head:
            offset = 0  # it counts in another log: nothing it has seen is here
        for message in await log.after(offset):
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid: str, *arguments: Any) -> int | dict[str, str]:
        try:
            text, client_offset = _two(arguments)
            offset = await log.append(text, client_offset)
        except Refused as refusal:
            return refusal.as_dict()
        except sqlite3.Error as error:
            return {"error": "not stored", "message": f"the message could not be stored: {error}"}
        await sio.emit(CHAT_MESSAGE, (text, offset))
        return offset


def create_app(
    handlers: Handlers = chat,
    *,
    db: str | PathLike[str] = "chat.db",
    server: Callable[..., socketio.AsyncServer] = socketio.AsyncServer,
) -> web.Application:
    """Make the web application of a chat server: its handlers, its log in the file `db`, the page.

    `server` makes the Socket.IO server, for a caller that wants one with options of its own.
    Starting the application raises sqlite3.DatabaseError if `db` cannot be used.
    """
    app = web.Application(middlewares=[_remember_transport])
    app[SIO] = sio = server(async_mode="aiohttp", engineio_logger=_errors_to_loop())
    app[TRANSPORTS] = set()
    log = MessageLog(db)
    sio.attach(app)
    handlers(sio, log)
    app.cleanup_ctx.append(_opened(log))
    app.on_shutdown.append(_hang_up)
    app.router.add_get("/", _index)
    app.router.add_static("/page", PAGE)
    return app


def _two(arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the text and the client_offset of a `chat message`."""
    if not 1 <= len(arguments) <= 2:
        raise Refused("bad arguments", f"{CHAT_MESSAGE} takes (text) or (text, client_offset)")
    text, *client_offset = arguments
    return text, client_offset[0] if client_offset else None


async def _index(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE / "index.html")


def _opened(log: MessageLog) -> Callable[[web.Application], AsyncIterator[None]]:
    async def while_serving(app: web.Application) -> AsyncIterator[None]:
        async with log:
            yield

    return while_serving


@web.middleware
async def _remember_transport(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Keep the transports of the requests that are being answered, for `_hang_up`.

    A client that goes away while it is answered is no error: there is nobody left to answer.
    """
    transports, transport = request.app[TRANSPORTS], request.transport
    transports.add(transport)
    try:
        return await handler(request)
    except ConnectionResetError:
        return web.Response()
    finally:
        transports.discard(transport)


async def _hang_up(app: web.Application) -> None:
    """Cut every connection, so that stopping takes no time and clients know to come back.

    A polite goodbye would not do: a Socket.IO client that is told to disconnect stays away.
    """
    for transport in list(app[TRANSPORTS]):
        transport.abort()
    await app[SIO].shutdown()


class _ToLoop(logging.Handler):
    """Hand logged exceptions to the running loop: one place to look for what went wrong."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            asyncio.get_running_loop().call_exception_handler(
                {"message": record.getMessage(), "exception": record.exc_info[1]}
            )


def _errors_to_loop() -> logging.Logger:
    logger = logging.Logger("chatlab.server", logging.ERROR)
    logger.addHandler(_ToLoop())
    return logger
