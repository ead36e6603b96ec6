"""The queue of the packets that one connection has to send.

It promises that the answer to a poll is never too long, and that the queue never grows without
bound. It knows packets of Engine.IO, the connection's WebSocket, and which requests wait. It must
not know what is in a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from aiohttp import hdrs
from engineio.packet import CLOSE, NOOP, Packet

from chatlab.server.frames import JoinedWrites

MAX_PACKETS_OUT = 15
"""The most packets in one answer to a poll: a python-socketio client refuses more than 16."""
MAX_QUEUED = 20_000_000
"""The most characters in the queue: more than all the events that recovery keeps. A client that
reads so little is cut off."""
OVERHEAD = 100
"""What a packet counts in the queue beside its characters."""


class Answered(NamedTuple):
    """A request that was answered: its mark `t`, and the connection that the answer went to."""

    mark: str | None
    transport: asyncio.Transport | None
    keep_alive: bool

    @property
    def may_be_lost(self) -> bool:
        """Whether the connection ended although it was to be used again: perhaps it broke."""
        return self.keep_alive and (self.transport is None or self.transport.is_closing())


class PollQueue(asyncio.Queue):
    """A connection's queue, which ends a poll after MAX_PACKETS_OUT packets.

    Engine.IO waits for the first packet of a poll with `get`, and takes the others with
    `get_nowait` until that raises QueueEmpty.

    CLOSE is never sent in one answer behind other packets. The official client would close first
    and handle the events of that answer later: they are missing in the offset with which it
    reconnects, so it gets and shows them again. Without CLOSE, the server refuses the client's next
    poll, because the connection is closed, and so the client closes too.
    """

    taken = 0
    """Packets that the current poll has taken."""
    size = 0
    """Characters of the packets in the queue, and OVERHEAD for each."""
    overfull: Callable[[], Any] | None = None
    """Called once, when the queue has more than MAX_QUEUED."""
    upgrade: Any = None
    """The WebSocket that may replace polling, as long as it has not."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: set[str] = set()
        """"GET" while a poll waits for an answer, "POST" while a body is being read."""
        self.posted: Iterable[str] = ()
        """The packets, as texts, of the POST that is being handled."""
        self.answered: dict[str, Answered] = {}
        """For each HTTP method, the last request that was answered."""
        self.writes: JoinedWrites | None = None
        """The transport of the connection's WebSocket, if it has one."""
        self.deadline: asyncio.TimerHandle | None = None
        """Ends the connection if it sends no CONNECT."""
        self._idle = asyncio.Event()
        """Set when Engine.IO asks for a packet and there is none: it has sent all before."""

    @property
    def polled(self) -> bool:
        """Whether a poll waits for an answer."""
        return hdrs.METH_GET in self.under_way

    @property
    def idle(self) -> bool:
        """Whether Engine.IO has sent all packets and waits for the next one."""
        return self._idle.is_set() and self.empty()

    @property
    def unsent(self) -> int:
        """How many bytes the connection's WebSocket has not sent yet, if it has one."""
        return self.writes.waiting if self.writes else 0

    async def drain(self) -> None:
        """Wait until all packets are taken; with a WebSocket, until aiohttp has accepted them.

        aiohttp accepts no more than some 64 KiB while the reader takes nothing.
        """
        await self.join()
        if self.writes is not None:
            await self._idle.wait()

    def end_poll(self) -> None:
        """Answer a poll that waits with nothing."""
        self.put_nowait(Packet(NOOP))

    def clear(self) -> None:
        """Forget all packets."""
        while not self.empty():
            super().get_nowait()
            self.task_done()
        self.size = 0

    def put_nowait(self, item: Packet | None) -> None:
        """Add a packet. NOOP ends a poll: it is dropped if no poll waits."""
        if item is not None and item.packet_type == NOOP and not self.polled:
            return
        super().put_nowait(item)
        self.size += _size(item)
        if self.size > MAX_QUEUED and self.overfull:
            overfull, self.overfull = self.overfull, None
            overfull()

    async def get(self) -> Packet | None:
        self.taken = 0
        if self.empty():
            self._idle.set()
        try:
            return await super().get()
        finally:
            self._idle.clear()

    def get_nowait(self) -> Packet | None:
        if self.taken == MAX_PACKETS_OUT:
            raise asyncio.QueueEmpty
        item = super().get_nowait()  # `asyncio.Queue.get` calls this too
        self.size -= _size(item)
        if self.polled and self.taken and item is not None and item.packet_type == CLOSE:
            self.task_done()
            raise asyncio.QueueEmpty
        self.taken += 1
        return item


def _size(item: Packet | None) -> int:
    data = item.data if item is not None else None
    return OVERHEAD + (len(data) if isinstance(data, str | bytes) else 0)
