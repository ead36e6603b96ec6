"""The scenarios of the second ladder: what happens to a server that runs twice.

As those in `scenarios`, each forces what it tests, and says what is wrong. Ann joins first, at
server 0, and Bob is at server 1. Both servers have one log, in PostgreSQL.
"""

from __future__ import annotations

from contextlib import suppress

from chatlab.client import ChatClient
from chatlab.course.accidents import lose_answer, storing_held
from chatlab.course.scenarios import wrong_retry
from chatlab.history import Verdict
from chatlab.lab import Lab

SOON = 6.0
"""Seconds in which a sender has its answer, after the database has started again."""


async def shows_everywhere(lab: Lab) -> str:
    tabs = ann, bob = await lab.join("ann", "bob")
    for sender, text in ((ann, "one"), (bob, "two")):
        await sender.send(text)
        await lab.quiet()
        for tab in tabs:
            if text not in tab.messages:
                return f'{_at(lab, sender)} sent "{text}", and {_at(lab, tab)} never shows it'
    return ""


async def moves(lab: Lab) -> Verdict:
    ann, bob = await lab.join("ann", "bob")
    carol = await lab.join("carol", server=1)
    await ann.send("one")
    await lab.quiet()
    await bob.drop()
    await ann.send("two")
    await carol.send("three")
    await lab.quiet()  # now each server may know all that went through the other one
    await lab.move("bob", 0)
    await lab.move("ann", 1)
    await lab.quiet()
    await carol.send("four")
    return await lab.verdict()


async def is_ahead(lab: Lab) -> Verdict | str:
    """Nothing waits until all is quiet before she moves: that lets both servers read."""
    ann = await lab.join("ann")
    await ann.send("one")
    await ann.sees(1)
    await lab.move("ann", 1)
    await ann.send("two")
    verdict = await lab.verdict()
    if any(event.kind == "reset" for event in lab.history):
        told = 'ann has "one", and server 1, which had not read it yet, made her page begin anew'
        return f"{told}: did it ask the database, with `log.reach`, before it judged her?"
    return verdict


async def in_one_order(lab: Lab) -> Verdict:
    ann, bob = await lab.join("ann", "bob")
    await ann.send("one")
    await bob.send("two")  # his server learns only now that there is something before it
    return await lab.verdict()


async def stores_once(lab: Lab) -> Verdict | str:
    ann, bob = await lab.join("ann", "bob")
    await lose_answer(lab, ann)
    newest = await bob.send("two")
    await lab.move("ann", 1)
    return await wrong_retry(lab, ann, newest)


async def is_killed(lab: Lab) -> Verdict:
    ann, bob = await lab.join("ann", "bob")
    await lose_answer(lab, bob)
    await lab.servers[1].kill()
    await ann.send("two")
    await lab.move("bob", 0)
    await lab.servers[1].start()
    carol = await lab.join("carol", server=1)
    await carol.send("three")
    return await lab.verdict(promised=True)


async def database_restarts(lab: Lab) -> Verdict | str:
    """Bob's message is on its way into the database when that ends as in a power cut."""
    ann, bob = await lab.join("ann", "bob")
    await ann.send("one")
    await lab.quiet()
    async with storing_held(lab) as one_waits:
        bob.post("two")
        await one_waits()
        lab.database.stop("immediate")
        lab.database.start()
    with suppress(TimeoutError):
        await bob.until(lambda: not bob.posting, patience=SOON)
    if bob.posting or bob.refused:
        told = "he was told that it is refused" if bob.refused else "he has no answer"
        right = "`except Refused as refusal: return refusal.as_dict()` tells him to send it again"
        return f'the database ended before it had stored "two" of bob, and {told}: {right}'
    return await lab.verdict(promised=True)


def _at(lab: Lab, tab: ChatClient) -> str:
    """Name a tab, and its server."""
    return f"{tab.name} at {lab.server_of(tab.name).name}"
