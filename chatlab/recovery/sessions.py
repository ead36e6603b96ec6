"""What recovery remembers about one client: its session, and which messages it has.

It must not know an event, a store or python-socketio.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakSet

WINDOW = 120
"""Seconds for which a session is kept: the official server's default."""
SECRET = 18
"""Random bytes in a pid. A pid is all that a client needs to get a session."""
OFFSET = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)


class Position(NamedTuple):
    """What a client has: the application's log up to `cursor`, and the events up to `number`."""

    cursor: int
    number: int

    @classmethod
    def of(cls, offset: Any) -> Position | None:
        """Read an offset, as `with_offset` writes it ("cursor.number"); None if it is not valid."""
        match = OFFSET.fullmatch(offset) if isinstance(offset, str) else None
        return cls(*map(int, match.groups())) if match else None


def with_offset(packet: str, position: Position) -> str:
    """Add an offset to an encoded event that has arguments, as the last of them."""
    return f'{packet[:-1]},"{position.cursor}.{position.number}"]'


def hashed(pid: str) -> str:
    """Return what is known of a pid to whoever reads the store: it gives nobody the session."""
    return hashlib.sha256(pid.encode(errors="replace")).hexdigest()


@dataclass(eq=False)
class Session:
    """What a client gets back when it reconnects."""

    sid: str
    namespace: str
    start: Position
    """What the client had when it connected for the first time."""
    sent: Position
    """What was sent to the client. `cursor` stays 0 unless the application sets it."""
    pid: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET), repr=False)
    """The client's secret. "" in a session from the store, until the client comes with it."""
    pid_hash: str = ""
    rooms: dict[str | None, int] = field(default_factory=dict)
    """Room -> number of the last event before the client entered. None is the namespace."""
    data: Any = None
    """While the client is away: what the application gave to `save_session`."""
    saved: Any = None
    """The copy of that data in the store."""
    eio_sid: str | None = None
    """Its Engine.IO connection, or the last one."""
    task: asyncio.Task[Any] | None = None
    """The task that opens or closes that connection, or did so last."""
    overtaken: WeakSet[asyncio.Task[Any]] = field(default_factory=WeakSet)
    """Tasks of old connections that still ran when a newer connection took the session over."""
    claim: int = 0
    """How many times a server has taken it over from another one."""
    live: bool = False
    """Whether CONNECT was sent. No event is sent earlier: it would arrive before CONNECT."""
    recovered: bool = False
    left_at: float = 0
    """When the client went away, in the seconds of the registry's clock."""
    left_after: int = 0
    """The number of the newest event at that time."""

    def __post_init__(self) -> None:
        self.pid_hash = self.pid_hash or hashed(self.pid)
