"""The sessions of a server: who is connected, who is away, and who may take a session over.

It must not know python-socketio: `manager` reports what happens to the connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from chatlab.recovery.events import Event, Events, Rooms
from chatlab.recovery.neighbours import Neighbours
from chatlab.recovery.sessions import Position, Session, hashed
from chatlab.recovery.store import NoStore

MOST_AWAY = 10_000
"""How many sessions without a connection are kept: the one that left first is forgotten first."""
MOST_BYTES = 16_000_000
"""How many bytes of events are kept, roughly: the oldest is forgotten first."""


class Registry:
    """The sessions of a server and their events, each kept for `window` seconds or longer."""

    def __init__(
        self, window: float, store: NoStore, clock: Callable[[], float], first: int
    ) -> None:
        self.window, self.store, self.clock = window, store, clock
        self.events = Events(first)
        self.sessions: dict[str, Session] = {}
        """All sessions, by the hash of their pid."""
        self.connected: dict[str, Session] = {}
        """The sessions that have a connection, by sid."""
        self.away: dict[str, Session] = {}
        """The other sessions by sid, in the order in which they lost their connections."""
        self.unnoticed = 0.0
        """Seconds for which a connection may be dead before the server notices."""
        self.timer: asyncio.TimerHandle | None = None
        self.deliver: Callable[[Event], None] = lambda event: None
        """Sends an event to the connected clients that it is for."""
        self.neighbours = Neighbours(self)

    async def load(self, cursor: int) -> None:
        """Load what an earlier server stored. It sent the log up to `cursor` at most."""
        sessions, events, last = await self.store.open()
        self.events.load(events, last, self.clock())
        for session in sessions:
            session.sent = Position(cursor, last)
            self.sessions[session.pid_hash] = session
            self.put_away(session)
        self.store.begin(self.neighbours)

    async def close(self) -> None:
        """Store what still waits to be stored, and close the store."""
        if self.timer is not None:
            self.timer.cancel()
        await self.store.close()

    def find(self, sid: str) -> Session | None:
        """Return the session of a client, connected or away."""
        return self.connected.get(sid) or self.away.get(sid)

    def may_take_over(
        self, auth: dict[str, Any], namespace: str
    ) -> tuple[Session, Position] | None:
        """Decide who may take over a session. Return it and what its client has, or None.

        A client may take over a session if all of this holds:
        - Its auth has the pid of the session, a secret that the server sends to its client alone.
        - It connects to the namespace of the session.
        - Its auth has an `offset` that the server can have sent, or none, which means the start of
          the session. An offset from before the start means the start too: an official client
          sends one that it has from an older session.
        - All events that it missed are still kept.

        A connected session may be taken over too: a client is often back before the server has
        noticed that the old connection is dead.
        """
        pid, offset = auth.get("pid"), auth.get("offset")
        session = self.sessions.get(hashed(pid)) if isinstance(pid, str) else None
        if session is None or session.namespace != namespace:
            return None
        position = session.start if offset is None else Position.of(offset)
        if position is None:
            return None
        if position.number > self.events.last or position.cursor > session.sent.cursor:
            return None
        missed_after = max(position.number, session.start.number)
        if missed_after == session.sent.number:  # it has every event that was sent to it
            missed_after = self.events.last if session.live else session.left_after
        return (session, position) if missed_after >= self.events.forgotten else None

    def new_session(self, sid: str, namespace: str) -> Session:
        """Return a new session, for a client that takes over none."""
        start = Position(0, self.events.last)
        rooms = dict.fromkeys((None, sid), start.number)
        return Session(sid, namespace, start=start, sent=start, rooms=rooms)

    def sessions_in(self, room: str, namespace: str) -> list[Session]:
        """Return the sessions in a room, connected or away."""
        sessions = self.sessions.values()
        return [one for one in sessions if one.namespace == namespace and room in one.rooms]

    def connect(self, session: Session, eio_sid: str) -> None:
        """Give a session to a connection, which the current task opens."""
        session.eio_sid, session.task = eio_sid, asyncio.current_task()
        self.away.pop(session.sid, None)
        self.sessions[session.pid_hash] = self.connected[session.sid] = session

    def put_away(self, session: Session) -> None:
        """Keep a session whose connection is lost, and drop the oldest one if there are too many.

        The caller must have removed it from `connected`.
        """
        session.live, session.left_at, session.left_after = False, self.clock(), self.events.last
        session.task = None  # a reference to a task keeps its connection in memory
        self.away[session.sid] = session
        if len(self.away) > MOST_AWAY:
            self.drop(next(iter(self.away.values())))
        self.start_timer()

    def drop(self, session: Session) -> None:
        """Forget a session, in the store too."""
        del self.sessions[session.pid_hash]
        self.connected.pop(session.sid, None)
        self.away.pop(session.sid, None)
        self.store.delete_session(session)

    async def forget(self, sid: str) -> None:
        """Forget a client's session, and return when the store has forgotten it too."""
        if session := self.find(sid):
            self.drop(session)
            await self.store.flush()

    async def store_session(self, sid: str) -> None:
        """Store a session as it is now, if there is one."""
        if session := self.find(sid):
            await self.store.put_session(session)

    async def record(
        self,
        namespace: str,
        rooms: Rooms,
        skipped: Rooms,
        packets: list[str | bytes],
    ) -> None:
        """Number, keep and store an event if a client may miss it; then deliver it.

        Events are delivered in the order of the calls; those of several servers in the order in
        which their store has them. Raises LogError if such a store cannot store it.
        """
        self.purge()
        if self.store.shared:
            await self.store.publish(Event(0, 0, namespace, rooms, skipped, packets))
            return
        number = self.events.last + bool(self.sessions)
        event = Event(number, self.clock(), namespace, rooms, skipped, packets)
        if self.sessions:
            self.events.append(event)
            self.start_timer()
            await self.store.add_event(event, partial(self.deliver, event))
        else:
            await self.store.flush(partial(self.deliver, event))

    def start_timer(self) -> None:
        """Make sure that old sessions and events are forgotten even if no client connects."""
        if self.timer is None and (self.away or self.events.retained):
            self.timer = asyncio.get_running_loop().call_later(self.window, self.expire)

    def expire(self) -> None:
        """Forget old sessions and events, and start the timer again if any are left."""
        self.timer = None
        self.purge()
        self.start_timer()

    def purge(self) -> None:
        """Forget the sessions and events that are too old, and the events that are too many."""
        now = self.clock()
        while self.away and (oldest := next(iter(self.away.values()))).left_at + self.window <= now:
            self.drop(oldest)
        somebody = self.sessions or self.store.shared  # then it may be at another server
        kept_for = self.window + self.unnoticed if somebody else 0
        if self.events.trim(now - kept_for, MOST_BYTES):
            self.store.delete_events(self.events.forgotten)
