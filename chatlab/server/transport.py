"""Socket.IO on aiohttp, with the gaps closed in which a message could be lost.

python-engineio reads a request before all of it has arrived, and sends and takes only so many
packets in one request; a packet that makes no sense ends in a traceback. This module attaches what
mends that: `queue`, `requests`, `packets` and `ending`. It knows no chat.
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

MOST_IN = 50_000
"""Packets in one request: more chat messages than fit into the megabyte that a request may have."""
TURNS = tuple(map(str, (CONNECT, *ATTACHED)))
"""The types of packet that are right only before or only after CONNECT."""


def attach(sio: socketio.AsyncServer, app: web.Application) -> None:
    """Let an application serve Socket.IO, and hang up when it stops.

    The server must have been made with `serializer=StrictPacket`.
    """
    Payload.max_decode_packets = MOST_IN
    sio.eio.create_queue = PollQueue
    sio.eio.on("message", partial(_receive, sio, sio.eio.handlers["message"]))
    app[SIO], app[TRANSPORTS] = sio, set()
    app.middlewares.extend(MIDDLEWARES)
    sio.attach(app)
    app.on_shutdown.append(hang_up)


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
        await end(sio, eio_sid)


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
