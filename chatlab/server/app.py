"""The finished server, and the web application around it and around every server of the notebooks.

A server is a function that registers its handlers: `handlers(sio, log)`. The application is always
the same: Socket.IO on aiohttp, the message log, the page.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from os import PathLike
from typing import Any

import socketio
from aiohttp import hdrs, web
from socketio.exceptions import ConnectionRefusedError

from chatlab.log import Log, LogError, log_at
from chatlab.messages import CHAT_MESSAGE, Refused, epoch_of, offset_of, takes_pages
from chatlab.recovery import Recovery, cursor_of, recovered
from chatlab.server.delivery import Delivery
from chatlab.server.origins import Origins
from chatlab.server.packets import StrictPacket
from chatlab.server.site import Site
from chatlab.server.transport import attach

LOGGER = logging.getLogger(__name__)
CAUSES = {
    "Invalid websocket upgrade": (
        "Refused a WebSocket without all of its headers. If a proxy does not forward Upgrade and "
        "Connection, only polling works"
    ),
    "The client is using an unsupported version": (
        "Refused a client that speaks an old protocol. This server speaks that of Socket.IO 3 and "
        "later, which is version 4 of Engine.IO (EIO=4)"
    ),
}
"""How messages of Engine.IO begin that say why a client was refused, and what is logged instead."""
Handlers = Callable[[socketio.AsyncServer, Log], None]


def chat(sio: socketio.AsyncServer, log: Log) -> None:
    """Register the handlers of the finished server."""
    delivery = Delivery(sio, log)

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        try:
            offset = None if recovered(sio, sid) else offset_of(auth)
            await log.reach(cursor_of(sio, sid) if offset is None else offset, epoch_of(auth))
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


def create_app(
    handlers: Handlers = chat,
    *,
    db: str | PathLike[str] = "chat.db",
    server: Callable[..., socketio.AsyncServer] = socketio.AsyncServer,
    recovery: Callable[[], Recovery] | None = None,
    keep: int | None = None,
    origins: Iterable[str] = (),
    hosts: Collection[str] | None = None,
) -> web.Application:
    """Make the web application of a chat server: its handlers, its log, the page.

    `db` is the file of the log, or the address of a PostgreSQL ("postgresql://..."), which servers
    can share.

    `server` makes the Socket.IO server: pass a function of your own to give it other options.
    `recovery` makes the sessions, if clients are to recover their connection's state. `keep` is how
    many of the newest messages the log keeps; None keeps all.
    `origins` are addresses of the page that the requests do not tell, because a proxy is in between
    ("https://chat.example"). `hosts` are the names by which browsers may ask for the page, besides
    those of `origins`, localhost and IP addresses; then only pages there may show it in a frame.
    None means any name.
    The page sends a key with each text; a handler that does not accept it is called without it.
    Raises ValueError if one of `origins` is no address.
    Starting the application raises sqlite3.DatabaseError or LogError if `db` cannot be used.
    """
    app = web.Application()
    logger = _engineio_logger()
    sessions = recovery() if recovery else None
    options = sessions.options(StrictPacket) if sessions else {"serializer": StrictPacket}
    sio = server(async_mode="aiohttp", engineio_logger=logger, **options)
    log = log_at(db, keep=keep)
    attach(sio, app)
    handlers(sio, log)
    drop_key(sio)
    app.cleanup_ctx.append(_opened(log, sessions))
    app.middlewares.insert(0, _upgradable)
    app.router.add_get("/health", _health_of(log))
    pages = Origins(origins, hosts)
    pages.add_to(sio, app)
    Site(pages.frames).add_to(app)
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


@web.middleware
async def _upgradable(request: web.Request, handler: Any) -> web.StreamResponse:
    """Take the header Upgrade from a request that lacks the rest of what makes it a WebSocket.

    Engine.IO would open a connection first, and fail then. So it refuses it.
    """
    if hdrs.UPGRADE in request.headers and not _is_websocket(request):
        headers = request.headers.copy()
        del headers[hdrs.UPGRADE]
        request = request.clone(headers=headers)
    return await handler(request)


def _is_websocket(request: web.Request) -> bool:
    try:
        return web.WebSocketResponse().can_prepare(request).ok
    except ValueError:  # a key that is not of ASCII
        return False


def _opened(
    log: Log, sessions: Recovery | None
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


def _health_of(log: Log) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Make the handler that tells a load balancer whether clients should be sent here."""

    async def health(request: web.Request) -> web.Response:
        try:
            await log.check()
        except LogError as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(text="ok\n")

    return health


class _Errors(logging.Handler):
    """Takes what Engine.IO logs: exceptions, and why it refused a client.

    The event loop gets the exceptions, as all others. Of the refusals, those that somebody has to
    hear of are logged in our own words: the words of Engine.IO contain what a stranger has
    sent. Engine.IO logs each cause once.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if not record.exc_info:
            causes = (words for begin, words in CAUSES.items() if record.msg.startswith(begin))
            for words in causes:
                LOGGER.warning(words)
        else:
            asyncio.get_running_loop().call_exception_handler(
                {"message": record.getMessage(), "exception": record.exc_info[1]}
            )


def _engineio_logger() -> logging.Logger:
    logger = logging.Logger("engineio", logging.ERROR)
    logger.addHandler(_Errors())
    return logger
