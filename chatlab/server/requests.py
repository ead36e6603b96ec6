"""The middlewares of the HTTP side: each closes one gap of Engine.IO in which messages are lost.

It knows requests, and hands them on to Engine.IO. It knows no chat.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from engineio.packet import CLOSE, MESSAGE, PONG, UPGRADE
from engineio.payload import Payload

from chatlab.server.ending import SIO, TRANSPORTS, end
from chatlab.server.frames import WRITES, JoinedWrites

POSTED = (CLOSE, PONG, MESSAGE, UPGRADE)
"""The types of Engine.IO's packets that a client sends over polling."""
UNREADABLE = (ValueError, LookupError, RecursionError)
"""What Engine.IO raises for a packet that it cannot read."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _remember_transport(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keep the transports of the requests that are being answered, for `hang_up`.

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


@web.middleware
async def _once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve no request of a connection twice: end the connection instead, so that it is made anew.

    Browsers, and aiohttp, repeat a request by themselves if the line breaks before the answer is
    there. The messages in the first answer are lost then, and Engine.IO would go on after them.
    """
    socket = request.app[SIO].eio.sockets.get(request.query.get("sid"))
    if socket is None or request.query.get("transport") != "polling":
        return await handler(request)
    queue, poll = socket.queue, request.method == hdrs.METH_GET
    stamp = request.query.get("t")
    repeated = stamp is not None and stamp == queue.stamps.get(request.method)
    if repeated or (poll and queue.polls):
        await end(request.app[SIO], socket.sid)
        return web.Response(status=web.HTTPBadRequest.status_code)
    queue.stamps[request.method] = stamp
    queue.polls += poll
    try:
        return await handler(request)
    finally:
        queue.polls -= poll


@web.middleware
async def _readable(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hand over a request with a body only when all of the body is here, and can be read.

    `content.read(length)` returns what has arrived, and Engine.IO takes that for the whole: the
    messages in the rest would be lost, and answered with 200.
    """
    try:
        if request.method == hdrs.METH_POST:
            longest = request.app[SIO].eio.max_http_buffer_size
            request = _Complete(request, _checked(await request.read(), longest))
        return await handler(request)
    except UNREADABLE:
        await end(request.app[SIO], _eio_sid(request))
        if request.method == hdrs.METH_GET:  # a WebSocket: it cannot be answered any more
            request.transport.abort()
        return web.Response(status=web.HTTPBadRequest.status_code)


def _checked(body: bytes, longest: int) -> bytes:
    """Return the body of a request. Raises as Engine.IO does if it cannot be read.

    Engine.IO finds out about these too, but would answer only when the client has polled all that
    waits for it, and a client whose connection is closed polls in vain.
    """
    if len(body) > longest:
        raise ValueError("a request that is too long")
    for packet in Payload(encoded_payload=body.decode()).packets:
        if packet.packet_type not in POSTED:
            raise ValueError("a packet of no type that a client posts")
    return body


def _eio_sid(request: web.Request) -> str | None:
    """Return the Engine.IO connection that a request belongs to: named by it, or opened with it."""
    opened = request.app[SIO].environ.items()
    mine = (sid for sid, environ in opened if environ["aiohttp.request"] is request)
    return request.query.get("sid") or next(mine, None)


class _Complete:
    """A request that gives its whole body at once, and is otherwise the one it came from."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self._request, self._body = request, body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    @property
    def content(self) -> _Complete:
        return self

    async def read(self, length: int = -1) -> bytes:
        return self._body


@web.middleware
async def _joined(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Join the frames that are written to a WebSocket in one turn of the loop."""
    if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
        request.protocol.transport = writes = JoinedWrites(request.transport)
        WRITES.set(writes)  # for the connection that is about to be opened with this request
        if socket := request.app[SIO].eio.sockets.get(request.query.get("sid")):
            socket.queue.writes = writes
    return await handler(request)


@web.middleware
async def _uncompressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do not compress WebSocket frames: for short messages it costs more than it saves."""
    if hdrs.SEC_WEBSOCKET_EXTENSIONS in request.headers:
        headers = request.headers.copy()
        del headers[hdrs.SEC_WEBSOCKET_EXTENSIONS]
        request = request.clone(headers=headers)
    return await handler(request)


MIDDLEWARES = [_joined, _remember_transport, _uncompressed, _once, _readable]
"""In the order in which a request goes through them."""
