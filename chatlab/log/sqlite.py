"""The message log in SQLite, with the tutorial's table. All SQL on messages is here.

It promises the contract of a log (see `contract.Log`). It must not know Socket.IO.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Self

from chatlab.log.batched import MOST_OLD, Append, BatchedLog, OneIsBad, outcome_of
from chatlab.log.contract import LogError
from chatlab.log.database import Writer, make_durable, reader, transaction
from chatlab.messages import NOT_AVAILABLE, NOT_STORED, Message, Refused

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client_offset TEXT UNIQUE,
    content TEXT
)
"""
COLUMNS = ["id", "client_offset", "content"]
EPOCHS = "CREATE TABLE IF NOT EXISTS epochs (epoch TEXT, after INTEGER)"
SERVING = "serving"
"""The end of the name of the lock: only one server gives out the offsets, and sees them all."""
OF_ONE_MESSAGE = (sqlite3.IntegrityError, sqlite3.DataError)
"""The errors that are the fault of one message in a batch."""
MOST_AT_ONCE = 100
"""Rows in one statement. It has a text of its own for each number of rows, and those that are
prepared keep the values that they had: see `database.STATEMENTS`."""
EPOCH_BYTES = 9
"""Random bytes in the name of an epoch, so that two logs never have the same one."""


class MessageLog(BatchedLog):
    """The log (see `contract.Log`) in a file of SQLite. Await it or enter it to open it.

    One connection writes, in batches (see `group_commit.Batches`). A second one reads: a reader
    never sees a message that is not committed, and never waits for a commit.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        keep: int | None = None,
        on_commit: Callable[[list[Message]], None] = lambda batch: None,
    ) -> None:
        super().__init__(keep, on_commit)
        self.path = path

    async def open(self) -> Self:
        """Open the database, making the table if the file is new.

        Raises sqlite3.DatabaseError, with a sentence, if the file cannot be opened, is no SQLite
        database, or belongs to something else.
        """
        self._writer, self._reader = Writer(self.path), None
        try:
            await self._writer.open(_prepare)
            await self._look()
            self._reader = await reader(self.path)
            # SQLite opens -wal only now; later, it may have gone.
            await self._reader.execute_fetchall("SELECT id FROM messages LIMIT 1")
        except sqlite3.Error as error:
            if self._reader is not None:
                await self._reader.close()
            await self._writer.close()
            raise self._unusable(error) from error
        self._begin()
        return self

    async def close(self) -> None:
        """Commit the messages that were appended, then close the database."""
        self._writer.hurry()
        await self._batches.close()
        await self._reader.close()
        await self._writer.close()

    def _unusable(self, error: sqlite3.Error) -> sqlite3.Error:
        return type(error)(f"cannot use {self.path} as the message log: {error}")

    async def _look(self) -> None:
        self.head = await self._writer.run(_last_offset)
        self.trimmed = await self._writer.run(_first_offset) - 1

    async def after(self, offset: int, limit: int = -1) -> list[Message]:
        rows = await self._reader.execute_fetchall(
            "SELECT id, content FROM messages WHERE id > ? ORDER BY id LIMIT ?", (offset, limit)
        )
        return [Message(*row) for row in rows]

    async def find(self, client_offset: str) -> Message | None:
        rows = await self._reader.execute_fetchall(
            "SELECT id, content FROM messages WHERE client_offset = ?", (client_offset,)
        )
        return next((Message(*row) for row in rows), None)

    async def begin_epoch(self) -> None:
        """Begin an epoch (see `contract.Log`). Until `close`, no other server can."""
        try:
            await self._writer.lock(SERVING)
            await self._look()  # an earlier server may have stored messages since `open`
            epoch = secrets.token_urlsafe(EPOCH_BYTES)
            epochs = await self._writer.write(partial(_begin_epoch, epoch, self.head))
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        self._take_epochs(epochs)

    async def check(self) -> None:
        try:
            await self._reader.execute_fetchall("SELECT id FROM messages LIMIT 1")
        except sqlite3.Error as error:
            raise LogError(NOT_AVAILABLE, f"the log cannot be read: {error}") from error

    async def _commit(self, batch: list[Append]) -> tuple[list[int | Refused], list[Message]]:
        try:
            return await self._writer.write(partial(self._store, batch))
        except OF_ONE_MESSAGE as error:
            raise OneIsBad(_not_stored(error)) from error
        except sqlite3.Error as error:
            self._writer.report(error)
            raise LogError(NOT_STORED, _not_stored(error)) from error

    def _store(
        self, batch: list[Append], db: sqlite3.Connection
    ) -> tuple[list[int | Refused], list[Message]]:
        """Insert a batch; return an offset or a refusal for each sender, and the new messages."""
        rows = _new_rows(batch, self.head)
        new = [Message(offset, text) for offset, _, text in rows]
        if new and self._due(new) <= self.trimmed and _insert_after(db, self.head, rows):
            return [message.offset for message in new], new
        return self._look_up_and_store(batch, db)

    def _look_up_and_store(
        self, batch: list[Append], db: sqlite3.Connection
    ) -> tuple[list[int | Refused], list[Message]]:
        """Insert what is new of a batch, and delete what is too old."""
        trimmed = self.trimmed
        try:
            with transaction(db):
                outcomes, rows = _number(batch, _last_offset(db), _known(db, batch))
                new = [Message(offset, text) for offset, _, text in rows]
                db.executemany("INSERT INTO messages VALUES (?, ?, ?)", rows)
                if (due := self._due(new)) > trimmed:
                    db.execute("DELETE FROM messages WHERE id <= ?", (due,))
                    # Before the commit: another connection may read right after it, before
                    # this function returns to the event loop.
                    self.trimmed = due
        except BaseException:
            self.trimmed = trimmed
            raise
        return outcomes, new

    def _due(self, new: list[Message]) -> int:
        """Return the offset up to which messages are deleted when these new ones are stored."""
        if not new or not self.keep:
            return 0
        return min(new[-1].offset - self.keep, self.trimmed + len(new) + MOST_OLD)


def head_of(path: str | PathLike[str]) -> int:
    """Return the offset of the newest message in the file of a log, which a server may have open.

    Writes nothing and waits for nothing. Raises sqlite3.Error if the file cannot be read now.
    """
    with closing(_beside_a_server(path)) as db:
        return _last_offset(db)


def messages_in(path: str | PathLike[str]) -> list[Message]:
    """Return all messages in the file of a log, as `head_of` does it."""
    with closing(_beside_a_server(path)) as db:
        return [Message(*row) for row in db.execute("SELECT id, content FROM messages ORDER BY id")]


def _beside_a_server(path: str | PathLike[str]) -> sqlite3.Connection:
    address = f"{Path(path).absolute().as_uri()}?mode=ro"
    return sqlite3.connect(address, uri=True, timeout=0)


def _last_offset(db: sqlite3.Connection) -> int:
    rows = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")
    return next((seq for (seq,) in rows), 0)


def _first_offset(db: sqlite3.Connection) -> int:
    """Return the offset of the oldest message, or that of the next one if there is none."""
    [(first,)] = db.execute("SELECT min(id) FROM messages")
    return _last_offset(db) + 1 if first is None else first


def _begin_epoch(epoch: str, head: int, db: sqlite3.Connection) -> list[tuple[str, int]]:
    """Store a new epoch; return all epochs, each with the offset after which it began."""
    db.execute("INSERT INTO epochs VALUES (?, ?)", (epoch, head))
    return db.execute("SELECT epoch, after FROM epochs ORDER BY rowid").fetchall()


def _new_rows(batch: list[Append], last: int) -> list[tuple[int, str | None, str]]:
    """Return the rows of a batch that one statement may insert, else none.

    No key may be there twice.
    """
    rows = _number(batch, last, {})[1]
    return rows if len(rows) == len(batch) <= MOST_AT_ONCE else []


def _insert_after(
    db: sqlite3.Connection, last: int, rows: list[tuple[int, str | None, str]]
) -> bool:
    """Insert rows if `last` is the newest offset and no key is known; return whether they are.

    It is one statement and a whole transaction: each further statement would give Python's lock
    away and wait for it again, behind all that the event loop has to do.
    """
    places = ", ".join(["(?, ?, ?)"] * len(rows))
    try:
        done = db.execute(
            f"INSERT INTO messages SELECT * FROM (VALUES {places}) "
            "WHERE (SELECT seq FROM sqlite_sequence WHERE name = 'messages') = ?",
            (*chain.from_iterable(rows), last),
        )
    except sqlite3.IntegrityError:
        return False
    return done.rowcount == len(rows)


def _known(db: sqlite3.Connection, batch: list[Append]) -> dict[str, Message]:
    """Return the messages that are already stored under a key of this batch.

    The keys are looked up before the insert, because an insert that fails on a key uses up an id.
    """
    keys = [item.client_offset for item in batch if item.client_offset is not None]
    if not keys:
        return {}
    places = ", ".join("?" * len(keys))
    rows = db.execute(
        f"SELECT client_offset, id, content FROM messages WHERE client_offset IN ({places})", keys
    )
    return {key: Message(offset, text) for key, offset, text in rows}


def _number(
    batch: list[Append], last: int, known: dict[str, Message]
) -> tuple[list[int | Refused], list[tuple[int, str | None, str]]]:
    """Give each message its offset; return the offsets, and the rows of the new messages.

    `last` is the newest offset so far; `known` has the messages stored under a key of this batch.
    A message with a key that belongs to another text gets a refusal in place of an offset.
    """
    outcomes, rows = [], []
    for text, key, _ in batch:
        message = known.get(key) if key else None
        if message is None:
            last += 1
            message = Message(last, text)
            rows.append((last, key, text))
            if key:
                known[key] = message
        same = message.text == text
        outcomes.append(outcome_of(message.offset if same else None))
    return outcomes, rows


def _not_stored(error: sqlite3.Error) -> str:
    return f"the message could not be stored: {error}"


def _prepare(db: sqlite3.Connection) -> None:
    """Make the tables, after a check that the file is empty or a message log."""
    tables = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    columns = [row[1] for row in db.execute("PRAGMA table_info(messages)")]
    if tables and columns != COLUMNS:
        raise sqlite3.DatabaseError("it belongs to another program")
    make_durable(db)
    db.execute(SCHEMA)
    db.execute(EPOCHS)
