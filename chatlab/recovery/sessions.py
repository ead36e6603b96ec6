"""What connection state recovery keeps: sessions, the events for them, and positions in both.

It decides nothing: `recovery` does.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from bisect import bisect_right
from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple
from weakref import WeakSet

from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket

SECRET = 18
"""Random bytes in a pid, which is all that it takes to be given somebody's session."""
OFFSET = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)
OVERHEAD = 300
"""Bytes that an event takes beside its packets, as measured with tracemalloc."""


class Position(NamedTuple):
    """What a client has: an application's log up to `cursor`, and the events up to `number`."""

    cursor: int
    number: int

    @classmethod
    def of(cls, offset: Any) -> Position | None:
        """Read an offset; None if nobody here has written it."""
        match = OFFSET.fullmatch(offset) if isinstance(offset, str) else None
        return cls(*map(int, match.groups())) if match else None


def with_offset(packet: str, position: Position) -> str:
    """Add an offset to an encoded event that has arguments, as the last of them."""
    return f'{packet[:-1]},"{position.cursor}.{position.number}"]'


@dataclass(eq=False)
class Session:
    """What a client finds again."""

    sid: str
    namespace: str
    start: Position
    """What the client had when it came for the first time."""
    sent: Position
    """What has been sent to it; `cursor` is the application's, and 0 where there is none."""
    pid: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET), repr=False)
    rooms: dict[str | None, int] = field(default_factory=dict)
    """Its rooms, None for the namespace, each with the event after which those to it count."""
    data: Any = None
    """What `save_session` kept, while the client is away."""
    saved: Any = None
    """What a store keeps of it."""
    eio_sid: str | None = None
    """The Engine.IO connection that it is on, or was on last."""
    task: asyncio.Task[Any] | None = None
    """What is opening or closing that connection, or did so last."""
    overtaken: WeakSet[asyncio.Task[Any]] = field(default_factory=WeakSet)
    """What was opening or closing a connection when the client came with the next one."""
    live: bool = False
    """Whether CONNECT has been sent. Until then nothing is: it would come before CONNECT."""
    recovered: bool = False
    left: float = 0
    """When the client went away, by the clock."""
    left_at: int = 0
    """The number of the newest event when the client went away."""


class Event(NamedTuple):
    """An event that was emitted, as a client of fixed arity gets it."""

    number: int
    time: float
    namespace: str
    rooms: tuple[str | None, ...]
    skipped: Container[str | None]
    packets: list[str | bytes]

    @property
    def size(self) -> int:
        """The bytes that it takes, about."""
        return OVERHEAD + sum(map(len, self.packets))

    def plain(self) -> list[EnginePacket]:
        """Return the event as it is."""
        return [EnginePacket(MESSAGE, packet) for packet in self.packets]

    def with_offset(self, cursor: int) -> list[EnginePacket]:
        """Return the event with an offset as its last argument, where official clients look."""
        text, *attachments = self.packets
        numbered = with_offset(text, Position(cursor, self.number))
        return [EnginePacket(MESSAGE, packet) for packet in (numbered, *attachments)]

    def is_for(self, session: Session) -> bool:
        """Whether the event was emitted to a room in which the session was then."""
        if self.namespace != session.namespace or session.sid in self.skipped:
            return False
        return any(session.rooms.get(room, self.number) < self.number for room in self.rooms)


class Events:
    """The events that somebody may have missed, in the order of their numbers."""

    def __init__(self, last: int) -> None:
        self.kept: deque[Event] = deque()
        self.size = 0
        """The bytes that these take, about."""
        self.last = self.delivered = self.forgotten = last
        """The number of the newest event, of the newest that was sent to those who were here, and
        of the newest that is not kept any more."""

    def take(self, events: list[Event], last: int, now: float) -> None:
        """Go on where an earlier server has ended, with the events that it has left."""
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
        """Return the events after a number that were sent to those who were here."""
        first = bisect_right(self.kept, number, key=attrgetter("number"))
        later = islice(self.kept, first, None)
        return [event for event in later if event.number <= self.delivered]

    def trim(self, time: float, size: int) -> bool:
        """Forget those up to a time, and the oldest until the others take no more than `size`.

        Return whether there were any.
        """
        forgotten = self.forgotten
        while self.kept and (self.kept[0].time <= time or self.size > size):
            event = self.kept.popleft()
            self.size -= event.size
            self.forgotten = event.number
        return self.forgotten != forgotten
