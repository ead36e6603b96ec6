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
from typing import TYPE_CHECKING, Any, NamedTuple

from chatlab.log import Batches, Writer, make_durable, transaction
from chatlab.recovery.events import Event
from chatlab.recovery.sessions import Position, Session

if TYPE_CHECKING:
    from chatlab.recovery.neighbours import Neighbours

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

    shared = False
    """Whether several servers use it: then it gives the numbers to events, and passes on those of
    all servers."""

    async def open(self) -> Stored:
        """Return what an earlier server stored.

        Raises sqlite3.DatabaseError, with a sentence for the user, if the file cannot be used.
        """
        return [], [], 0

    def begin(self, neighbours: Neighbours) -> None:
        """Begin to tell what other servers do."""

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

    async def publish(self, event: Event) -> None:
        """Give an event its number, and pass it on to the registries of all servers."""

    async def claim(self, pid_hash: str, position: Position) -> Session | None:
        """Take the session of a client that may come from another server; None if there is none.

        `position` is what the client has: read up to there.
        """

    async def flush(self, then: Callable[[], None] = _nothing) -> None:
        """Wait for the writes before this."""
        then()


class Write(NamedTuple):
    """A statement ("" to write nothing), and the callback for when it is on the disk."""

    sql: str
    values: tuple[Any, ...]
    then: Callable[[], None]
    done: asyncio.Future[None]


class QueuedStore(NoStore):
    """A store that writes in the order of the calls, many writes at a time.

    Names of rooms, and what `save_session` keeps, must be values that JSON can express, or bytes.
    """

    def _begin_writes(self) -> None:
        self._batches = Batches(self._write_batch)

    async def _execute(self, writes: list[Write]) -> None:
        """Execute all in one transaction, or report why not."""
        raise NotImplementedError

    def storable_copy(self, value: Any) -> Any:
        copy = of_text(as_text(value))
        if copy != value:
            raise TypeError(f"a store keeps what JSON can say, and not {value!r}")
        return copy

    async def flush(self, then: Callable[[], None] = _nothing) -> None:
        await self._write("", (), then)

    def _write(
        self, sql: str, values: tuple[Any, ...], then: Callable[[], None] = _nothing
    ) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        self._batches.put(Write(sql, values, then, done))
        return done

    async def _write_batch(self, batch: list[Write]) -> None:
        if writes := [write for write in batch if write.sql]:
            await self._execute(writes)
        for write in batch:
            write.then()
            if not write.done.done():
                write.done.set_result(None)


class SessionStore(QueuedStore):
    """Sessions and events in two tables of the SQLite database `path`, beside other tables."""

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
        self._begin_writes()
        return stored

    async def close(self) -> None:
        self._writer.hurry()
        await self._batches.close()
        await self._writer.close()

    async def put_session(self, session: Session) -> None:
        rooms, saved = as_text(list(session.rooms.items())), as_text(session.saved)
        values = session.sid, session.pid_hash, session.namespace, *session.start, rooms, saved
        await self._write("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def delete_session(self, session: Session) -> None:
        self._write("DELETE FROM sessions WHERE sid = ?", (session.sid,))

    async def add_event(self, event: Event, then: Callable[[], None]) -> None:
        texts = map(as_text, (event.rooms, event.skipped, event.packets))
        values = (event.number, event.namespace, *texts)
        await self._write("INSERT INTO events VALUES (?, ?, ?, ?, ?)", values, then)

    def delete_events(self, number: int) -> None:
        self._write("DELETE FROM events WHERE number <= ?", (number,))

    async def _execute(self, writes: list[Write]) -> None:
        try:
            await self._writer.write(partial(_execute, writes))
        except sqlite3.Error as error:
            self._writer.report(error)


def _prepare(db: sqlite3.Connection) -> None:
    make_durable(db)
    db.executescript(SCHEMA)


def _execute(writes: list[Write], db: sqlite3.Connection) -> None:
    with transaction(db):
        for write in writes:
            db.execute(write.sql, write.values)


def _read(db: sqlite3.Connection) -> Stored:
    sessions = [session(*row) for row in db.execute("SELECT * FROM sessions ORDER BY rowid")]
    events = [_event(*row) for row in db.execute("SELECT * FROM events ORDER BY number")]
    numbers = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    return sessions, events, next((number for (number,) in numbers), 0)


def session(
    sid: str, pid_hash: str, namespace: str, cursor: int, number: int, rooms: str, saved: str
) -> Session:
    """Make a session of what a store has of it."""
    start, data = Position(cursor, number), of_text(saved)
    return Session(sid, namespace, start, start, "", pid_hash, dict(of_text(rooms)), data, data)


def _event(number: int, namespace: str, rooms: str, skipped: str, packets: str) -> Event:
    return Event(number, 0, namespace, tuple(of_text(rooms)), of_text(skipped), of_text(packets))


def as_text(value: Any) -> str:
    """Return JSON. Bytes become an object with the key "base64"."""
    return json.dumps(value, default=lambda data: {"base64": base64.b64encode(data).decode()})


def of_text(text: str) -> Any:
    """Return the value of JSON that `as_text` made."""

    def restored(found: dict[str, Any]) -> Any:
        return base64.b64decode(found["base64"]) if found.keys() == {"base64"} else found

    return json.loads(text, object_hook=restored)
