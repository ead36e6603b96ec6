"""10 · More than one server: a log in PostgreSQL for several servers, each with a connection.

Properties: the offsets are dense, also after a message that could not be stored and among many
senders; they become visible in their order, whoever commits last; rows come in the order of their
offsets, whatever the clocks say; a tab that is ahead of its server goes on if the database has its
offset, and begins anew if it has not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import Any

import asyncpg

from chatlab.course import judged
from chatlab.harness import held_up, shared_postgres

TABLES = """
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
CREATE TABLE messages (
    id bigserial PRIMARY KEY,
    content text NOT NULL CHECK (content <> ''),
    stored timestamptz DEFAULT clock_timestamp()
);
CREATE TABLE head AS SELECT 0::bigint AS last;
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(1848, 1989); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.content = 'first') EXECUTE FUNCTION wait();
"""
"""The message "first" is held at its COMMIT, while somebody has the gate."""
CLOSE_GATE = "SELECT pg_advisory_lock(1848, 1989)"
OPEN_GATE = "SELECT pg_advisory_unlock(1848, 1989)"
TURN_CLOCKS = "UPDATE messages SET stored = 'epoch'::timestamptz - id * interval '1 minute'"
AT_MOST = 3.0
"""Seconds that a server may wait for its turn without a lock: it may ask again and again."""
EACH = 20
"""Messages of each of three servers that send at once."""

Log = Any
"""What the reader writes: an object with `append`, `after` and `place`."""


@judged
async def check(make: Callable[[asyncpg.Connection], Log]) -> str | list[str]:
    """Let servers with such a log meet in the moments that matter."""
    postgres = shared_postgres().start()
    name = f"exercise{id(make)}"
    url = postgres.make_database(name)
    try:
        faults = [f"not yet: {fault}" async for fault in _faults(url, make)]
    finally:
        postgres.drop_database(name)
    return faults or "solved: offsets are dense and visible in their order, and no tab is sent back"


async def _faults(url: str, make: Callable[..., Log]) -> AsyncIterator[str]:
    """Yield what goes wrong. An error that follows on something else needs no words."""
    found = False
    for part in (_overlap, _refusal, _clocks, _place, _crowd):
        try:
            fault = await part(url, make)
        except Exception:
            if found:
                return
            raise
        if fault:
            found = True
            yield fault


@asynccontextmanager
async def _servers(url: str, make: Callable[..., Log]) -> AsyncIterator[tuple[Any, Any]]:
    """Make empty tables, and four logs on them; yield the logs, and their connections."""
    databases = [await asyncpg.connect(url) for _ in range(4)]
    try:
        await databases[-1].execute(TABLES)
        yield [make(db) for db in databases], databases
    finally:
        for db in databases:
            db.terminate()


async def _overlap(url: str, make: Callable[..., Log]) -> str:
    """Hold a server at its COMMIT while another one stores, and let a reader look in between."""
    async with _servers(url, make) as ([one, two, reader, _], [first_db, second_db, _, gate]):
        await gate.execute(CLOSE_GATE)
        first = _begun(one.append("first"))
        await held_up(first, first_db, gate)
        second = _begun(two.append("second"))
        with suppress(TimeoutError):
            async with asyncio.timeout(AT_MOST):
                await held_up(second, second_db, gate)
        page = await reader.after(0)
        await gate.execute(OPEN_GATE)
        try:
            offsets = await asyncio.gather(first, second)
        except asyncpg.UniqueViolationError as error:
            return f"two servers that store at once choose the same offset: {error}"
        seen = page + await reader.after(page[-1][0] if page else 0)
        table = await _table(gate)
    if offsets not in ([1, 2], [2, 1]):
        return f"two servers that store at once give the offsets {offsets}"
    if lost := [row for row in table if row not in seen]:
        return (
            f"{lost[0]} is lost: its server had not committed when another one did, so a reader "
            f"saw {page} first, and asks for what comes after {page[-1][0]}"
        )
    if seen != table:
        return f"the reader got {seen}, and the table has {table}"
    return _other_rows(offsets, table)


def _begun(work: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
    """Begin some work. If the check ends first, nobody asks for its error."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task


def _other_rows(offsets: list[int], table: list[tuple[int, str]]) -> str:
    told = sorted(zip(offsets, ("first", "second"), strict=True))
    return "" if told == table else f"the senders were told {told}, and the table has {table}"


async def _refusal(url: str, make: Callable[..., Log]) -> str:
    """Store something that PostgreSQL refuses, and then something else, through two servers."""
    async with _servers(url, make) as ([one, two, *_], _):
        offsets = [await one.append("a")]
        with suppress(asyncpg.PostgresError):
            await one.append("")
            return "PostgreSQL refuses an empty text, and `append` has to say so: it raised nothing"
        offsets += [await two.append("b"), await one.append("c")]
    if offsets == [1, 2, 3]:
        return ""
    return f"after a message that PostgreSQL refused, the offsets have a hole: {offsets}"


async def _clocks(url: str, make: Callable[..., Log]) -> str:
    """Store with clocks that go wrong, and read from several offsets."""
    async with _servers(url, make) as ([one, two, reader, _], [*_, db]):
        for number, log in enumerate([one, two, one, two]):
            await log.append("abcd"[number])
        await db.execute(TURN_CLOCKS)
        table = await _table(db)
        for offset in (0, 2, 4):
            right, rows = [row for row in table if row[0] > offset], await reader.after(offset)
            if rows != right:
                return f"`after({offset})` gives {rows}, and not {right}: clocks are no order"
    return ""


async def _place(url: str, make: Callable[..., Log]) -> str:
    """Judge tabs at servers that have read everything, a part, or nothing yet."""
    async with _servers(url, make) as ([one, two, three, four], _):
        for offset in (1, 0):
            if wrong := await _misjudged(four, offset, 0):
                return wrong
        for text in "abc":
            await one.append(text)
        await three.after(0)
        newest = await two.append("d")
        for log in (three, two, one):
            for offset in (newest, newest + 1, 1, 0):
                if wrong := await _misjudged(log, offset, newest):
                    return wrong
    return ""


async def _misjudged(log: Log, offset: int, newest: int) -> str:
    right, said = "continued" if offset <= newest else "reset", await log.place(offset)
    if said == right:
        return ""
    there = f"whose newest message is {newest}" if newest else "which has no message"
    return f"a tab that has {offset} is told {said!r} of a database {there}, and not {right!r}"


async def _crowd(url: str, make: Callable[..., Log]) -> str:
    """Let three servers store as fast as they can."""

    async def store(log: Log) -> list[int]:
        return [await log.append("x") for _ in range(EACH)]

    async with _servers(url, make) as (logs, [*_, db]):
        offsets = chain(*await asyncio.gather(*map(store, logs[:3])))
        ids = [offset for offset, _ in await _table(db)]
    if sorted(offsets) == ids == list(range(1, 3 * EACH + 1)):
        return ""
    return f"three servers have stored {3 * EACH} messages, and the offsets are not 1 to {3 * EACH}"


async def _table(db: asyncpg.Connection) -> list[tuple[int, str]]:
    return [tuple(row) for row in await db.fetch("SELECT id, content FROM messages ORDER BY id")]
