"""Sessions and events in PostgreSQL, where every server finds them: whichever a client comes to.

The events are a log like that of the messages, so all servers deliver them in one order. A session
belongs to the server that a client came to last.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING

from chatlab.log import NOTIFY, LogError, PostgresLog, is_address
from chatlab.messages import Message
from chatlab.recovery.events import Event
from chatlab.recovery.sessions import WINDOW, Position, Session
from chatlab.recovery.store import (
    QueuedStore,
    SessionStore,
    Stored,
    Write,
    as_text,
    of_text,
    session,
)

if TYPE_CHECKING:
    from asyncpg import Connection

    from chatlab.recovery.neighbours import Neighbours

SCHEMA = "recovery"
"""Where its tables are in the database: those of the messages are beside it."""
SESSIONS = """
CREATE TABLE IF NOT EXISTS sessions (
    pid_hash text PRIMARY KEY, sid text, namespace text, cursor bigint, number bigint, rooms text,
    data text, claim int, epoch text, seen timestamptz DEFAULT now()
)
"""
"""`claim` counts the servers that took a session over: what an earlier one stores is void."""
PUT = """
INSERT INTO sessions VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (pid_hash) DO UPDATE SET rooms = EXCLUDED.rooms, data = EXCLUDED.data, seen = now()
WHERE sessions.claim = EXCLUDED.claim
"""
CLAIM = """
UPDATE sessions SET claim = claim + 1, seen = now()
WHERE pid_hash = $1 AND epoch = $2 AND seen > now() - $3 * interval '1s'
RETURNING sid, pid_hash, namespace, cursor, number, rooms, data, claim
"""
SEE = "UPDATE sessions SET seen = now() WHERE pid_hash = ANY($1)"
FORGET = "DELETE FROM sessions WHERE seen < now() - $1 * interval '1s'"
DELETE = "DELETE FROM sessions WHERE pid_hash = $1 AND claim = $2"
CHANNEL = "chatlab_claims"
"""Where a server says which session it has taken: the old one hangs up, if it is still there."""
KEPT_EVENTS = 10_000
"""The newest events are kept, so many: a client that missed more than that is not recovered."""
SEE_EVERY = 0.25
"""The part of the window after which a server says again which clients are there."""


class EventLog(PostgresLog):
    """A log of events. Their encoding may be longer than a message."""

    async def put(self, text: str) -> int:
        """Store an event; return its number when every server will deliver it."""
        return await self._put(text, None)


class SharedStore(QueuedStore):
    """Sessions and events at the address of a PostgreSQL, for several servers.

    A session is kept for `window` seconds after its server last said that its client is there: it
    says so four times in that time, and not any more when it is killed.
    """

    shared = True

    def __init__(self, url: str, window: float = WINDOW) -> None:
        self._url, self._window = url, window

    async def open(self) -> Stored:
        self._neighbours: Neighbours | None = None
        self._early: list[Message] = []
        self._log = EventLog(self._url, schema=SCHEMA, keep=KEPT_EVENTS, on_commit=self._take)
        await self._log.open()
        await self._log.begin_epoch()
        await self._log.ask(lambda db: db.execute(SESSIONS))
        self._begin_writes()
        events = [_event(message) for message in await self._log.after(0)]
        return [], events, events[-1].number if events else self._log.head

    def begin(self, neighbours: Neighbours) -> None:
        self._neighbours, self._epoch = neighbours, self._log.epoch
        last, early = neighbours.registry.events.last, self._early
        self._early = []
        self._take([message for message in early if message.offset > last])
        self._tasks = [asyncio.create_task(work()) for work in (self._see, self._hear)]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._batches.close()
        await self._log.close()

    async def put_session(self, session: Session) -> None:
        known = (session.pid_hash, session.sid, session.namespace, *session.start)
        texts = as_text(list(session.rooms.items())), as_text(session.saved)
        await self._write(PUT, (*known, *texts, session.claim, self._log.epoch))

    def delete_session(self, session: Session) -> None:
        self._write(DELETE, (session.pid_hash, session.claim))

    async def publish(self, event: Event) -> None:
        await self._log.put(as_text((event.namespace, event.rooms, event.skipped, event.packets)))

    async def claim(self, pid_hash: str, position: Position) -> Session | None:
        await self.flush()  # what this server still writes of it comes first
        values = pid_hash, self._log.epoch, self._window * (1 + SEE_EVERY)
        try:
            row = await self._log.ask(lambda db: db.fetchrow(CLAIM, *values))
            await self._log.reach(position.number)
        except LogError:
            return None  # it gets a new session, and what it missed of the log of messages
        if row is None:
            return None
        *known, claim = row
        self._write(NOTIFY, (CHANNEL, f"{pid_hash} {claim}"))
        moved = session(*known)
        moved.claim = claim
        return moved

    async def _execute(self, writes: list[Write]) -> None:
        with suppress(LogError):  # sessions are in memory too; the log has reported it
            await self._log.ask(partial(_execute, writes))

    def _take(self, batch: list[Message]) -> None:
        """Pass on events, or keep them until somebody takes them."""
        if self._neighbours is None:
            self._early += batch
            return
        if self._epoch != self._log.epoch:  # another copy of the database, which gives them anew
            self._epoch = self._log.epoch
            self._neighbours.start_anew(batch[0].offset - 1)
        for message in batch:
            self._neighbours.take(_event(message))

    async def _see(self) -> None:
        """Say again and again which clients are here, and forget the sessions of others."""
        while True:
            here = [session.pid_hash for session in self._neighbours.registry.connected.values()]
            self._write(SEE, (here,))
            self._write(FORGET, (self._window * (1 + SEE_EVERY),))
            await asyncio.sleep(self._window * SEE_EVERY)

    async def _hear(self) -> None:
        """Let go of the sessions that other servers take."""
        await self._log.hear(CHANNEL, self._heard)

    def _heard(self, said: str) -> None:
        pid_hash, _, claim = said.partition(" ")
        if claim.isdecimal():
            self._neighbours.give_up(pid_hash, int(claim))


def store_at(place: str | PathLike[str]) -> SessionStore | SharedStore:
    """Make the store at a place: a file, or the address of a PostgreSQL."""
    return SharedStore(str(place)) if is_address(place) else SessionStore(place)


def _event(message: Message) -> Event:
    namespace, rooms, skipped, packets = of_text(message.text)
    return Event(message.offset, 0, namespace, tuple(rooms), skipped, packets)


async def _execute(writes: list[Write], db: Connection) -> None:
    async with db.transaction():
        for write in writes:
            await db.execute(write.sql, *write.values)
