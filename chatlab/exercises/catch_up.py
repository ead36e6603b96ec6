"""03 · Catch-up: a newcomer gets the newest three messages, a tab that returns all it has missed.

Properties: three for offset 0, however many there are, also after a reload; fewer if there are
fewer; everything after any other offset; each with its offset, in order, once; new messages for
all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from chatlab.client import ChatClient
from chatlab.course import Judgement, judged, should_show
from chatlab.lab import Lab


@judged
async def check(server: Callable[..., None]) -> list[Judgement]:
    """Let tabs come when there are two, five and ten messages, and one return after eight."""
    async with Lab(server, name="check") as trial:
        fay = await trial.join("fay")
        for text in "ab":
            await fay.send(text)
        dan = await trial.join("dan")
        await trial.quiet()
        await dan.drop()
        for text in "cde":
            await fay.send(text)
        ida = await trial.join("ida")
        for text in "fghij":
            await fay.send(text)
        _make_a_hole(trial)
        await dan.reconnect()
        eve, gus = await trial.join("eve", "gus")
        await trial.quiet()
        await _come_back(trial, dan, eve)
        await fay.send("k")
        await trial.quiet()
        await gus.reload()
        await trial.quiet()
        return [
            should_show(dan, *"abcdefghjk"),
            should_show(ida, *"cdefghijk"),
            should_show(eve, *"ghjk"),
            should_show(gus, *"hjk"),
            should_show(fay, *"abcdefghijk"),
        ]


def _make_a_hole(trial: Lab) -> None:
    """Delete two messages: an offset is no position, and three offsets are not three rows."""
    with closing(sqlite3.connect(trial.db, isolation_level=None)) as database:
        database.execute("DELETE FROM messages WHERE id IN (1, 9)")


async def _come_back(trial: Lab, *tabs: ChatClient) -> None:
    """Let tabs drop and return: they bring the offset that they were sent with the last message."""
    for tab in tabs:
        await tab.drop()
        await tab.reconnect()
    await trial.quiet()
