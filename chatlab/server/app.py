"""The finished server, and the web application around it and around every server of the notebooks.

A server is a function that registers its handlers: `handlers(sio, log)`. The application is always
the same: Socket.IO on aiohttp, the message log, the page.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from os import PathLike
from typing import Any

import socketio
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError

from chatlab.log import Log, MessageLog
from chatlab.messages import CHAT_MESSAGE, NOT_STORED, Refused, epoch_of, offset_of, takes_pages
from chatlab.page import BROWSER_CLIENT, PAGE
from chatlab.recovery import Recovery, recovered
from chatlab.server.delivery import Delivery
from chatlab.server.packets import StrictPacket
from chatlab.server.transport import attach

Handlers = Callable[[socketio.AsyncServer, Log], None]


def chat(sio: socketio.AsyncServer, log: Log) -> None:
    """Register the handlers of the finished server."""
    delivery = Delivery(sio, log)

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        try:
            offset = None if recovered(sio, sid) else offset_of(auth)
            delivery.attach(sid, offset, epoch_of(auth), pages=takes_pages(auth))
        except Refused as refusal:
            raise ConnectionRefusedError(str(refusal), refusal.as_dict()) from None

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        delivery.detach(sid)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid: str, *arguments: Any) -> int | dict[str, str]:
        # No `await` before `append`, so that the messages of one sender stay in order.
        try:
            return await log.append(*_text_and_key(arguments))
        except Refused as refusal:
            return refusal.as_dict()
        except sqlite3.Error as error:
            return {"error": NOT_STORED, "message": f"the message could not be stored: {error}"}


def create_app(
    handlers: Handlers = chat,
    *,
    db: str | PathLike[str] = "chat.db",
    server: Callable[..., socketio.AsyncServer] = socketio.AsyncServer,
    recovery: Callable[[], Recovery] | None = None,
    keep: int | None = None,
) -> web.Application:
    """Make the web application of a chat server: its handlers, its log in the file `db`, the page.

    `server` makes the Socket.IO server: pass a function of your own to give it other options.
    `recovery` makes the sessions, if clients are to recover their connection's state. `keep` is how
    many of the newest messages the log keeps; None keeps all.
    The page sends a key with each text; a handler that does not accept it is called without it.
    Starting the application raises sqlite3.DatabaseError if `db` cannot be used.
    """
    app = web.Application()
    logger = _errors_to_loop()
    sessions = recovery() if recovery else None
    options = sessions.options(StrictPacket) if sessions else {"serializer": StrictPacket}
    sio = server(async_mode="aiohttp", engineio_logger=logger, **options)
    log = MessageLog(db, keep=keep)
    attach(sio, app)
    handlers(sio, log)
    drop_key(sio)
    app.cleanup_ctx.append(_opened(log, sessions))
    app.router.add_get("/", _index)
    app.router.add_get("/socket.io/socket.io.js", _browser_client)
    app.router.add_static("/page", PAGE)
    return app


def drop_key(sio: socketio.AsyncServer) -> None:
    """Make a handler `chat_message(sid, text)` work for a client that sends a key too."""
    events = sio.handlers.get("/", {})
    handler = events.get(CHAT_MESSAGE)
    if handler is None or _takes_key(handler):
        return

    @functools.wraps(handler)
    async def without_key(sid: str, *arguments: Any) -> Any:
        answer = handler(sid, *(arguments[:1] if len(arguments) == 2 else arguments))
        return await answer if inspect.isawaitable(answer) else answer

    events[CHAT_MESSAGE] = without_key


def _takes_key(handler: Callable[..., Any]) -> bool:
    try:
        inspect.signature(handler).bind("sid", "text", "key")
    except TypeError:
        return False
    return True


def _text_and_key(arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the text and the client_offset of a `chat message`."""
    if not 1 <= len(arguments) <= 2:
        raise Refused("bad arguments", f"{CHAT_MESSAGE} takes (text) or (text, client_offset)")
    text, *client_offset = arguments
    return text, client_offset[0] if client_offset else None


async def _index(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE / "index.html")


async def _browser_client(request: web.Request) -> web.StreamResponse:
    """Serve the official client where every Socket.IO server serves it."""
    if BROWSER_CLIENT.exists():
        return web.FileResponse(BROWSER_CLIENT)
    return web.Response(status=404, text="The Socket.IO browser client is not installed here.")


def _opened(
    log: MessageLog, sessions: Recovery | None
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def while_serving(app: web.Application) -> AsyncIterator[None]:
        async with log:
            await log.begin_epoch()
            if sessions is None:
                yield
                return
            await sessions.open(cursor=log.head)
            try:
                yield
            finally:
                await sessions.close()

    return while_serving


class _ToLoop(logging.Handler):
    """Give logged exceptions to the exception handler of the event loop, as all other errors.

    A WebSocket packet of an unknown type is left out: it is an error of the client, not of the
    server.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.msg != "Unknown receive error":
            asyncio.get_running_loop().call_exception_handler(
                {"message": record.getMessage(), "exception": record.exc_info[1]}
            )


def _errors_to_loop() -> logging.Logger:
    logger = logging.Logger("chatlab.server.app", logging.ERROR)
    logger.addHandler(_ToLoop())
    return logger
