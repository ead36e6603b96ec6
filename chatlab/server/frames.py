"""Frames of a WebSocket: the same frames for all clients, and many frames in one write.

Engine.IO's queue needs two turns of the event loop and a system call for each packet. So chat
messages, acknowledgements and what handlers emit are written here, without the queue. Through it
goes what Engine.IO itself sends, the events of a session that may be recovered, and everything for
a client that reads slowly. This module must not know messages or the log.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from engineio.async_socket import AsyncSocket

MAX_JOINED = 1 << 16
"""The most bytes that wait to be joined into one write: asyncio's own limit for a slow reader."""
FINAL_TEXT = 0x81
"""The first byte of a frame with a whole text: https://www.rfc-editor.org/rfc/rfc6455#section-5.2"""


class JoinedWrites:
    """A transport that joins all writes of one turn of the event loop into one.

    aiohttp writes the frames of a WebSocket one by one, and each would cost a system call. Not more
    than MAX_JOINED bytes wait here: the transport must see the bytes to notice that the other side
    reads too slowly. Everything else goes to the transport that it wraps.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._joined: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._joined:
            asyncio.get_running_loop().call_soon(self._flush)
        self._joined.append(data)
        self._size += len(data)
        if self._size > MAX_JOINED:
            self._flush()

    @property
    def waiting(self) -> int:
        """How many bytes are not sent yet: those that wait here, and those in the transport."""
        return self._size + self._transport.get_write_buffer_size()

    @property
    def ready(self) -> bool:
        """Whether the connection is open, and the other side reads fast enough."""
        return self.waiting < MAX_JOINED and not self._transport.is_closing()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._flush()
        self._transport.abort()

    def _flush(self) -> None:
        if self._joined:
            joined = b"".join(self._joined)
            self._joined, self._size = [], 0
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
    """Return the transport of a connection if frames may be written to it directly, else None.

    They may not while packets are in the queue: the frames would overtake them.
    """
    open_, queue = socket.upgraded and not (socket.closing or socket.closed), socket.queue
    at_once = open_ and queue.idle and queue.writes is not None and queue.writes.ready
    return queue.writes if at_once else None
