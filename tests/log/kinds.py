"""The kinds of log that the suite of the contract tests, and how a test gets inside each of them.

A kind says how to make a log, which errors its database raises, and how to hold or to refuse a
transaction in the middle. A log in another database brings a kind of its own.
"""

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager

from chatlab.log import MessageLog

TRIGGER = "CREATE TEMP TRIGGER {name} AFTER INSERT ON main.messages BEGIN {what}; END"
"""A TEMP trigger belongs to one connection: here to the one that writes."""
CHECKED_AT_COMMIT = "REFERENCES parent DEFERRABLE INITIALLY DEFERRED"
"""A foreign key that SQLite checks only at COMMIT. The table `parent` is empty, so it fails."""


class SqliteKind:
    """`MessageLog`. Its transactions run on a thread, so a test can hold one and look beside it."""

    make = MessageLog
    error = sqlite3.Error

    @staticmethod
    @asynccontextmanager
    async def held(log, text):
        """Hold the transaction that inserts this text, after the insert and before COMMIT.

        Yield an event that is set when it is held there. At the end it goes on.
        """
        loop, reached, released = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def hold(inserted):
            if inserted == text:
                loop.call_soon_threadsafe(reached.set)
                released.wait(20)

        def prepare(db):
            db.create_function("hold", 1, hold)
            db.execute(TRIGGER.format(name="holds", what="SELECT hold(NEW.content)"))

        await log._writer.run(prepare)
        try:
            yield reached
        finally:
            released.set()

    @staticmethod
    async def refuse(log, text, moment):
        """Let each transaction with this text fail: at its INSERT, or only at its COMMIT."""
        if moment == "insert":
            what = f"SELECT RAISE(ABORT, 'not this text') WHERE NEW.content = '{text}'"
        else:
            what = f"INSERT INTO child SELECT 1 WHERE NEW.content = '{text}'"

        def prepare(db):
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("CREATE TEMP TABLE parent (id INTEGER PRIMARY KEY)")
            db.execute(
                "CREATE TEMP TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
            )
            db.execute(TRIGGER.format(name="refuses", what=what))

        await log._writer.run(prepare)


async def life(make, path, *texts):
    """Let a server store some messages and stop; return the name of its epoch."""
    async with make(path) as log:
        await log.begin_epoch()
        for text in texts:
            await log.append(text)
        return log.epoch


async def places(make, path, *positions):
    """Return the place of each (offset, epoch) in the log that a new server opens."""
    async with make(path) as log:
        await log.begin_epoch()
        return [log.place(offset, epoch) for offset, epoch in positions]
