"""06 · Connection state recovery: a message that is stored when the server stops.

Properties: a tab that is connected gets each message live; what the server has stored and not sent
comes to every tab that returns, recovered or not, once; what is sent has the offset with which it
is stored, also if two messages come at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from chatlab.client import ChatClient
from chatlab.course import Judgement, judged, should_be_valid
from chatlab.lab import Lab

FIRST, SECOND, LAST = "the first of two", "the second of two", "lights out"
GRACE = 1.0
"""Seconds for which the first of two messages waits for the second: with a lock it never comes."""


@judged
async def check(server: Callable[..., None]) -> Judgement:
    """Let Bob be recovered, two messages come at once, and the server stop in the middle."""
    page = partial(ChatClient, recover=True)
    async with Lab(stalling(server), name="check", recovery=True, store=True) as lab:
        ann, bob = await lab.join("ann", "bob", tab=page)
        await lab.join("carol")  # a page that cannot be recovered
        await bob.drop()
        await ann.send("two")
        await bob.reconnect()
        await asyncio.gather(ann.send(FIRST), bob.send(SECOND))
        live = await lab.verdict()
        if not live.valid:
            return should_be_valid(live)
        sending = asyncio.create_task(ann.send(LAST))
        await ann.until(lambda: "stored" in ann.heard)
        await lab.restart()
        await asyncio.gather(sending, return_exceptions=True)
        return should_be_valid(await lab.verdict())


def stalling(server: Callable[..., None]) -> Callable[..., None]:
    """Wrap a server: a second message overtakes the first, and nothing happens after the last."""

    def handlers(sio: Any, log: Any) -> None:
        append, overtaken = log.append, asyncio.Event()

        async def append_and_stall(text: str, *key: str) -> int:
            if text == SECOND:
                overtaken.set()
            if text == FIRST:
                with suppress(TimeoutError):
                    await asyncio.wait_for(overtaken.wait(), GRACE)
            offset = await append(text, *key)
            if text == LAST:
                await sio.emit("stored")
                await asyncio.Event().wait()
            return offset

        log.append = append_and_stall
        server(sio, log)

    return handlers
