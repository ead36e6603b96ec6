"""What happens to the tabs and to the server in more than one scenario, or inside the log.

The name of the log's table is all that this module knows of the database.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from itertools import count

from chatlab.client import ChatClient, Outbox
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


async def lose_answer(lab: Lab, ann: ChatClient) -> None:
    """Let Ann write "one", and lose her connection while the acknowledgement is under way."""
    lab.links["ann"].freeze("down")
    ann.post("one")
    await lab.links["ann"].holds()
    await ann.drop()
    lab.links["ann"].thaw()


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
