"""Where sessions and events are stored, so that they survive a restart of the server.

Writes happen in the order of the calls; one transaction takes all that are waiting. If a write
fails, the store only reports it to the event loop: sessions and events are in memory too, and only
a restart needs the file.
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
from chatlab.recovery.events import Event
from chatlab.recovery.sessions import Position, Session

SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    sid TEXT PRIMARY KEY, pid TEXT, namespace TEXT, cursor INTEGER, number INTEGER, rooms, data
);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT, rooms, skipped, packets
)
"""
"""In the column `pid` is its hash: with a copy of the file, nobody can take over a session."""
RECOVERING = "recovering"
"""The end of the name of the lock: a second server would delete the events of the first."""
Stored = tuple[list[Session], list[Event], int]
"""Sessions, events, and the number of the last event that was ever stored."""


def _nothing() -> None:
    """The default callback after a write."""


class NoStore:
    """The contract of a store. This one writes nothing, so sessions end with the server.

    A store calls the callback `then`, and a coroutine returns, when this write and all earlier ones
    are on the disk.
    """

    async def open(self) -> Stored:
        """Return what an earlier server stored.

        Raises sqlite3.DatabaseError, with a sentence for the user, if the file cannot be used.
        """
        return [], [], 0

    async def close(self) -> None:
        """Finish the waiting writes, and close the file."""

    def storable_copy(self, value: Any) -> Any:
        """Copy a room's name, or an application's data. Raises TypeError if it cannot be stored."""

    async def put_session(self, session: Session) -> None:
        """Store a session as it is now."""

    def delete_session(self, session: Session) -> None:
        """Delete a session."""

    async def add_event(self, event: Event, then: Callable[[], None]) -> None:
        """Store an event."""
        then()

    def delete_events(self, number: int) -> None:
        """Delete the events up to a number."""

    async def flush(self, then: Callable[[], None] = _nothing) -> None:
        """Wait for the writes before this."""
        then()


class _Write(NamedTuple):
    """A statement ("" to write nothing), and the callback for when it is on the disk."""

    sql: str
    values: tuple[Any, ...]
    then: Callable[[], None]
    done: asyncio.Future[None]


class SessionStore(NoStore):
    """Sessions and events in two tables of the SQLite database `path`, which may have other tables.

    Names of rooms, and what `save_session` keeps, must be values that JSON can express, or bytes.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = path

    async def open(self) -> Stored:
        self._writer = Writer(self.path)
        try:
            await self._writer.open(_prepare)
            await self._writer.lock(RECOVERING)
            stored = await self._writer.run(_read)
        except sqlite3.Error as error:
            await self._writer.close()
            raise type(error)(f"cannot keep sessions in {self.path}: {error}") from error
        self._batches = Batches(self._write_batch)
        return stored

    async def close(self) -> None:
        self._writer.hurry()
        await self._batches.close()
        await self._writer.close()

    def storable_copy(self, value: Any) -> Any:
        copy = _value(_text(value))
        if copy != value:
            raise TypeError(f"a store keeps what JSON can say, and not {value!r}")
        return copy

    async def put_session(self, session: Session) -> None:
        rooms, saved = _text(list(session.rooms.items())), _text(session.saved)
        values = session.sid, session.pid_hash, session.namespace, *session.start, rooms, saved
        await self._write("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def delete_session(self, session: Session) -> None:
        self._write("DELETE FROM sessions WHERE sid = ?", (session.sid,))

    async def add_event(self, event: Event, then: Callable[[], None]) -> None:
        texts = map(_text, (event.rooms, event.skipped, event.packets))
        values = (event.number, event.namespace, *texts)
        await self._write("INSERT INTO events VALUES (?, ?, ?, ?, ?)", values, then)

    def delete_events(self, number: int) -> None:
        self._write("DELETE FROM events WHERE number <= ?", (number,))

    async def flush(self, then: Callable[[], None] = _nothing) -> None:
        await self._write("", (), then)

    def _write(
        self, sql: str, values: tuple[Any, ...], then: Callable[[], None] = _nothing
    ) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        self._batches.put(_Write(sql, values, then, done))
        return done

    async def _write_batch(self, batch: list[_Write]) -> None:
        try:
            if writes := [write for write in batch if write.sql]:
                await self._writer.write(partial(_execute, writes))
        except sqlite3.Error as error:
            self._writer.report(error)
        for write in batch:
            write.then()
            if not write.done.done():
                write.done.set_result(None)


def _prepare(db: sqlite3.Connection) -> None:
    make_durable(db)
    db.executescript(SCHEMA)


def _execute(writes: list[_Write], db: sqlite3.Connection) -> None:
    with transaction(db):
        for write in writes:
            db.execute(write.sql, write.values)


def _read(db: sqlite3.Connection) -> Stored:
    sessions = [_session(*row) for row in db.execute("SELECT * FROM sessions ORDER BY rowid")]
    events = [_event(*row) for row in db.execute("SELECT * FROM events ORDER BY number")]
    numbers = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    return sessions, events, next((number for (number,) in numbers), 0)


def _session(
    sid: str, pid_hash: str, namespace: str, cursor: int, number: int, rooms: str, saved: str
) -> Session:
    start, data = Position(cursor, number), _value(saved)
    return Session(sid, namespace, start, start, "", pid_hash, dict(_value(rooms)), data, data)


def _event(number: int, namespace: str, rooms: str, skipped: str, packets: str) -> Event:
    return Event(number, 0, namespace, tuple(_value(rooms)), _value(skipped), _value(packets))


def _text(value: Any) -> str:
    """Return JSON. Bytes become an object with the key "base64"."""
    return json.dumps(value, default=lambda data: {"base64": base64.b64encode(data).decode()})


def _value(text: str) -> Any:
    def restored(found: dict[str, Any]) -> Any:
        return base64.b64decode(found["base64"]) if found.keys() == {"base64"} else found

    return json.loads(text, object_hook=restored)
