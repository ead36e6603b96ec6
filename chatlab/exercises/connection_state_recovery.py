"""06 · Connection state recovery: a message that is stored when the server stops.

Properties: a tab that is connected gets each message live; what the server has stored and not sent
comes to every tab that returns, recovered or not, once, and so does what it had kept for a tab that
was away when it stopped; what is sent has the offset with which it is stored, also if two messages
come at once. None of that depends on a text or a number: the server stops more than once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from chatlab.client import ChatClient
from chatlab.course import Judgement, judged, should_be_valid
from chatlab.lab import Lab

FIRST, SECOND, LAST = "the first of two", "the second of two", "lights out"
GRACE = 1.0
"""Seconds for which the first of two messages waits for the second: with a lock it never comes."""


@judged
async def check(server: Callable[..., None]) -> Judgement:
    """Let Bob be recovered, two messages come at once, and the server stop in the middle, twice."""
    page = partial(ChatClient, recover=True)
    async with Lab(stalling(server), name="check", recovery=True, store=True) as lab:
        await lab.join("ann", "bob", tab=page)
        await lab.join("carol")  # a page that cannot be recovered
        await lab.clients["ann"].send("one")
        for happen in (_tunnel, _on_the_way, _at_once, _lights_out, _lights_out):
            await lab.quiet()
            await happen(lab, lab.clients["ann"], lab.clients["bob"])
            verdict = await lab.verdict()
            if not verdict.valid:
                break
        return should_be_valid(verdict)


async def _tunnel(lab: Lab, ann: ChatClient, bob: ChatClient) -> None:
    await bob.drop()
    await ann.send("two")
    await bob.reconnect()


async def _on_the_way(lab: Lab, ann: ChatClient, bob: ChatClient) -> None:
    """Let Bob's line break when a message is on its way to him: the server has sent it."""
    lab.links["bob"].freeze("down")
    await ann.send("three")
    await lab.links["bob"].lose()


async def _at_once(lab: Lab, ann: ChatClient, bob: ChatClient) -> None:
    await asyncio.gather(ann.send(FIRST), bob.send(SECOND))


async def _lights_out(lab: Lab, ann: ChatClient, bob: ChatClient) -> None:
    """Let Bob be away for a message that is sent, and for the same text, which is only stored."""
    await bob.drop()
    await ann.send(LAST)
    ann.heard.clear()
    sending = asyncio.create_task(ann.send(LAST))
    await ann.until(lambda: "stored" in ann.heard)
    await lab.restart()
    await asyncio.gather(sending, return_exceptions=True)
    await bob.reconnect()


def stalling(server: Callable[..., None]) -> Callable[..., None]:
    """Wrap a server: a second message overtakes the first, and LAST, said again, is only stored."""

    def handlers(sio: Any, log: Any) -> None:
        append, overtaken, last = log.append, asyncio.Event(), count(1)

        async def append_and_stall(text: str, *key: str, **named: str) -> int:
            if text == SECOND:
                overtaken.set()
            if text == FIRST:
                with suppress(TimeoutError):
                    await asyncio.wait_for(overtaken.wait(), GRACE)
            offset = await append(text, *key, **named)
            if text == LAST and next(last) == 2:
                await sio.emit("stored")
                await asyncio.Event().wait()
            return offset

        log.append = append_and_stall
        server(sio, log)

    return handlers
