"""04 · The race: one ordered stream for each tab, whose cursor is where the tab is.

Properties: no message is lost, duplicated or out of its turn, if one is stored just before the
server reads its rows, just after, or between any two reads; if the tab drops at that moment; if the
offsets have holes; and if a text is said twice. A tab that has everything costs no reads.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

from chatlab.course import Judgement, judged, should_be_valid, should_show
from chatlab.history import Verdict
from chatlab.lab import Lab
from chatlab.log import messages_at
from chatlab.mistakes import BadMoment

STORED = ("one", "two")
MOST = 40
"""So often a server may ask for what comes after an offset while nothing new is stored."""
AGAIN = (
    "the server asks again and again what comes after {}, though nothing new is stored: after the "
    "`for` loop, and not in it, it has to wait with `await log.newer(cursor)`, and `cursor` has to "
    "be where the tab is"
)


@judged
async def check(server: Callable[..., None]) -> Judgement | list[Judgement]:
    """Hold the server after its read, and store messages before and after each of its reads."""
    server = patient(server)
    verdicts = [await _held(server, drop) for drop in ("never", "early", "late")]
    held = should_be_valid(*verdicts)
    if not held.solved:
        return held
    between = [await _between(server, moment) for moment in ("before", "after")]
    return [held, *between[0], *between[1], await _late_comer(server)]


async def _held(server: Callable[..., None], drop: str) -> Verdict:
    """Let Ann send a message while the server is held between reading and sending for Bob."""
    async with Lab(server, name="check") as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("one")
        await lab.quiet()
        await bob.drop()
        await ann.send("two")
        pause = await lab.pause(bob.reconnect())
        await ann.send("three")
        await lab.quiet()
        if drop == "early":
            await bob.drop()
        await pause.go_on()
        await lab.quiet()
        if drop == "late":
            await bob.drop()
        await bob.reconnect()
        await lab.quiet()
        await ann.send("four")
        return await lab.verdict()


def patient(server: Callable[..., None]) -> Callable[..., None]:
    """Wrap a server, so that it is an error to ask the same log the same more than MOST times.

    It ends the task that asks: else it would keep the server's thread busy, perhaps for ever.
    """

    def handlers(sio: Any, log: Any) -> None:
        asked: Counter[Any] = Counter()

        def bounded(ask: Callable[..., Any]) -> Callable[..., Any]:
            def asks(offset: int, *limit: int, **named: int) -> Any:
                asked[ask, offset, log.head] += 1
                if asked[ask, offset, log.head] > MOST:
                    raise BadMoment(AGAIN.format(offset))
                return ask(offset, *limit, **named)

            return asks

        log.after, log.newer = bounded(log.after), bounded(log.newer)
        server(sio, log)

    return handlers


def storing(server: Callable[..., None], moment: str) -> Callable[..., None]:
    """Wrap a server, so that a message is stored "before" or "after" each of its first reads."""

    def handlers(sio: Any, log: Any) -> None:
        read, texts = log.after, list(STORED)

        async def store() -> None:
            if texts:
                await log.append(texts.pop(0))

        async def after(*place: int, **named: int) -> Any:
            if moment == "before":
                await store()
            rows = await read(*place, **named)
            if moment == "after":
                await store()
            return rows

        log.after = after
        server(sio, log)

    return handlers


async def _between(server: Callable[..., None], moment: str) -> list[Judgement]:
    """Ask after each step: what is stored now must not wait for the next message."""
    async with Lab(storing(server, moment), name="check") as lab:
        ann = await lab.join("ann")
        early = await _complete(lab)
        await lab.join("bob")
        early += await _complete(lab)
        await ann.send("three")
        late = await _complete(lab)
        return [judgement for judgement in early if not judgement.solved] or late


async def _complete(lab: Lab) -> list[Judgement]:
    """Say of each page whether it shows the log: a server that waits first reads later."""
    await lab.quiet()
    texts = [message.text for message in messages_at(lab.db)]
    return [should_show(tab, *texts) for tab in lab.clients.values()]


async def _late_comer(server: Callable[..., None]) -> Judgement:
    """Let a tab join when messages are deleted, and a text be said again: it is no offset."""
    async with Lab(server, name="check") as lab:
        ann = await lab.join("ann")
        for text in (*STORED, "three", "four"):
            await ann.send(text)
        _make_holes(lab)
        bob = await lab.join("bob")
        await ann.send("four")
        await lab.quiet()
        return should_show(bob, "two", "four", "four")


def _make_holes(lab: Lab) -> None:
    """Delete two messages: an offset is neither a place in a list nor the next number."""
    with closing(sqlite3.connect(lab.db, isolation_level=None)) as database:
        database.execute("DELETE FROM messages WHERE id IN (1, 3)")
