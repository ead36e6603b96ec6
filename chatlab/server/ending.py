"""How the server ends connections: one that broke a rule, or all of them when it stops.

It knows connections and their transports. It must not know what a packet may contain.
"""

from __future__ import annotations

import asyncio

import engineio
import socketio
from aiohttp import web
from engineio.async_socket import AsyncSocket

SIO = web.AppKey("sio", socketio.AsyncServer)
TRANSPORTS = web.AppKey("transports", set[asyncio.Transport])
"""The transports of the requests that are being answered."""


async def close(socket: AsyncSocket) -> None:
    """Close an Engine.IO connection. Do not wait for its client to poll again."""
    await socket.close(wait=False)
    socket.queue.put_nowait(None)  # for Engine.IO: close the WebSocket after these packets


async def end(eio: engineio.AsyncServer, eio_sid: str | None) -> None:
    """End an Engine.IO connection if there is one, and forget it.

    It goes on if whoever awaits it is given up: the application's `disconnect` may take long.
    """
    await asyncio.shield(eio.start_background_task(_end, eio, eio_sid))


async def _end(eio: engineio.AsyncServer, eio_sid: str | None) -> None:
    if socket := eio.sockets.get(eio_sid):
        await close(socket)
        eio.sockets.pop(eio_sid, None)


async def cut(eio: engineio.AsyncServer, eio_sid: str) -> None:
    """End a connection whose client does not read: nothing more is sent."""
    if socket := eio.sockets.get(eio_sid):
        await end(eio, eio_sid)
        socket.queue.clear()
        socket.queue.put_nowait(None)
        if socket.queue.writes:
            socket.queue.writes.abort()


async def hang_up(app: web.Application) -> None:
    """Cut every connection, so that the server stops at once and clients reconnect later.

    A Socket.IO client that gets a DISCONNECT packet would not reconnect.
    """
    for transport in list(app[TRANSPORTS]):
        transport.abort()
    for socket in list(app[SIO].eio.sockets.values()):
        socket.queue.put_nowait(None)  # a poll that waits ends
        await socket.close(wait=False, abort=True)
    await app[SIO].shutdown()
