"""Socket.IO on aiohttp, with what python-engineio lacks of the protocol and loses of messages.

python-engineio reads a request before all of it has arrived, for example. The modules `requests`,
`websocket`, `queue`, `packets` and `ending` correct this, and this module attaches them to a
server. It must not know the chat.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import engineio
import socketio
from aiohttp import web
from engineio.packet import Packet
from socketio.packet import CONNECT, CONNECT_ERROR

from chatlab.messages import Refused
from chatlab.server.ending import SIO, TRANSPORTS, cut, end, hang_up
from chatlab.server.frames import frame, writable
from chatlab.server.packets import ATTACHED, MAX_CONNECT, StrictPacket, TooLong, Unreadable
from chatlab.server.queue import PollQueue
from chatlab.server.requests import Requests, bad_method, handle_packets
from chatlab.server.websocket import WebSocket

# What this folder uses of other libraries although it is private or not documented. A test checks
# that it is still there.
#
# python-engineio
#   AsyncServer: create_queue, handle_request, send_packet, sockets, logger,
#       handlers["connect"] and ["message"], max_http_buffer_size, ping_interval,
#       ping_interval_grace_period, and _async["websocket"]: the class that serves a WebSocket, made
#       with a method of the AsyncSocket and the server
#   AsyncSocket: queue, sid, connected, upgrading, upgraded, closing, closed, receive,
#       close(wait, abort), check_ping_timeout, handle_post_request. `poll` takes packets with
#       `queue.get`, then with `queue.get_nowait` until QueueEmpty; None in the queue ends a
#       WebSocket. A POST is answered with "OK".
#   Packet: packet_type, data, binary, encode, and the types OPEN to NOOP
#   the environ of a request: "aiohttp.request"; the query is read with parse_qs
#   what is logged for a client that is refused: see CAUSES in `app`
# python-socketio
#   AsyncServer: eio, environ, handlers, manager, async_handlers. A namespace that it does not know
#       is refused with "Unable to connect".
#   AsyncManager: eio_sid_from_sid, sid_from_eio_sid; the callbacks of a sid begin at 1
#   Packet(encoded_packet): packet_type, namespace, id, data, encode, decode, add_attachment,
#       reconstruct_binary (a class method), and the types CONNECT to BINARY_ACK
# aiohttp
#   Request.protocol.transport: a WebSocket writes to the object that is there
# asyncio
#   Queue.get takes the item with `get_nowait`, and `put` adds it with `put_nowait`

PATH = "socket.io"
"""Where Socket.IO is, in the application."""
CONNECT_TIMEOUT = 45.0
"""Seconds in which a connection has to join a namespace, as in the official server."""
ORDERED = tuple(map(str, (CONNECT, *ATTACHED)))
"""The types of packet that are valid only before CONNECT or only after it."""
REFUSAL = Refused("bad auth", f"CONNECT has more than {MAX_CONNECT:,} characters")
TOO_LONG = f"{CONNECT_ERROR}" + json.dumps({"message": str(REFUSAL), "data": REFUSAL.as_dict()})
"""The refusal of a CONNECT that is longer than a token needs."""

Receive = Callable[..., Awaitable[Any]]
Send = Callable[[str, Packet], Awaitable[None]]


def attach(sio: socketio.AsyncServer, app: web.Application, path: str = PATH) -> None:
    """Make an application serve Socket.IO, and cut all connections when it stops.

    The server must have been made with `serializer=StrictPacket`.
    """
    eio = sio.eio
    app[SIO], app[TRANSPORTS] = sio, set()
    eio.create_queue = PollQueue
    websocket = partial(WebSocket, takes_events=sio.async_handlers)
    eio._async = eio._async | {"websocket": websocket}
    eio.handle_request = Requests(eio, eio.handle_request, app[TRANSPORTS]).handle
    eio.send_packet = partial(_send, eio, eio.send_packet)
    eio.on("connect", partial(_opened, sio, eio.handlers["connect"]))
    eio.on("message", partial(_receive, sio, eio.handlers["message"]))
    sio.attach(app, path)
    app.router.add_route("*", f"/{path}/", bad_method)
    app.on_shutdown.append(hang_up)


async def _opened(
    sio: socketio.AsyncServer, opened: Receive, eio_sid: str, environ: dict[str, Any]
) -> Any:
    """Give a new connection its corrections, and the time in which it has to send CONNECT."""
    eio, socket = sio.eio, sio.eio.sockets[eio_sid]
    _correct_times(eio, socket.queue)
    socket.handle_post_request = partial(handle_packets, eio, socket)
    socket.queue.overfull = partial(eio.start_background_task, cut, eio, eio_sid)
    socket.queue.deadline = asyncio.get_running_loop().call_later(
        CONNECT_TIMEOUT, eio.start_background_task, end, eio, eio_sid
    )
    return await opened(eio_sid, environ)


def _correct_times(eio: engineio.AsyncServer, queue: PollQueue) -> None:
    """Correct the first packet of a connection: Engine.IO rounds the interval to a second."""
    greeting = queue.get_nowait()
    queue.task_done()
    seconds = eio.ping_interval + eio.ping_interval_grace_period
    greeting.data["pingInterval"] = round(seconds * 1000)
    queue.put_nowait(greeting)


async def _send(eio: engineio.AsyncServer, send: Send, eio_sid: str, packet: Packet) -> None:
    """Send a packet: at once, together with what else is written in this turn, if that is possible.

    In the queue it would wait for two more turns of the event loop, and cost a system call.
    """
    socket = eio.sockets.get(eio_sid)
    if socket and not packet.binary and (writes := writable(socket)):
        writes.write(frame(packet.encode()))
    else:
        await send(eio_sid, packet)


async def _receive(sio: socketio.AsyncServer, receive: Receive, eio_sid: str, data: Any) -> None:
    """Give a packet to Socket.IO. End the connection if it is invalid: the official server does."""
    socket = sio.eio.sockets.get(eio_sid)
    if socket is None or socket.closing:
        return  # it arrived after the connection was ended
    try:
        namespace = _check_order(sio, eio_sid, data)
        await receive(eio_sid, data)
        if namespace and sio.manager.sid_from_eio_sid(eio_sid, namespace) is not None:
            socket.queue.deadline.cancel()
    except TooLong:
        await sio.eio.send(eio_sid, TOO_LONG)
    except Unreadable:
        await end(sio.eio, eio_sid)


def _check_order(sio: socketio.AsyncServer, eio_sid: str, data: Any) -> str | None:
    """Return the namespace of a CONNECT or of a packet with attachments; None for other packets.

    Raises Unreadable for no packet, a second CONNECT, or attachments before the first CONNECT.

    The official client sends a second CONNECT if `connect()` is called while it connects.
    python-socketio would refuse it, and the client would then ignore all events without an error.
    """
    if not isinstance(data, str | bytes):
        raise Unreadable("what Engine.IO takes for JSON")
    if isinstance(data, bytes) or not data.startswith(ORDERED):
        return None
    packet = StrictPacket(encoded_packet=data)
    namespace = packet.namespace or "/"
    connected = sio.manager.sid_from_eio_sid(eio_sid, namespace) is not None
    if connected == (packet.packet_type == CONNECT):
        raise Unreadable("a CONNECT or attachments out of turn")
    return namespace
