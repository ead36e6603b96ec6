"""What must not depend on the size of the log, or on a neighbour: `make bench` measures it."""

import asyncio
import contextlib
import sqlite3
import time
from functools import partial

import pytest
from harness import ratio
from support import AT_ONCE, busy, serving, wired

from chatlab.harness.background import BackgroundServer
from chatlab.log.sqlite import SCHEMA
from chatlab.messages import Message
from chatlab.server.app import chat, create_app

SIZES = (1_000, 1_000_000)
MISSED = 10
BURST = 4 * AT_ONCE
FILL = 20 * BURST
"""Messages until the buffers of the network are full, and a reader who stopped is one indeed."""
ROWS = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO messages SELECT n, 'key ' || n, 'message ' || n FROM numbers
"""


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A log of each size."""
    folder = tmp_path_factory.mktemp("logs")
    for rows in SIZES:
        with contextlib.closing(sqlite3.connect(folder / f"{rows}.db")) as database, database:
            database.execute(SCHEMA)
            database.execute(ROWS, (rows,))
    return [(f"{rows:,} rows", folder / f"{rows}.db") for rows in SIZES]


def scanning(sio, log):
    """The finished server with a query that no index helps: `id + 0` is no column."""

    async def after(offset, limit=-1):
        rows = await log._reader.execute_fetchall(
            "SELECT id, content FROM messages WHERE id + 0 > ? ORDER BY id LIMIT ?", (offset, limit)
        )
        return [Message(*row) for row in rows]

    log.after = after
    chat(sio, log)


async def catch_up(server):
    """Return the seconds from CONNECT to the last of the messages that were missed."""
    async with wired(server.url) as bob:
        began = time.perf_counter()
        await bob.connect({"serverOffset": server.log.head - MISSED})
        await bob.messages(MISSED)
        return time.perf_counter() - began


async def restarted(db, handlers=chat):
    """Let a client come back to a server that has just started: all is read from the table."""
    async with serving(db, handlers) as server:
        return await catch_up(server)


async def running(server):
    """Let a client come back to a server that has gone on: the newest are in its memory."""
    await asyncio.gather(*(server.log.append("missed") for _ in range(MISSED)))
    return await catch_up(server)


async def test_catch_up_after_a_restart_does_not_depend_on_the_log(logs):
    """A log of 1,000,000 rows is as quick as one of 1,000."""
    cases = {name: partial(restarted, db) for name, db in logs}
    assert await ratio(f"{MISSED} missed, server restarted", cases, 40) < 2


async def test_catch_up_from_a_running_server_does_not_depend_on_the_log(logs):
    """The same without a restart."""
    async with contextlib.AsyncExitStack() as stack:
        cases = {}
        for name, db in logs:
            server = await stack.enter_async_context(serving(db))
            cases[name] = partial(running, server)
        assert await ratio(f"{MISSED} missed, server running", cases, 100) < 2


async def test_catch_up_without_an_index_depends_on_the_log(logs):
    """The control: a server that reads the whole table is found out."""
    cases = {name: partial(restarted, db, scanning) for name, db in logs}
    assert await ratio(f"{MISSED} missed, no index", cases, 5) > 2


async def burst(ann):
    """Return the seconds until a live reader has a burst of messages."""
    began = time.perf_counter()
    for _ in range(BURST // AT_ONCE):
        await ann.ws.send_str('42["many"]')
        await ann.messages(AT_ONCE)
    return time.perf_counter() - began


async def test_live_delivery_does_not_depend_on_a_stopped_reader(tmp_path):
    """Ann's messages are as quick beside Bob, who reads nothing, as alone."""
    async with contextlib.AsyncExitStack() as stack:
        cases = {}
        for name in ("alone", "beside a stopped reader"):
            build = partial(create_app, partial(busy, chat), db=tmp_path / f"{name}.db")
            server = BackgroundServer(build, name=name, process=True)
            stack.enter_context(server)
            if cases:
                bob = await stack.enter_async_context(wired(server.url))
                await bob.connect()
            ann = await stack.enter_async_context(wired(server.url))
            await ann.connect()
            for _ in range(FILL // BURST):
                await burst(ann)
            cases[name] = partial(burst, ann)
        assert await ratio(f"{BURST:,} live messages", cases, 30) < 1.25
