"""The events that were emitted: their numbers, whom they are for, and how long they are kept.

It knows no connection, no store and no python-socketio; of Engine.IO, only how a packet is made.
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
"""Bytes of memory that an event takes beside its packets, as measured with tracemalloc."""
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
        """The bytes of memory that it takes, about."""
        return OVERHEAD + sum(map(len, self.packets))

    def plain(self) -> list[EnginePacket]:
        """Return the packets for a client without recovery."""
        return [EnginePacket(MESSAGE, packet) for packet in self.packets]

    def with_offset(self, cursor: int) -> list[EnginePacket]:
        """Return the packets with an offset as the last argument, where official clients look."""
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

    `last` is the number of the newest event, `delivered` of the newest that was sent to the
    connected clients, `forgotten` of the newest that is no longer kept.
    """

    def __init__(self, last: int) -> None:
        self.kept: deque[Event] = deque()
        self.size = 0
        """The bytes of memory that the kept events take, about."""
        self.last = self.delivered = self.forgotten = last

    def load(self, events: list[Event], last: int, now: float) -> None:
        """Continue after an earlier server, with the events that it stored."""
        self.last = self.delivered = max(self.last, last)
        self.forgotten = events[0].number - 1 if events else last
        self.kept.extend(event._replace(time=now) for event in events)
        self.size = sum(event.size for event in events)

    def append(self, event: Event) -> None:
        """Keep an event."""
        self.kept.append(event)
        self.size += event.size
        self.last = event.number

    def after(self, number: int) -> list[Event]:
        """Return the events after a number that were sent to the connected clients."""
        first = bisect_right(self.kept, number, key=attrgetter("number"))
        later = islice(self.kept, first, None)
        return [event for event in later if event.number <= self.delivered]

    def trim(self, time: float, size: int) -> bool:
        """Forget the events up to a time, and the oldest until the rest takes at most `size` bytes.

        Return whether any was forgotten.
        """
        forgotten = self.forgotten
        while self.kept and (self.kept[0].time <= time or self.size > size):
            event = self.kept.popleft()
            self.size -= event.size
            self.forgotten = event.number
        return self.forgotten != forgotten
