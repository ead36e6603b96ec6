"""The message log in PostgreSQL, to which any number of servers append.

It promises the contract of a log (see `contract.Log`). It must not know Socket.IO.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from chatlab.log import schema as sql
from chatlab.log.batched import MOST_OLD, Append, BatchedLog, OneIsBad, Outcome, outcome_of
from chatlab.log.connections import Connections, NotAnswered, NotReached
from chatlab.log.contract import LogError
from chatlab.log.database import Trouble
from chatlab.log.follower import Follower
from chatlab.messages import NOT_AVAILABLE, NOT_STORED, PERHAPS_STORED, Message, Refused

if TYPE_CHECKING:
    from asyncpg import Connection

PAGE = 1000
"""Messages that a server which is behind reads at a time."""
OF_ONE_MESSAGE = ("22", "23", "P0")
"""How the SQLSTATE of an error begins that may be the fault of one message in a batch."""
MOST_WAITING = 10_000
"""Messages that wait for their turn. A database that hangs must not fill the memory."""
SCHEMA = "public"
"""Where the tables of the messages are in a database."""
CHECK = 2.0
"""Seconds in which the log has to answer to be called available."""
T = TypeVar("T")


class PostgresLog(BatchedLog):
    """The log (see `contract.Log`) in PostgreSQL. Await it or enter it to open it.

    A server learns of messages in one way: it reads what comes after its head. It does so when it
    is notified, when a client comes that is ahead, and after a second of silence. So a notification
    that is lost costs a second, and never a message. Only its own messages, if they follow its head
    directly, need not be read. A database can have several logs, each in a `schema` of its own.

    It needs asyncpg, which the extra `postgres` installs.
    """

    def __init__(
        self,
        url: str,
        *,
        keep: int | None = None,
        on_commit: Callable[[list[Message]], None] = lambda batch: None,
        notify: bool = True,
        schema: str = SCHEMA,
    ) -> None:
        super().__init__(keep, on_commit)
        self.url, self._schema = url, schema
        self.notify = notify
        """Whether it tells the other servers of its messages."""
        self.follows = True
        """Whether it looks for messages of others by itself. An experiment that wants a server to
        be behind says False: then it learns of them only if it must, as in `reach`."""
        self._connections = Connections(url, schema, self._greet)
        follow = (f"chatlab_{schema}", self._follow, lambda: self.head)
        self._follower = Follower(self._connections, *follow)
        self._trouble = Trouble(self.path)

    @property
    def path(self) -> str:
        """Where it is, for people."""
        return self._connections.name

    async def open(self) -> Self:
        """Connect to the database, and make the tables if there are none.

        Raises LogError, with a sentence, if it cannot be reached, or belongs to something else.
        """
        try:
            await self._connections.open()
            await self.ask(self._prepare)
        except (Refused, NotReached) as error:
            await self._connections.close()
            raise LogError(NOT_AVAILABLE, f"cannot use the message log: {error}") from error
        self._begin()
        self._follower.start()
        return self

    async def close(self) -> None:
        """Commit the messages that were appended, then close the connections."""
        await self._batches.close()
        self._follower.stop()
        await self._connections.close()

    async def append(self, text: str, client_offset: str | None = None) -> int:
        if "\0" in f"{text}{client_offset}":
            raise Refused("bad text", "PostgreSQL cannot store the character U+0000")
        return await super().append(text, client_offset)

    async def _put(self, text: str, client_offset: str | None) -> int:
        if self._batches.waiting >= MOST_WAITING:
            raise LogError(NOT_STORED, "too many messages wait to be stored")
        return await super()._put(text, client_offset)

    async def after(self, offset: int, limit: int = -1) -> list[Message]:
        return await self._after(offset, limit)

    async def _after(self, offset: int, limit: int) -> list[Message]:
        rows = await self.ask(lambda db: db.fetch(sql.AFTER, offset, limit if limit >= 0 else None))
        # In the same moment: a message that is not among these rows is deleted, or not there yet.
        self.trimmed = max(self.trimmed, rows[0]["trimmed"])
        return [Message(row["id"], row["content"]) for row in rows if row["id"] is not None]

    async def find(self, client_offset: str) -> Message | None:
        row = await self.ask(lambda db: db.fetchrow(sql.FIND, client_offset))
        return row and Message(*row)

    async def begin_epoch(self) -> None:
        await self.ask(self._enter_epoch)

    async def reach(self, offset: int, epoch: str | None = None) -> None:
        if offset > self.head or epoch not in (None, self.epoch, *self._ends):
            await self._read()

    async def check(self) -> None:
        try:
            async with asyncio.timeout(CHECK):
                await self._after(self.head, 1)
        except TimeoutError:
            raise LogError(NOT_AVAILABLE, f"{self.path} did not answer in time") from None

    # What others may ask the same database

    async def ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Await a function of a connection. Raises LogError (NOT_AVAILABLE)."""
        try:
            return await self._connections.call(work)
        except (NotReached, NotAnswered) as error:
            raise LogError(NOT_AVAILABLE, str(error)) from error
        except self._connections.refusal as error:
            raise LogError(NOT_AVAILABLE, f"{self.path} says: {error}") from error

    async def hear(self, channel: str, heard: Callable[[str], None]) -> None:
        """Call a function with what is notified on a channel, for ever."""
        await self._connections.listen(channel, heard)

    async def _prepare(self, db: Connection) -> None:
        if setting := await db.fetchval(sql.UNSAFE):
            what = f"{self.path} has {setting} = off: a power cut would take acknowledged messages"
            raise LogError(NOT_AVAILABLE, what)
        async with db.transaction():
            await db.execute(sql.LOCK)
            await db.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
            ours, taken = await db.fetchrow(sql.LOOK)
            if taken and not ours:
                raise LogError(NOT_AVAILABLE, f"{self.path} belongs to another program")
            if not taken:
                await db.execute(sql.TABLES)
            version = await db.fetchval(sql.FIND_VERSION)
            if version != sql.VERSION:
                what = f"{self.path} has tables of version {version}, and this is {sql.VERSION}"
                raise LogError(NOT_AVAILABLE, what)
        await self._look(db)

    async def _look(self, db: Connection) -> None:
        self.head, self.trimmed = await db.fetchrow(sql.HEAD)

    async def _greet(self, db: Connection) -> None:
        """Notice at each new connection if another copy of the database has taken over.

        It may lack the newest messages: then their offsets will be given to others. So the clients
        have to be judged again, before anything is read or stored there.
        """
        if self.epoch is not None and self.epoch != await db.fetchval(sql.EPOCH):
            await self._enter_epoch(db)

    async def _enter_epoch(self, db: Connection) -> None:
        epoch = await db.fetchval(sql.EPOCH)
        await db.execute(sql.BEGIN_EPOCH, epoch)
        epochs = await db.fetch(sql.EPOCHS)
        await self._look(db)
        self._take_epochs([tuple(row) for row in epochs])

    async def _commit(self, batch: list[Append]) -> tuple[list[Outcome], list[Message]]:
        texts = [item.text for item in batch]
        try:
            before, self.trimmed, offsets = await self._store(batch, texts)
        except LogError as error:
            self._trouble.report(LogError(error.name, str(error)))  # without a traceback
            for item in self._batches.take():  # what waits behind it would wait as long again
                item.settle(LogError(NOT_STORED, str(error)))
            raise
        self._trouble.over()
        new = {offset: Message(offset, text) for offset, text in zip(offsets, texts, strict=True)}
        if before > self.head:  # others have stored something before this
            with suppress(LogError):
                await self._read()
        direct = [new[offset] for offset in sorted(filter(None, new)) if offset > self.head]
        if direct and direct[0].offset != self.head + 1:
            self._follower.wake()  # the others' are still missing
            direct = []
        if self.notify:
            self._follower.tell(max(filter(None, offsets), default=0))
        return [outcome_of(offset) for offset in offsets], direct

    async def _store(self, batch: list[Append], texts: list[str]) -> Any:
        keys = [item.client_offset for item in batch]
        try:
            return await self._connections.call(
                lambda db: db.fetchrow(sql.APPEND, keys, texts, self.keep, MOST_OLD)
            )
        except NotReached as error:
            raise LogError(NOT_STORED, f"the message is not stored: {error}") from error
        except NotAnswered as error:
            raise LogError(PERHAPS_STORED, f"the message may be stored or not: {error}") from error
        except self._connections.refusal as error:
            said = f"the message could not be stored: {error}"
            if error.sqlstate.startswith(OF_ONE_MESSAGE):
                raise OneIsBad(said) from error
            raise LogError(NOT_STORED, said) from error

    async def _follow(self) -> bool:
        return self.follows and await self._read()

    async def _read(self) -> bool:
        """Read what comes after the head; return whether there was anything."""
        grew = False
        while new := [m for m in await self._after(self.head, PAGE) if m.offset > self.head]:
            self._grow(new)
            grew = True
        return grew


async def read_beside(url: str, limit: int | None) -> tuple[int, list[Message]]:
    """Return the head and the first messages of a log that servers may have open; open none.

    Raises LogError if it cannot be read now.
    """
    async with AsyncExitStack() as stack:
        connections = Connections(url, SCHEMA, _nothing)
        stack.push_async_callback(connections.close)
        await connections.open()
        try:
            rows = await connections.call(lambda db: db.fetch(sql.AFTER, 0, limit))
        except (NotReached, NotAnswered, connections.refusal) as error:
            raise LogError(NOT_AVAILABLE, str(error)) from error
        found = [Message(row["id"], row["content"]) for row in rows if row["id"] is not None]
        return rows[0]["last"], found


async def _nothing(db: Connection) -> None:
    """Greet a connection with which nothing is to be prepared."""
