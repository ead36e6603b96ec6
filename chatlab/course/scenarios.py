"""The scenarios of the ladder: what happens to the tabs and to the server on each rung.

Each forces the situation that it tests, waits until nothing is under way, and judges what the pages
show: so the same server always falls at the same rung. A scenario knows what a chat promises, and
not how a server does it. It returns a verdict, or a sentence that says what is wrong ("" if nothing
is).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from functools import partial

from chatlab.client import ChatClient
from chatlab.course.accidents import (
    FULL_DISK,
    HOLE,
    FarAway,
    LongKeys,
    change_database,
    hold_catch_up,
    lose_answer,
    miss_two,
)
from chatlab.harness import bad_day
from chatlab.history import History, Verdict, check
from chatlab.lab import Lab
from chatlab.messages import CHAT_MESSAGE, MAX_TEXT, Refused

GRACE = 1.5
"""Seconds to wait for something that a server may do now, later, or never."""
RELOADS = 5
"""How many pages a tab leaves, so that what a server still does for them can be counted."""
SEED, LENGTH, MANY = 212, 40, 120
"""The seed of the bad day, how many mishaps it has, and how many messages come at its end."""


async def shows(lab: Lab) -> str:
    ann, bob = await lab.join("ann", "bob")
    await ann.send("one")
    await lab.quiet()
    for tab in (ann, bob):
        if tab.messages != ["one"]:
            return f'ann sent "one", and {tab.name}\'s page shows {tab.messages or "nothing"}'
    return ""


async def catches_up(lab: Lab) -> Verdict:
    _, bob = await miss_two(lab)
    await bob.reconnect()
    return await _pages(lab)


async def reloads(lab: Lab) -> Verdict | str:
    ann, bob = await lab.join("ann", "bob")
    for text in ("one", "two", "three"):
        await ann.send(text)
        await lab.quiet()
    await bob.reload()
    await lab.join("carol")
    verdict = await _pages(lab)
    return (await _left_behind(lab, bob) or verdict) if verdict.valid else verdict


async def _left_behind(lab: Lab, bob: ChatClient) -> str:
    """Say whether a server still reads its log for the many pages that Bob has left."""
    for _ in range(RELOADS):
        await bob.reload()
        await lab.quiet()
    await bob.send("four")  # a loop may learn from this that its tab is gone
    await lab.quiet()
    before = lab.reads
    await bob.send("five")
    await lab.quiet()
    reads, tabs = lab.reads - before, len(lab.clients)
    much = f"{tabs} tabs are there, and for one message the server reads its log {reads} times"
    return f"{much}: what ends the work for a tab that is gone?" if reads > 2 * tabs else ""


async def restarts(lab: Lab) -> Verdict:
    ann, bob = await miss_two(lab)
    await lab.restart()
    await bob.reconnect()
    await lab.quiet()
    await ann.send("three")
    return await lab.verdict()


async def stores_first(lab: Lab) -> Verdict | str:
    ann, bob = await lab.join("ann", "bob", tab=FarAway)
    await ann.send("one")
    await lab.quiet()
    change_database(lab, FULL_DISK)
    sending = asyncio.create_task(ann.send("two"))
    sending.add_done_callback(lambda sending: sending.cancelled() or sending.exception())
    await asyncio.sleep(0)  # now the message is under way
    with suppress(ExceptionGroup):  # the server may raise the error of the disk
        await lab.quiet()
    sending.cancel()  # if there was no answer by now, there will be none
    [answer] = await asyncio.gather(sending, return_exceptions=True)
    if not isinstance(answer, BaseException):
        told = f"ann was told that it is stored: the answer {answer!r} names no error"
        return f'the disk had no room for "two", and {told}'
    for tab in (ann, bob):
        if "two" in tab.messages:
            return f'the disk had no room for "two", and {tab.name}\'s page shows it'
    change_database(lab, HOLE)
    await ann.send("three")
    verdict = await lab.verdict()
    if not verdict.counts["duplicated"]:
        return verdict
    return f"{verdict.faults[0]}. The offset before it is missing: does a cursor count messages?"


async def in_order(lab: Lab) -> Verdict:
    ann, bob = await miss_two(lab)
    await _send_during_catch_up(lab, ann, bob)
    await ann.send("four")  # after it, a missing message is lost, and not only late
    verdict = await lab.verdict()
    if not verdict.valid:
        return verdict
    await bob.drop()
    await ann.send("five")
    await lab.quiet()
    await _return_during_commit(lab, ann, bob)
    await ann.send("seven")
    return await lab.verdict()


async def _send_during_catch_up(lab: Lab, ann: ChatClient, bob: ChatClient) -> None:
    """Let Ann send "three" while the server is held between reading and sending what Bob missed."""
    pause = await hold_catch_up(lab, ann, bob)
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


async def waits_for_nobody(lab: Lab) -> Verdict | str:
    """Bob polls: what he has not asked for stays with the server, so a server that waits for him
    waits at once. A WebSocket would first fill the buffers of the network."""
    ann, carol = await lab.join("ann", "carol")
    await lab.join("bob", tab=partial(ChatClient, transports=("polling",)))
    await lab.quiet()
    lab.links["bob"].freeze("down")
    try:
        async with asyncio.timeout(2 * GRACE):
            for text in ("one", "two", "three"):
                await ann.send(text)
            await carol.sees(3)
    except TimeoutError:
        return "bob's line is frozen, and carol's page does not show all that ann has sent"
    lab.links["bob"].thaw()
    return await lab.verdict()


async def stores_once(lab: Lab) -> Verdict | str:
    ann, bob = await lab.join("ann", "bob", tab=partial(ChatClient, outbox=LongKeys))
    await lose_answer(lab, ann)
    newest = await bob.send("two")  # now the offset of "one" is not the newest any more
    await lab.restart()
    await ann.reconnect()
    if wrong := await wrong_retry(lab, ann, newest):
        return wrong
    for tab in (ann, bob):  # the same texts again, with other keys or none: other messages
        tab.post("one")
        await tab.send("two")
    again = await lab.verdict(promised=True)
    stored = Counter(message.text for message in lab.history.stored())
    for text in ("one", "two"):
        if stored[text] < 3:
            has = f"the log has {stored[text]} of them"
            return f'3 messages say "{text}", and {has}: what is the key?'
    return again


async def wrong_retry(lab: Lab, ann: ChatClient, newest: int | None) -> Verdict | str:
    """Say it if "one", which Ann has sent again, is not there once, or has not its old answer.

    `newest` is the offset of a message after it.
    """
    once = await lab.verdict(promised=True)
    if not once.valid:
        return _sent_again(once) or once
    return _answered_otherwise(ann, lab.history, newest)


def _sent_again(verdict: Verdict) -> str:
    """Say it if a page shows one row of the log twice: this message is stored once."""
    for fault in verdict.faults:
        if fault.kind == "duplicated" and fault.evidence[0].offset == fault.message.offset:
            known = "for a key that it knows, `append` returns the old offset"
            return f"{fault}. The log has it once: {known}, and there is nothing new to send"
    return ""


def _answered_otherwise(ann: ChatClient, history: History, newest: int | None) -> str:
    """Say it if Ann, who has sent "one" again, is not told its offset, as Bob is told his."""
    kinds = ("acknowledge", "refuse")
    [answer] = [event for event in history if event.kind in kinds and event.who == "ann"]
    told = f"that it is refused ({ann.refused[0][1].name!r})" if ann.refused else answer.offset
    wrong = ann.refused or (newest and answer.offset is None)
    stored = 'ann sent "one" again, with its key. It is stored, and its answer was lost'
    return f"{stored}: the right answer is the same offset again, and not {told}" if wrong else ""


async def refuses(lab: Lab) -> Verdict | str:
    ann, _ = await lab.join("ann", "bob")
    bad = {"an empty text": "", "a number": 42, "a text that is too long": "x" * (MAX_TEXT + 1)}
    for what, value in bad.items():
        answer = await ann.call(CHAT_MESSAGE, value)
        if not (isinstance(answer, dict) and "error" in answer):
            return f"ann sent {what}, and the answer names no error: {answer!r}"
    answer, verdict = await ann.send("one"), await lab.verdict()
    if not verdict.valid:
        return verdict
    if answer != ann.offset:
        return f'ann sent "one", and the answer is not its offset, but {answer!r}'
    with suppress(Refused):
        await ann.send("x" * MAX_TEXT)
    await lab.quiet()
    allowed = f"a text of {MAX_TEXT:,} characters is allowed"
    return "" if len(ann.messages) == 2 else f"{allowed}, and ann's page does not show it"


async def has_a_bad_day(lab: Lab) -> Verdict:
    names = ("ann", "bob", "carol")
    ann, *_ = await lab.join(*names)
    await lose_answer(lab, ann)
    await lab.kill()
    await lab.start()
    await lab.live_through(bad_day(SEED, names, LENGTH, kills=1, sends=0.7), post=True)
    for number in range(MANY):
        ann.post(f"one of many, {number}")
    await lab.quiet()
    await lab.join("dan")  # joins at the end, and must get all messages
    return await lab.verdict(promised=True)


async def _pages(lab: Lab) -> Verdict:
    """Judge the pages alone, because a server may keep its messages outside the log."""
    await lab.quiet()
    return check(lab.history, promised=True)
