"""Socket.IO on aiohttp, without the errors of python-engineio that lose messages.

python-engineio reads a request before all of it has arrived, it limits the number of packets in a
request, and an invalid packet ends in a traceback. The modules `queue`, `requests`, `packets` and
`ending` correct this, and this module attaches them to a server. It must not know the chat.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import socketio
from aiohttp import web
from engineio.payload import Payload
from socketio.packet import CONNECT

from chatlab.server.ending import SIO, TRANSPORTS, end, hang_up
from chatlab.server.packets import ATTACHED, StrictPacket, Unreadable
from chatlab.server.queue import PollQueue
from chatlab.server.requests import MIDDLEWARES

# What this folder uses of other libraries although it is private or not documented. A test checks
# that it is still there.
#
# python-engineio
#   AsyncServer: create_queue, sockets, handlers["message"], max_http_buffer_size
#   AsyncSocket: queue, sid, upgraded, closing, closed, close(wait, abort). `poll` takes packets
#       with `queue.get`, then with `queue.get_nowait` until QueueEmpty; None in the queue ends a
#       WebSocket. A packet of an unknown type is logged as "Unknown receive error".
#   Payload(encoded_payload): packets, max_decode_packets; Packet: packet_type, data, and the types
#       CLOSE, MESSAGE, PONG, UPGRADE
#   the environ of a request: "aiohttp.request"
# python-socketio
#   AsyncServer: eio, environ, handlers, manager
#   AsyncManager: eio_sid_from_sid, sid_from_eio_sid
#   Packet(encoded_packet): packet_type, namespace, data, decode, add_attachment,
#       reconstruct_binary (a class method), and the types ACK to EVENT
# aiohttp
#   Request.protocol.transport: a WebSocket writes to the object that is there
# asyncio
#   Queue.get takes the item with `get_nowait`

MAX_PACKETS_IN = 50_000
"""The most packets in one request: more chat messages than fit into a request of a megabyte."""
ORDERED = tuple(map(str, (CONNECT, *ATTACHED)))
"""The types of packet that are valid only before CONNECT or only after it."""


def attach(sio: socketio.AsyncServer, app: web.Application) -> None:
    """Make an application serve Socket.IO, and cut all connections when it stops.

    The server must have been made with `serializer=StrictPacket`.
    """
    Payload.max_decode_packets = MAX_PACKETS_IN
    sio.eio.create_queue = PollQueue
    sio.eio.on("message", partial(_receive, sio, sio.eio.handlers["message"]))
    app[SIO], app[TRANSPORTS] = sio, set()
    app.middlewares.extend(MIDDLEWARES)
    sio.attach(app)
    app.on_shutdown.append(hang_up)


async def _receive(
    sio: socketio.AsyncServer, receive: Callable[..., Awaitable[None]], eio_sid: str, data: Any
) -> None:
    """Give a packet to Socket.IO. End the connection if it is invalid: the official server does."""
    if eio_sid not in sio.eio.sockets or sio.eio.sockets[eio_sid].closing:
        return  # it arrived after the connection was ended
    try:
        _check_order(sio, eio_sid, data)
        await receive(eio_sid, data)
    except Unreadable:
        await end(sio, eio_sid)


def _check_order(sio: socketio.AsyncServer, eio_sid: str, data: Any) -> None:
    """Raise Unreadable for no packet, a second CONNECT, or attachments before the first CONNECT.

    The official client sends a second CONNECT if `connect()` is called while it connects.
    python-socketio would refuse it, and the client would then ignore all events without an error.
    """
    if not isinstance(data, str | bytes):
        raise Unreadable("what Engine.IO takes for JSON")
    if isinstance(data, bytes) or not data.startswith(ORDERED):
        return
    packet = StrictPacket(encoded_packet=data)
    connected = sio.manager.sid_from_eio_sid(eio_sid, packet.namespace or "/") is not None
    if connected == (packet.packet_type == CONNECT):
        raise Unreadable("a CONNECT or attachments out of turn")
