"""The scenarios of the ladder, from the easy one to the hardest.

Each runs in its own lab. It forces the situation that it tests, waits until nothing is under way,
and judges what the pages show: so the same server always falls at the same rung. A scenario knows
what a chat promises, and not how a server does it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chatlab.client import ChatClient
from chatlab.harness import bad_day
from chatlab.history import History, Verdict, check
from chatlab.lab import Lab, Pause
from chatlab.messages import CHAT_MESSAGE, MAX_TEXT, Refused

GRACE = 2.0
"""Seconds to wait for something that a server may do now, later, or never."""
SEED, LENGTH = 212, 40
"""The seed of the bad day, and how many mishaps it has."""
FULL_DISK = """
CREATE TRIGGER full_disk BEFORE INSERT ON messages WHEN NEW.content = 'two'
BEGIN SELECT RAISE(ABORT, 'the disk is full'); END
"""
"""Makes the log fail to store "two". The name of the log's table is all that this module knows."""


class _FarAway(ChatClient):
    """A tab that notices an error only by the server's answer, or when its connection ends."""

    def fail(self, error: BaseException) -> bool:
        return isinstance(error, ConnectionError) and super().fail(error)


@dataclass(frozen=True)
class Rung:
    """One rung: what it asks of a server, and the scenario that tests it.

    `scenario` returns a verdict, or a sentence that says what is wrong ("" if nothing is).
    `options` are for the Lab. The scenario may take `patience` times as long as others. `cost`
    says what a server that reached the rung makes others wait for ("" for nothing).
    """

    name: str
    asks: str
    scenario: Callable[[Lab], Awaitable[Verdict | str]] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    patience: int = field(default=1, repr=False)
    cost: Callable[[History], str] = field(default=lambda history: "", repr=False)


async def _shows(lab: Lab) -> str:
    ann, bob = await lab.join("ann", "bob")
    await ann.send("one")
    await lab.quiet()
    for tab in (ann, bob):
        if tab.messages != ["one"]:
            return f'ann sent "one", and {tab.name}\'s page shows {tab.messages or "nothing"}'
    return ""


async def _catches_up(lab: Lab) -> Verdict:
    _, bob = await _miss_two(lab)
    await bob.reconnect()
    return await _pages(lab)


async def _reloads(lab: Lab) -> Verdict:
    ann, bob = await lab.join("ann", "bob")
    for text in ("one", "two", "three"):
        await ann.send(text)
        await lab.quiet()
    await bob.reload()
    await lab.join("carol")
    return await _pages(lab)


async def _restarts(lab: Lab) -> Verdict:
    ann, bob = await _miss_two(lab)
    await lab.restart()
    await bob.reconnect()
    await lab.quiet()
    await ann.send("three")
    return await lab.verdict()


async def _stores_first(lab: Lab) -> Verdict | str:
    ann, bob = await lab.join("ann", "bob", tab=_FarAway)
    await ann.send("one")
    await lab.quiet()
    with closing(sqlite3.connect(lab.db)) as db:
        db.execute(FULL_DISK)
    sending = asyncio.create_task(ann.send("two"))
    sending.add_done_callback(lambda sending: sending.cancelled() or sending.exception())
    await asyncio.sleep(0)  # now the message is under way
    with suppress(ExceptionGroup):  # the server may raise the error of the disk
        await lab.quiet()
    sending.cancel()  # if there was no answer by now, there will be none
    [answer] = await asyncio.gather(sending, return_exceptions=True)
    if not isinstance(answer, BaseException):
        return 'the disk had no room for "two", and ann was told that it is stored'
    for tab in (ann, bob):
        if "two" in tab.messages:
            return f'the disk had no room for "two", and {tab.name}\'s page shows it'
    await ann.send("three")
    return await lab.verdict()


async def _in_order(lab: Lab) -> Verdict:
    ann, bob = await _miss_two(lab)
    await _send_during_catch_up(lab, ann, bob)
    await ann.send("four")  # after it, a missing message is lost, and not only late
    await lab.quiet()
    await bob.drop()
    await ann.send("five")
    await lab.quiet()
    await _return_during_commit(lab, ann, bob)
    await ann.send("seven")
    return await lab.verdict()


async def _send_during_catch_up(lab: Lab, ann: ChatClient, bob: ChatClient) -> None:
    """Let Ann send "three" while the server is held between reading and sending what Bob missed."""
    pause = await _hold_catch_up(lab, ann, bob)
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(ann.send("three"))
        with suppress(TimeoutError):  # a server may make the others wait until Bob has caught up
            async with asyncio.timeout(GRACE):
                await asyncio.wait([sending])
                await lab.quiet()
        if pause is not None:
            await pause.go_on()


async def _return_during_commit(lab: Lab, ann: ChatClient, bob: ChatClient) -> None:
    """Let Bob, who has missed "five", come back while "six" of Ann is not stored yet."""
    async with asyncio.TaskGroup() as group:
        with closing(sqlite3.connect(lab.db, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")  # until this connection closes, nothing can be stored
            group.create_task(ann.send("six"))
            await asyncio.sleep(0)  # it is under way before Bob begins
            group.create_task(bob.reconnect())
            with suppress(TimeoutError):  # a server may make Bob wait until "six" is stored
                await bob.until(lambda: "five" in bob.messages, patience=GRACE)


def _others_wait(history: History) -> str:
    """Say whether Ann's "three" came to her only when Bob, who was held, had caught up."""
    order = [(event.kind, event.who, event.text) for event in history]
    missed = next(text for text in ("missed", "two") if ("show", "bob", text) in order)
    steps = ("send", "ann", "three"), ("show", "bob", missed), ("show", "ann", "three")
    sent, caught_up, shown = map(order.index, steps)
    return "while one tab catches up, all the others wait" if sent < caught_up < shown else ""


async def _waits_for_nobody(lab: Lab) -> Verdict | str:
    """Bob polls: what he has not asked for stays with the server, so a server that waits for him
    waits at once. A WebSocket would first fill the buffers of the network."""
    ann, carol = await lab.join("ann", "carol")
    await lab.join("bob", tab=partial(ChatClient, transports=("polling",)))
    await lab.quiet()
    lab.links["bob"].freeze("down")
    try:
        async with asyncio.timeout(GRACE):
            for text in ("one", "two", "three"):
                await ann.send(text)
            await carol.sees(3)
    except TimeoutError:
        return "bob's line is frozen, and carol's page does not show all that ann has sent"
    lab.links["bob"].thaw()
    return await lab.verdict()


async def _stores_once(lab: Lab) -> Verdict | str:
    ann, bob = await lab.join("ann", "bob")
    await _lose_answer(lab, ann)
    await bob.send("two")  # now the offset of "one" is not the newest any more
    await lab.restart()
    await ann.reconnect()
    once = await lab.verdict(promised=True)
    if not once.valid:
        return once
    for tab in (ann, bob):
        tab.post("one")  # the same text again, and from somebody else: these are other messages
    twice = await lab.verdict(promised=True)
    count = bob.messages.count("one")
    if count < 3:
        return f'three messages say "one", two of ann and one of bob, and bob\'s page shows {count}'
    return twice


async def _refuses(lab: Lab) -> Verdict | str:
    ann, _ = await lab.join("ann", "bob")
    bad = {"an empty text": "", "a number": 42, "a text that is too long": "x" * (MAX_TEXT + 1)}
    for what, value in bad.items():
        answer = await ann.call(CHAT_MESSAGE, value)
        if not (isinstance(answer, dict) and "error" in answer):
            return f"ann sent {what}, and the answer names no error: {answer!r}"
    await ann.send("one")
    verdict = await lab.verdict()
    if verdict.valid:
        with suppress(Refused):
            await ann.send("x" * MAX_TEXT)
        await lab.quiet()
        if len(ann.messages) < 2:
            return f"a text of {MAX_TEXT:,} characters is allowed, and ann's page does not show it"
    return verdict


async def _has_a_bad_day(lab: Lab) -> Verdict:
    names = ("ann", "bob", "carol")
    ann, *_ = await lab.join(*names)
    await _lose_answer(lab, ann)
    await lab.kill()
    await lab.start()
    await lab.live_through(bad_day(SEED, names, LENGTH, kills=1, sends=0.7), post=True)
    await lab.quiet()
    await lab.join("dan")  # joins at the end, and must get all messages
    return await lab.verdict(promised=True)


async def _miss_two(lab: Lab) -> list[ChatClient]:
    """Let Ann send "one", Bob drop, and Ann send "two"; return both tabs."""
    ann, bob = await lab.join("ann", "bob")
    await ann.send("one")
    await lab.quiet()
    await bob.drop()
    await ann.send("two")
    await lab.quiet()
    return [ann, bob]


async def _lose_answer(lab: Lab, ann: ChatClient) -> None:
    """Let Ann write "one", and lose her connection while the acknowledgement is under way."""
    lab.links["ann"].freeze("down")
    ann.post("one")
    await lab.links["ann"].holds()
    await ann.drop()
    lab.links["ann"].thaw()


async def _pages(lab: Lab) -> Verdict:
    """Judge the pages alone, because a server may keep its messages outside the log."""
    await lab.quiet()
    return check(lab.history, promised=True)


async def _hold_catch_up(lab: Lab, ann: ChatClient, bob: ChatClient) -> Pause | None:
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


RUNGS = (
    Rung("shows", "a message is on every page.", _shows),
    Rung("catches up", "a tab that was away gets what it missed, and nothing else.", _catches_up),
    Rung("reloads", "a page that is loaded anew shows everything.", _reloads),
    Rung("restarts", "a server that was stopped has forgotten nothing.", _restarts),
    Rung("stores first", "what is not stored is not shown, and not acknowledged.", _stores_first),
    Rung(
        "in order",
        "a message that comes during a catch-up comes in its turn.",
        _in_order,
        patience=2,
        cost=_others_wait,
    ),
    Rung("waits for nobody", "one frozen line does not hold up the others.", _waits_for_nobody),
    Rung("stores once", "a message that is sent again is stored once.", _stores_once),
    Rung("refuses", "bad input gets an error, and the server goes on.", _refuses),
    Rung(
        "has a bad day",
        "all this at once, as chance has it, with a kill -9.",
        _has_a_bad_day,
        {"process": True},
        patience=4,
    ),
)
"""From the easiest to the hardest."""
