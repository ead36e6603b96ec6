"""How the server ends connections: one that broke a rule, or all of them when it stops.

It knows connections and their transports, and nothing of what a packet may be.
"""

from __future__ import annotations

import asyncio

import socketio
from aiohttp import web

SIO = web.AppKey("sio", socketio.AsyncServer)
TRANSPORTS = web.AppKey("transports", set[asyncio.Transport])
"""The transports of the requests that are being answered."""


async def end(sio: socketio.AsyncServer, eio_sid: str | None) -> None:
    """End an Engine.IO connection, without waiting for a client that may never ask again."""
    if eio_sid in sio.eio.sockets:
        socket = sio.eio.sockets[eio_sid]
        await socket.close(wait=False)
        socket.queue.put_nowait(None)  # the end of what is sent: a WebSocket is closed after it


async def hang_up(app: web.Application) -> None:
    """Cut every connection, so that stopping takes no time and clients know to come back.

    A polite goodbye would not do: a Socket.IO client that is told to disconnect stays away.
    """
    for transport in list(app[TRANSPORTS]):
        transport.abort()
    for socket in list(app[SIO].eio.sockets.values()):
        socket.queue.put_nowait(None)  # for a poll that waits: there is nothing to wait for
        await socket.close(wait=False, abort=True)
    await app[SIO].shutdown()
