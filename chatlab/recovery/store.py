"""Where sessions outlive the server: two tables, which may be beside an application's own.

What is written is written in the order in which it was asked for, all that waits in one
transaction. A write that fails is reported to the loop, and no more: sessions and events are in
memory too, and only a restart needs what is here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any, NamedTuple

from chatlab.log import Batches, Writer, make_durable, transaction
from chatlab.recovery.sessions import Event, Position, Session

SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    sid TEXT PRIMARY KEY, pid TEXT, namespace TEXT, cursor INTEGER, number INTEGER, rooms, data
);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT, rooms, skipped, packets
)
"""
Kept = tuple[list[Session], list[Event], int]
"""Sessions, events, and the number of the last event that there ever was."""


def nothing() -> None:
    """Do nothing when something is stored."""


class Nowhere:
    """The store of a server whose sessions end with it: nothing is written, and nothing waits."""

    async def open(self) -> Kept:
        """Return what an earlier server has left."""
        return [], [], 0

    async def close(self) -> None:
        """Write what waits, and let go of the file."""

    def sayable(self, value: Any) -> Any:
        """Return what can be stored of a room's name, or of a session. Raises TypeError."""

    async def put(self, session: Session) -> None:
        """Store a session as it is now, and return when it is on the disk."""

    def forget(self, session: Session) -> None:
        """Delete a session."""

    async def add(self, event: Event, then: Callable[[], None]) -> None:
        """Store an event, and call `then` when it is on the disk."""
        then()

    def trim(self, number: int) -> None:
        """Delete the events up to a number."""

    async def settled(self, then: Callable[[], None] = nothing) -> None:
        """Call `then` when all that was asked for before is on the disk."""
        then()


class _Write(NamedTuple):
    """Something to write, if anything, and what happens then."""

    sql: str
    values: tuple[Any, ...]
    then: Callable[[], None]
    done: asyncio.Future[None]


class SessionStore(Nowhere):
    """Sessions and events in the SQLite database `path`.

    Rooms and what `save_session` keeps have to be what JSON can say.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = path

    async def open(self) -> Kept:
        """Return what an earlier server has left.

        Raises sqlite3.DatabaseError, with a sentence, if the file cannot be used.
        """
        self._writer = Writer(self.path)
        try:
            await self._writer.open(_prepare)
            kept = await self._writer.run(_kept)
        except sqlite3.Error as error:
            await self._writer.close()
            raise type(error)(f"cannot keep sessions in {self.path}: {error}") from error
        self._batches = Batches(self._write_batch)
        return kept

    async def close(self) -> None:
        await self._batches.close()
        await self._writer.close()

    def sayable(self, value: Any) -> Any:
        copy = _value(_text(value))
        if copy != value:
            raise TypeError(f"a store keeps what JSON can say, and not {value!r}")
        return copy

    async def put(self, session: Session) -> None:
        rooms, saved = _text(list(session.rooms.items())), _text(session.saved)
        values = session.sid, session.pid, session.namespace, *session.start, rooms, saved
        await self._write("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def forget(self, session: Session) -> None:
        self._write("DELETE FROM sessions WHERE sid = ?", (session.sid,))

    async def add(self, event: Event, then: Callable[[], None]) -> None:
        values = (event.number, event.namespace, *map(_text, event[3:]))
        await self._write("INSERT INTO events VALUES (?, ?, ?, ?, ?)", values, then)

    def trim(self, number: int) -> None:
        self._write("DELETE FROM events WHERE number <= ?", (number,))

    async def settled(self, then: Callable[[], None] = nothing) -> None:
        await self._write("", (), then)

    def _write(
        self, sql: str, values: tuple[Any, ...], then: Callable[[], None] = nothing
    ) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        self._batches.put(_Write(sql, values, then, done))
        return done

    async def _write_batch(self, batch: list[_Write]) -> None:
        try:
            if writes := [one for one in batch if one.sql]:
                await self._writer.run(partial(_store, writes))
        except sqlite3.Error as error:
            report = {"message": f"sessions are not kept in {self.path}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(report)
        for one in batch:
            one.then()
            if not one.done.done():
                one.done.set_result(None)


def _prepare(db: sqlite3.Connection) -> None:
    make_durable(db)
    db.executescript(SCHEMA)


def _kept(db: sqlite3.Connection) -> Kept:
    sessions = [_session(*row) for row in db.execute("SELECT * FROM sessions ORDER BY rowid")]
    events = [_event(*row) for row in db.execute("SELECT * FROM events ORDER BY number")]
    numbers = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    return sessions, events, next((number for (number,) in numbers), 0)


def _store(writes: list[_Write], db: sqlite3.Connection) -> None:
    with transaction(db):
        for one in writes:
            db.execute(one.sql, one.values)


def _session(
    sid: str, pid: str, namespace: str, cursor: int, number: int, rooms: str, saved: str
) -> Session:
    start, data = Position(cursor, number), _value(saved)
    session = Session(sid, namespace, start=start, sent=start, pid=pid, data=data, saved=data)
    session.rooms = dict(_value(rooms))
    return session


def _event(number: int, namespace: str, rooms: str, skipped: str, packets: str) -> Event:
    return Event(number, 0, namespace, tuple(_value(rooms)), _value(skipped), _value(packets))


def _text(value: Any) -> str:
    """Return JSON, in which bytes are an object with one key."""
    return json.dumps(value, default=lambda data: {"base64": base64.b64encode(data).decode()})


def _value(text: str) -> Any:
    def restored(found: dict[str, Any]) -> Any:
        return base64.b64decode(found["base64"]) if found.keys() == {"base64"} else found

    return json.loads(text, object_hook=restored)
