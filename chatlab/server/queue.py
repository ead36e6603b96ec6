"""The queue of the packets that one connection has to send.

It promises that the answer to a poll is never too long. It knows packets of Engine.IO and the
connection's WebSocket. It must not know requests.
"""

from __future__ import annotations

import asyncio
from typing import Any

from engineio.packet import CLOSE

from chatlab.server.frames import WRITES, JoinedWrites

MAX_PACKETS_OUT = 15
"""The most packets in one answer to a poll: a python-socketio client refuses more than 16."""


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
    polls = 0
    """Polls that wait for an answer now."""

    def __init__(self) -> None:
        super().__init__()
        self.stamps: dict[str, str | None] = {}
        """For each HTTP method, the `t` of its last request: clients change it every time."""
        self.writes: JoinedWrites | None = WRITES.get()
        """The transport of the connection's WebSocket, if it has one."""
        self._idle = asyncio.Event()
        """Set when Engine.IO asks for a packet and there is none: it has sent all before."""

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

    async def get(self) -> Any:
        self.taken = 0
        if self.empty():
            self._idle.set()
        try:
            return await super().get()
        finally:
            self._idle.clear()

    def get_nowait(self) -> Any:
        if self.taken == MAX_PACKETS_OUT:
            raise asyncio.QueueEmpty
        item = super().get_nowait()  # `asyncio.Queue.get` calls this too
        if self.polls and self.taken and item is not None and item.packet_type == CLOSE:
            self.task_done()
            raise asyncio.QueueEmpty
        self.taken += 1
        return item
