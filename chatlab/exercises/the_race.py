"""04 · The race: one ordered stream for each tab, whose cursor is where the tab is.

Properties: no message is lost, duplicated or out of its turn, if one is stored just before the
server reads its rows, just after, or between any two reads; if the tab drops at that moment; and if
the offsets have a hole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatlab.course import Judgement, judged, should_be_valid, should_show
from chatlab.history import Verdict
from chatlab.lab import Lab

STORED = ("one", "two")
KEPT = 2


@judged
async def check(server: Callable[..., None]) -> Judgement | list[Judgement]:
    """Hold the server after its read, and store messages before and after each of its reads."""
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
        await ann.send("four")
        return await lab.verdict()


def storing(server: Callable[..., None], moment: str) -> Callable[..., None]:
    """Wrap a server, so that a message is stored "before" or "after" each of its first reads."""

    def handlers(sio: Any, log: Any) -> None:
        read, texts = log.after, list(STORED)

        async def store() -> None:
            if texts:
                await log.append(texts.pop(0))

        async def after(offset: int, *limit: int) -> Any:
            if moment == "before":
                await store()
            rows = await read(offset, *limit)
            if moment == "after":
                await store()
            return rows

        log.after = after
        server(sio, log)

    return handlers


async def _between(server: Callable[..., None], moment: str) -> list[Judgement]:
    async with Lab(storing(server, moment), name="check") as lab:
        ann = await lab.join("ann")
        await lab.quiet()
        bob = await lab.join("bob")
        await ann.send("three")
        await lab.quiet()
        return [should_show(tab, *STORED, "three") for tab in (ann, bob)]


async def _late_comer(server: Callable[..., None]) -> Judgement:
    """Let a tab join when the oldest messages are deleted, so that the first offset is no 1."""
    async with Lab(server, name="check", keep=KEPT) as lab:
        ann = await lab.join("ann")
        for text in (*STORED, "three"):
            await ann.send(text)
        bob = await lab.join("bob")
        await ann.send("four")
        await lab.quiet()
        return should_show(bob, *[*STORED, "three"][-KEPT:], "four")
