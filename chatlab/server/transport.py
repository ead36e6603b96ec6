"""Socket.IO on aiohttp, with the gaps closed in which a message could be lost.

python-engineio reads a request before all of it has arrived, and sends and takes only so many
packets in one request; a packet that makes no sense ends in a traceback. Everything here uses names
without an underscore, and knows no chat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import socketio
from aiohttp import hdrs, web
from engineio.packet import CLOSE, MESSAGE, PONG, UPGRADE
from engineio.payload import Payload
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, DISCONNECT, EVENT, Packet

from chatlab.server.frames import WRITES, JoinedWrites

SIO = web.AppKey("sio", socketio.AsyncServer)
TRANSPORTS = web.AppKey("transports", set[asyncio.Transport])
MOST_OUT = 15
"""Packets in one answer to a poll: a python-socketio client refuses more than 16."""
MOST_IN = 50_000
"""Packets in one request: more chat messages than fit into the megabyte that a request may have."""
MOST_ATTACHED = 10
"""Attachments of one packet, as in the official parser: they wait in memory until all are here."""
ATTACHED = (BINARY_EVENT, BINARY_ACK)
TO_SERVER = "".join(map(str, (CONNECT, DISCONNECT, EVENT, ACK, *ATTACHED)))
"""The types of packet that a client sends, each of which is one digit."""
TURNS = tuple(map(str, (CONNECT, *ATTACHED)))
"""The types of packet that are right only before or only after CONNECT."""
RESERVED = {"connect", "connect_error", "disconnect", "disconnecting"}
RESERVED |= {"newListener", "removeListener"}
"""The names that no event has: the official server ends a connection that sends one."""
POSTED = (CLOSE, PONG, MESSAGE, UPGRADE)
"""The types of Engine.IO's packets that a client sends over polling."""
UNREADABLE = (ValueError, LookupError, RecursionError)
"""What Engine.IO raises for a packet that it cannot read."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def attach(sio: socketio.AsyncServer, app: web.Application) -> None:
    """Let an application serve Socket.IO, and hang up when it stops.

    The server must have been made with `serializer=StrictPacket`.
    """
    Payload.max_decode_packets = MOST_IN
    sio.eio.create_queue = PollQueue
    sio.eio.on("message", partial(_receive, sio, sio.eio.handlers["message"]))
    app[SIO], app[TRANSPORTS] = sio, set()
    app.middlewares.extend([_joined, _remember_transport, _uncompressed, _once, _readable])
    sio.attach(app)
    app.on_shutdown.append(_hang_up)


class Unreadable(ValueError):
    """A packet that no Socket.IO client sends."""


class StrictPacket(Packet):
    """A Socket.IO packet that is checked when it arrives, as the official parser checks it."""

    def __init__(self, *arguments: Any, encoded_packet: Any = None, **options: Any) -> None:
        if encoded_packet is not None and not encoded_packet:
            raise Unreadable("an empty packet")
        super().__init__(*arguments, encoded_packet=encoded_packet, **options)

    def decode(self, encoded_packet: Any) -> int:
        """Read a packet; return how many attachments follow. Raises Unreadable."""
        if not isinstance(encoded_packet, str) or encoded_packet[0] not in TO_SERVER:
            raise Unreadable("a packet of no type that a client sends")
        try:
            attachments = super().decode(encoded_packet)
        except (ValueError, TypeError, RecursionError) as error:
            raise Unreadable(str(error)) from error
        if (attachments > 0) != (self.packet_type in ATTACHED):
            raise Unreadable("attachments where there are none, or none where there are some")
        if attachments > MOST_ATTACHED:
            raise Unreadable("more attachments than a packet may have")
        if self.packet_type in (EVENT, BINARY_EVENT) and not _is_event(self.data):
            raise Unreadable("an event without a name of its own")
        return attachments

    def add_attachment(self, attachment: Any) -> bool:
        """Add what follows a packet; return whether it is complete. Raises Unreadable."""
        if not isinstance(attachment, bytes):
            raise Unreadable("an attachment that is a text")
        try:
            return super().add_attachment(attachment)
        except (LookupError, TypeError, RecursionError) as error:
            raise Unreadable(f"an attachment without its place: {error}") from error

    @classmethod
    def reconstruct_binary(cls, data: Any, attachments: list[bytes]) -> Any:
        """Put the attachments in their places, of which none is counted from the end."""
        return super().reconstruct_binary(data, dict(enumerate(attachments)))


def _is_event(data: Any) -> bool:
    """Whether this is an event: a list that begins with a name, and not with one of Socket.IO's.

    Socket.IO here would call the handlers of `connect` and `disconnect` for an event of that name.
    """
    return isinstance(data, list) and data and isinstance(data[0], str) and data[0] not in RESERVED


async def _receive(
    sio: socketio.AsyncServer, receive: Callable[..., Awaitable[None]], eio_sid: str, data: Any
) -> None:
    """Hand a packet to Socket.IO; end the connection if it makes no sense, as the official does."""
    if eio_sid not in sio.eio.sockets or sio.eio.sockets[eio_sid].closing:
        return  # it was on its way when the connection was ended
    try:
        _check_turn(sio, eio_sid, data)
        await receive(eio_sid, data)
    except Unreadable:
        await _end(sio, eio_sid)


def _check_turn(sio: socketio.AsyncServer, eio_sid: str, data: Any) -> None:
    """Raise Unreadable for what is no packet, a second CONNECT, and attachments before the first.

    The official client sends a second CONNECT if `connect()` is called while it connects, and would
    listen no more, silently, if it got the refusal that Socket.IO here has for it.
    """
    if not isinstance(data, str | bytes):
        raise Unreadable("what Engine.IO takes for JSON")
    if isinstance(data, bytes) or not data.startswith(TURNS):
        return
    packet = StrictPacket(encoded_packet=data)
    connected = sio.manager.sid_from_eio_sid(eio_sid, packet.namespace or "/") is not None
    if connected == (packet.packet_type == CONNECT):
        raise Unreadable("a CONNECT or attachments out of turn")


async def _end(sio: socketio.AsyncServer, eio_sid: str | None) -> None:
    """End an Engine.IO connection, without waiting for a client that may never ask again."""
    if eio_sid in sio.eio.sockets:
        socket = sio.eio.sockets[eio_sid]
        await socket.close(wait=False)
        socket.queue.put_nowait(None)  # the end of what is sent: a WebSocket is closed after it


class PollQueue(asyncio.Queue):
    """A connection's queue of packets, which ends a poll after MOST_OUT of them.

    Engine.IO waits for the first packet with `get`, and takes the others with `get_nowait` until
    that says that the queue is empty.

    CLOSE is in no answer to a poll behind other packets. The official client closes as soon as it
    has read all of the answer, and then finds the events in it: it keeps them apart, has not
    counted them when it says what it has, and shows them again when it is back. Without CLOSE its
    next poll is refused, as the connection is closed, and says the same.
    """

    taken = 0
    polls = 0
    """Polls that wait for an answer now."""

    def __init__(self) -> None:
        super().__init__()
        self.stamps: dict[str, str | None] = {}
        """What marked the last request of each method: clients mark every one differently."""
        self.writes: JoinedWrites | None = WRITES.get()
        """The transport of the connection's WebSocket, if it has one."""
        self._asked = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether all has been sent, and whoever sends waits for more."""
        return self._asked.is_set() and self.empty()

    async def rest(self) -> None:
        """Wait until all has been taken; with a WebSocket, until it has been sent."""
        await self.join()
        if self.writes is not None:
            await self._asked.wait()

    async def get(self) -> Any:
        self.taken = 0
        if self.empty():
            self._asked.set()
        try:
            return await super().get()
        finally:
            self._asked.clear()

    def get_nowait(self) -> Any:
        if self.taken == MOST_OUT:
            raise asyncio.QueueEmpty
        item = super().get_nowait()  # asyncio's own `get` comes through here too
        if self.polls and self.taken and item is not None and item.packet_type == CLOSE:
            self.task_done()
            raise asyncio.QueueEmpty
        self.taken += 1
        return item


@web.middleware
async def _remember_transport(request: web.Request, handler: Handler) -> web.StreamResponse:
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
        await _end(request.app[SIO], socket.sid)
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
        await _end(request.app[SIO], _eio_sid(request))
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


async def _hang_up(app: web.Application) -> None:
    """Cut every connection, so that stopping takes no time and clients know to come back.

    A polite goodbye would not do: a Socket.IO client that is told to disconnect stays away.
    """
    for transport in list(app[TRANSPORTS]):
        transport.abort()
    for socket in list(app[SIO].eio.sockets.values()):
        socket.queue.put_nowait(None)  # for a poll that waits: there is nothing to wait for
        await socket.close(wait=False, abort=True)
    await app[SIO].shutdown()
