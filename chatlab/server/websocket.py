"""The WebSocket of a connection, from its first frame or from an upgrade.

python-engineio waits for ever for an upgrade that does not go on, and for a client that takes no
more bytes, and a packet that it cannot read ends in a traceback. This module knows Engine.IO's
connections. It must not know Socket.IO.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import engineio
from aiohttp import WSMsgType, web

from chatlab.server.ending import end
from chatlab.server.frames import MAX_JOINED, JoinedWrites
from chatlab.server.packets import is_event, is_readable

UPGRADE_TIMEOUT = 10.0
"""Seconds in which an upgrade has to be finished, as in the official server. A middlebox may let
the WebSocket open and then take no frame; polling goes on meanwhile."""
PROBE, UPGRADE = "2probe", "5"
"""What a client sends first and second while it upgrades:
https://socket.io/docs/v4/engine-io-protocol/#upgrade"""
NOOP = "6"
"""What Swift's client may send right after an upgrade. It means nothing."""
LAST_BYTES = 5.0
"""Seconds that a client has to take what was sent to it before its connection ended."""


class WebSocket:
    """What Engine.IO makes of a request for a WebSocket; `handler` is a method of its connection.

    With `takes_events`, events go to Socket.IO from here: see `_take`. Frames are not compressed:
    for short messages this costs more than it saves.
    """

    probed = False
    """Whether the client has tried an upgrade, and it works."""
    _unprobed = False
    """Whether the client upgrades without a try."""

    _abort: asyncio.TimerHandle | None = None
    """Ends the connection of a client that takes no more bytes."""

    def __init__(
        self,
        handler: Callable[[WebSocket], Awaitable[None]],
        server: engineio.AsyncServer,
        takes_events: bool,
    ) -> None:
        self._handle, self._eio, self._takes_events = handler, server, takes_events
        self._socket = handler.__self__

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        """Serve the WebSocket until it is closed."""
        request, queue = environ["aiohttp.request"], self._socket.queue
        request.protocol.transport = self._writes = JoinedWrites(request.transport)
        limit = self._eio.max_http_buffer_size
        self._ws = web.WebSocketResponse(
            max_msg_size=limit, compress=False, writer_limit=MAX_JOINED
        )
        await self._ws.prepare(request)
        queue.upgrade = self if self._socket.connected else None
        try:
            await self._handle(self)
        finally:
            self._ended()
        return self._ws

    def _ended(self) -> None:
        """Go on with polling if the upgrade failed; else nothing can be sent any more."""
        self._socket.queue.upgrade = None
        if self._abort:
            self._abort.cancel()
        if self._socket.upgraded:
            self._socket.queue.clear()
        else:
            self._socket.upgrading = False
            self._writes.abort()

    async def wait(self) -> str | bytes:
        """Return the next packet. Raises OSError if there is none, or if it is not valid."""
        try:
            return await (self._next() if self._socket.upgraded else self._next_of_upgrade())
        except (OSError, asyncio.CancelledError):  # Engine.IO cancels it for a client that is gone
            self._abort = asyncio.get_running_loop().call_later(LAST_BYTES, self._writes.abort)
            raise

    async def _next(self) -> str | bytes:
        """Return the next packet that is not an event."""
        self._socket.queue.writes = self._writes
        while is_event(data := await self._receive()) and self._takes_events:
            await self._take(data)
        if data != NOOP and not is_readable(data):
            await end(self._eio, self._socket.sid)
            raise OSError("a packet of no type that a client sends")
        return data

    async def _next_of_upgrade(self) -> str:
        """Return PROBE, and the next time UPGRADE; C#'s client sends no PROBE."""
        if self._unprobed:
            return UPGRADE
        async with asyncio.timeout(UPGRADE_TIMEOUT):  # its TimeoutError is an OSError
            data = await self._receive()
        if data not in (PROBE, UPGRADE):
            raise OSError("no upgrade")
        if data == UPGRADE:
            self._unprobed = not self.probed
            self._socket.queue.end_poll()  # it would take what is for the WebSocket now
        self.probed = True
        return PROBE if self._unprobed else data

    async def _take(self, event: str) -> None:
        """Give an event to Socket.IO, which makes a task that handles it.

        Engine.IO makes a task and a timer to wait for each packet: these are saved. It takes all
        other packets itself, since it gives up what waits here for too long: a CONNECT may take
        longer, and so may an event if Socket.IO makes no task of it.
        """
        try:
            await self._eio.handlers["message"](self._socket.sid, event[1:])
        except Exception:
            self._eio.logger.exception("an event could not be handled")
        await asyncio.sleep(0)  # more events may be here already: all others have their turn first

    async def _receive(self) -> str | bytes:
        if self._socket.closed:
            raise OSError("the connection is closed")
        message = await self._ws.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise OSError("the WebSocket is closed")
        return message.data

    async def send(self, data: str | bytes) -> None:
        """Send a packet, as soon as the reader is fast enough."""
        if self._unprobed and not self._socket.upgraded:
            return  # the answer to a PROBE that the client did not send
        await (self._ws.send_bytes if isinstance(data, bytes) else self._ws.send_str)(data)

    async def close(self) -> None:
        """Close the WebSocket."""
        await self._ws.close()


async def refuse(request: web.Request) -> web.WebSocketResponse:
    """Open a WebSocket and close it at once: a connection has one WebSocket and no other."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    await websocket.close()
    return websocket
