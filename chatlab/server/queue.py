"""The queue of packets that wait for one connection, which ends a poll before it is too long.

It knows packets of Engine.IO and the connection's WebSocket, and nothing of requests.
"""

from __future__ import annotations

import asyncio
from typing import Any

from engineio.packet import CLOSE

from chatlab.server.frames import WRITES, JoinedWrites

MOST_OUT = 15
"""Packets in one answer to a poll: a python-socketio client refuses more than 16."""


class PollQueue(asyncio.Queue):
    """A connection's queue of packets, which ends a poll after MOST_OUT of them.

    Engine.IO waits for the first packet with `get`, and takes the others with `get_nowait` until
    that says that the queue is empty.

    CLOSE is in no answer to a poll behind other packets. The official client closes as soon as it
    has read all of the answer, and then finds the events in it: it keeps them apart, has not
    counted them when it says what it has, and shows them again when it is back. Without CLOSE its
    next poll is refused, as the connection is closed, and says the same.
    """

    taken = 0
    polls = 0
    """Polls that wait for an answer now."""

    def __init__(self) -> None:
        super().__init__()
        self.stamps: dict[str, str | None] = {}
        """What marked the last request of each method: clients mark every one differently."""
        self.writes: JoinedWrites | None = WRITES.get()
        """The transport of the connection's WebSocket, if it has one."""
        self._asked = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether all has been sent, and whoever sends waits for more."""
        return self._asked.is_set() and self.empty()

    async def rest(self) -> None:
        """Wait until all has been taken; with a WebSocket, until it has been sent."""
        await self.join()
        if self.writes is not None:
            await self._asked.wait()

    async def get(self) -> Any:
        self.taken = 0
        if self.empty():
            self._asked.set()
        try:
            return await super().get()
        finally:
            self._asked.clear()

    def get_nowait(self) -> Any:
        if self.taken == MOST_OUT:
            raise asyncio.QueueEmpty
        item = super().get_nowait()  # asyncio's own `get` comes through here too
        if self.polls and self.taken and item is not None and item.packet_type == CLOSE:
            self.task_done()
            raise asyncio.QueueEmpty
        self.taken += 1
        return item
