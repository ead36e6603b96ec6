"""What happens to the tabs and to the server in more than one scenario, or inside the log.

The name of the log's table is all that this module knows of the database.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from itertools import count
from typing import Any

from chatlab.client import ChatClient, Outbox
from chatlab.harness import register
from chatlab.lab import Lab, Pause
from chatlab.messages import MAX_CLIENT_OFFSET

FULL_DISK = """
CREATE TRIGGER full_disk BEFORE INSERT ON messages WHEN NEW.content = 'two'
BEGIN SELECT RAISE(ABORT, 'the disk is full'); END
"""
"""Makes the log fail to store "two"."""
HOLE = """
BEGIN;
INSERT INTO messages (content) VALUES ('a message that is deleted at once');
DELETE FROM messages WHERE id = last_insert_rowid();
COMMIT;
"""
"""Uses up an offset, as a message does in many databases that could not be stored."""
LOCK_MESSAGES = "BEGIN; LOCK TABLE messages IN EXCLUSIVE MODE"
"""Lets nobody store a message in PostgreSQL until this transaction ends. Reading goes on."""
SOMEBODY_WAITS = """
SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'messages'::regclass)
"""


class FarAway(ChatClient):
    """A tab that notices an error only by the server's answer, or when its connection ends."""

    def fail(self, error: BaseException) -> bool:
        return isinstance(error, ConnectionError) and super().fail(error)


class LongKeys(Outbox):
    """Its keys are as long as may be, and differ only at their ends."""

    numbers = count(1)

    def new_key(self) -> str:
        return f"{next(self.numbers):0{MAX_CLIENT_OFFSET}}"


def change_database(lab: Lab, script: str) -> None:
    """Let another program change the database of the log."""
    with closing(sqlite3.connect(lab.db)) as db:
        db.executescript(script)


async def miss_two(lab: Lab) -> list[ChatClient]:
    """Let Ann send "one", Bob drop, and Ann send "two"; return both tabs."""
    ann, bob = await lab.join("ann", "bob")
    await ann.send("one")
    await lab.quiet()
    await bob.drop()
    await ann.send("two")
    await lab.quiet()
    return [ann, bob]


async def lose_answer(lab: Lab, tab: ChatClient) -> None:
    """Let a tab write "one", and lose its connection while the acknowledgement is under way."""
    link = lab.links[tab.name]
    link.freeze("down")
    tab.post("one")
    await link.holds()
    await tab.drop()
    link.thaw()


async def hold_catch_up(lab: Lab, ann: ChatClient, bob: ChatClient) -> Pause | None:
    """Let Bob reconnect, and hold the server after it has read what he missed.

    A server that keeps the newest messages in memory reads the log only after a restart. Return
    None if the server never reads the log.
    """
    with suppress(RuntimeError):
        return await lab.pause(bob.reconnect())
    await bob.drop()
    await ann.send("missed")
    await lab.restart()
    with suppress(RuntimeError):
        return await lab.pause(bob.reconnect())
    return None


def behind(server: Callable[..., None]) -> Callable[[Any, Any], None]:
    """Let a server that runs twice learn of the other one's messages only when it has to."""

    def late(sio: Any, log: Any) -> None:
        log.follows = False
        register(server, sio, log)

    return late


def stores_before_it_reads(server: Callable[..., None]) -> Callable[[Any, Any], None]:
    """Let a server be `behind`, and read nothing while it stores a message.

    So a handler that shows a message as soon as it is stored shows it before all that is read.
    """

    def late(sio: Any, log: Any) -> None:
        append, after = log.append, log.after
        stored = asyncio.Event()
        stored.set()

        async def append_alone(*message: Any, **named: Any) -> int:
            stored.clear()
            try:
                return await append(*message, **named)
            finally:
                stored.set()

        async def after_storing(*place: Any, **named: Any) -> list[Any]:
            await stored.wait()
            return await after(*place, **named)

        log.append, log.after = append_alone, after_storing
        behind(server)(sio, log)

    return late


@asynccontextmanager
async def storing_held(lab: Lab) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Hold every message on its way into PostgreSQL until the block ends.

    Yield a function that returns when one is there.
    """
    import asyncpg  # whoever climbs with one server has no PostgreSQL, and need not have this

    db = await asyncpg.connect(lab.db)

    async def one_waits() -> None:
        while not await db.fetchval(SOMEBODY_WAITS):
            pass  # the database tells nobody

    try:
        await db.execute(LOCK_MESSAGES)
        yield one_waits
    finally:
        db.terminate()
