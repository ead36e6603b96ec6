"""What is written to a WebSocket: frames that are made once for everybody, many in one write.

Engine.IO's way from a queue to the wire takes a turn of the loop and a system call for each packet.
It stays the way of everything but messages, and theirs too for those who read slowly.
"""

from __future__ import annotations

import asyncio
import struct
from contextvars import ContextVar
from typing import Any

from engineio.async_socket import AsyncSocket

MOST_JOINED = 1 << 16
"""Bytes of frames that are joined into one write: as many as asyncio takes before it says wait."""
FINAL_TEXT = 0x81
"""How a frame begins that is a whole text: https://www.rfc-editor.org/rfc/rfc6455#section-5.2"""
WRITES: ContextVar[JoinedWrites | None] = ContextVar("writes", default=None)
"""The transport of the WebSocket that is being opened."""


class JoinedWrites:
    """A transport that joins what it is given in one turn of the loop into one write.

    aiohttp gives it the frames of a WebSocket one by one, and each would cost a system call. Not
    more than MOST_JOINED bytes are kept: the transport has to see them, to say when the other side
    reads too slowly. Otherwise it is the transport that it was made of.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._kept: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._kept:
            asyncio.get_running_loop().call_soon(self._flush)
        self._kept.append(data)
        self._size += len(data)
        if self._size > MOST_JOINED:
            self._flush()

    @property
    def waiting(self) -> int:
        """How many bytes the system has not taken yet: those kept here, and the transport's own."""
        return self._size + self._transport.get_write_buffer_size()

    @property
    def ready(self) -> bool:
        """Whether the other side is there, and reads quickly enough."""
        return self.waiting < MOST_JOINED and not self._transport.is_closing()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._flush()
        self._transport.abort()

    def _flush(self) -> None:
        if self._kept:
            joined = b"".join(self._kept)
            self._kept, self._size = [], 0
            self._transport.write(joined)


def frame(packet: str) -> bytes:
    """Return the frame in which a server sends a packet."""
    payload = packet.encode()
    size = len(payload)
    if size < 126:
        return bytes((FINAL_TEXT, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", FINAL_TEXT, 126, size) + payload
    return struct.pack("!BBQ", FINAL_TEXT, 127, size) + payload


def writable(socket: AsyncSocket) -> JoinedWrites | None:
    """Return where frames for a connection can be written at once, if they can.

    They can if there is nothing that they would overtake.
    """
    open_, queue = socket.upgraded and not (socket.closing or socket.closed), socket.queue
    at_once = open_ and queue.idle and queue.writes is not None and queue.writes.ready
    return queue.writes if at_once else None
