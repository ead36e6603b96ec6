"""Middlewares for Engine.IO's requests: most of them prevent that Engine.IO loses messages.

It knows requests and the connections that they belong to. It must not know the chat.
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
    """Store the transport of each request that is being answered, for `hang_up`.

    It is no error if the client closes the transport before it has the answer.
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
    """End a connection that repeats a request, or polls twice at once; its client reconnects.

    Browsers and aiohttp repeat a request by themselves if the connection breaks before the answer
    arrives. Then the messages in the first answer are lost, and Engine.IO would go on after them.
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
    """Give Engine.IO a POST only when all of its body has arrived and is readable.

    `content.read(length)` returns only the part that has arrived, and Engine.IO takes it for all:
    it would lose the messages in the rest, and answer 200.
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
    """Return the body of a request. Raises one of UNREADABLE if Engine.IO cannot read it.

    Engine.IO notices these errors too, but answers only after the client has polled all packets in
    the queue. By then it refuses the polls, because the connection is closed.
    """
    if len(body) > longest:
        raise ValueError("a request that is too long")
    for packet in Payload(encoded_payload=body.decode()).packets:
        if packet.packet_type not in POSTED:
            raise ValueError("a packet of no type that a client posts")
    return body


def _eio_sid(request: web.Request) -> str | None:
    """Return the id of the Engine.IO connection that a request names or has just opened."""
    opened = request.app[SIO].environ.items()
    sids = (sid for sid, environ in opened if environ["aiohttp.request"] is request)
    return request.query.get("sid") or next(sids, None)


class _Complete:
    """A request whose `content.read` returns the whole body. All else is the original request's."""

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
        WRITES.set(writes)  # for the queue of the connection that this request opens
        if socket := request.app[SIO].eio.sockets.get(request.query.get("sid")):
            socket.queue.writes = writes
    return await handler(request)


@web.middleware
async def _uncompressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do not compress WebSocket frames: for short messages this costs more than it saves."""
    if hdrs.SEC_WEBSOCKET_EXTENSIONS in request.headers:
        headers = request.headers.copy()
        del headers[hdrs.SEC_WEBSOCKET_EXTENSIONS]
        request = request.clone(headers=headers)
    return await handler(request)


MIDDLEWARES = [_joined, _remember_transport, _uncompressed, _once, _readable]
"""A request passes them in this order."""
