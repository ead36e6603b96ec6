"""The events that were emitted: their numbers, their receivers, and when they are forgotten.

It must not know a connection, a store or python-socketio. It makes Engine.IO packets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Container
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket

from chatlab.recovery.sessions import Position, Session, with_offset

OVERHEAD = 300
"""Bytes of memory that an event takes without its packets, measured with tracemalloc."""
Rooms = tuple[str | None, ...]
"""Names of rooms; None is the whole namespace."""


class Event(NamedTuple):
    """An event that was emitted, encoded: a text, then its binary attachments."""

    number: int
    time: float
    namespace: str
    rooms: Rooms
    skipped: Container[str | None]
    packets: list[str | bytes]

    @property
    def size(self) -> int:
        """How many bytes of memory it takes, roughly."""
        return OVERHEAD + sum(map(len, self.packets))

    def plain(self) -> list[EnginePacket]:
        """Return the packets for a client without recovery."""
        return [EnginePacket(MESSAGE, packet) for packet in self.packets]

    def with_offset(self, cursor: int) -> list[EnginePacket]:
        """Return the packets with an offset as the last argument: official clients read it."""
        text, *attachments = self.packets
        numbered = with_offset(text, Position(cursor, self.number))
        return [EnginePacket(MESSAGE, packet) for packet in (numbered, *attachments)]

    def is_for(self, session: Session) -> bool:
        """Whether the session was in a room of the event when it was emitted."""
        if self.namespace != session.namespace or session.sid in self.skipped:
            return False
        return any(session.rooms.get(room, self.number) < self.number for room in self.rooms)


class Events:
    """The events that a client may have missed, in the order of their numbers.

    `last` is the number of the newest event, `delivered` of the newest event that was sent to the
    connected clients, `forgotten` of the newest event that is no longer in memory.
    """

    def __init__(self, last: int) -> None:
        self.retained: deque[Event] = deque()
        self.size = 0
        """How many bytes of memory these events take, roughly."""
        self.last = self.delivered = self.forgotten = last

    def load(self, events: list[Event], last: int, now: float) -> None:
        """Take the events that an earlier server stored; `last` is the last number it gave."""
        self.last = self.delivered = max(self.last, last)
        self.forgotten = events[0].number - 1 if events else last
        self.retained.extend(event._replace(time=now) for event in events)
        self.size = sum(event.size for event in events)

    def append(self, event: Event) -> None:
        """Add an event."""
        self.retained.append(event)
        self.size += event.size
        self.last = event.number

    def after(self, number: int) -> list[Event]:
        """Return the events after a number that were sent to the connected clients."""
        first = bisect_right(self.retained, number, key=attrgetter("number"))
        later = islice(self.retained, first, None)
        return [event for event in later if event.number <= self.delivered]

    def trim(self, time: float, size: int) -> bool:
        """Forget events up to a time, and the oldest until the others take at most `size` bytes.

        Return whether it forgot any.
        """
        forgotten = self.forgotten
        while self.retained and (self.retained[0].time <= time or self.size > size):
            event = self.retained.popleft()
            self.size -= event.size
            self.forgotten = event.number
        return self.forgotten != forgotten
