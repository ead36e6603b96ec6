"""The kinds of log that the suite of the contract tests, and how a test gets inside each of them.

A kind says how to make a log, and how to hold or to refuse a transaction in the middle. A log in
another database brings a kind of its own.
"""

import asyncio
import threading
from contextlib import asynccontextmanager

from databases import connected, url_of

from chatlab.log import MessageLog, PostgresLog

TRIGGER = "CREATE TEMP TRIGGER {name} AFTER INSERT ON main.messages BEGIN {what}; END"
"""A TEMP trigger belongs to one connection: here to the one that writes."""
CHECKED_AT_COMMIT = "REFERENCES parent DEFERRABLE INITIALLY DEFERRED"
"""A foreign key that SQLite checks only at COMMIT. The table `parent` is empty, so it fails."""


class SqliteKind:
    """`MessageLog`. Its transactions run on a thread, so a test can hold one and look beside it."""

    make = MessageLog

    @staticmethod
    async def restore(path):
        """Begin another epoch: nothing is to be done, each server begins its own."""

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


RESTORE = """
ALTER TABLE messages RENAME TO old;
CREATE TABLE messages (LIKE old INCLUDING ALL);
INSERT INTO messages SELECT * FROM old;
DROP TABLE old CASCADE;
"""
"""What a restored dump leaves: another table with the same rows."""
TRIGGERS = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.content = '{text}' THEN {what}; END IF; RETURN NULL; END $$;
CREATE {kind} {name} AFTER INSERT ON messages {when} FOR EACH ROW EXECUTE FUNCTION {name}();
"""
GATE = 7
"""The number of the lock at which a transaction is held."""
AT_GATE = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted"


class PostgresKind:
    """`PostgresLog`. Triggers in the database hold or refuse a transaction."""

    @staticmethod
    def make(path, **options):
        return PostgresLog(url_of(path), **options)

    @staticmethod
    async def restore(path):
        """Begin another epoch."""
        async with connected(url_of(path)) as db, db.transaction():
            await db.execute(RESTORE)

    @staticmethod
    @asynccontextmanager
    async def held(log, text):
        """Hold the transaction that inserts this text: it waits for a lock that the test has."""
        async with connected(log.url) as db:
            what = f"PERFORM pg_advisory_xact_lock({GATE})"
            await db.execute(
                TRIGGERS.format(name="holds", kind="TRIGGER", text=text, what=what, when="")
            )
            await db.execute("SELECT pg_advisory_lock($1)", GATE)
            reached = asyncio.Event()
            watching = asyncio.create_task(PostgresKind._watch(db, reached))
            try:
                yield reached
                await watching
            finally:
                watching.cancel()
        # The end of the connection opens the gate.

    @staticmethod
    async def _watch(db, reached):
        while not await db.fetchval(AT_GATE, GATE):  # noqa: ASYNC110  the database wakes nobody
            await asyncio.sleep(0.005)
        reached.set()

    @staticmethod
    async def refuse(log, text, moment):
        """Let each transaction with this text fail: at its INSERT, or only at its COMMIT."""
        kind, when = (
            ("TRIGGER", "")
            if moment == "insert"
            else ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED")
        )
        what = "RAISE EXCEPTION 'not this text'"
        async with connected(log.url) as db:
            await db.execute(
                TRIGGERS.format(name="refuses", kind=kind, text=text, what=what, when=when)
            )


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
        found = []
        for offset, epoch in positions:
            await log.reach(offset, epoch)
            found.append(log.place(offset, epoch))
        return found
