"""05 · Client delivery: an outbox that makes one key for each message.

Properties: a message that is sent again has the key that it had at first; no two messages have the
same key, whoever writes them and whatever their texts are; a key is a text that is too random to be
made again by a counter, by the clock, or in another tab; what is answered, and nothing else, is
taken out; the order stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from math import log2

from chatlab.client import ChatClient, Outbox
from chatlab.course import Judgement, judged, should_be_valid, should_show
from chatlab.history import Verdict
from chatlab.lab import Lab
from chatlab.server import chat

HERS, HIS = ("hello", "hello", "how are you?", "hello"), ("hello", "fine")
LAST = "still there?"
OUTBOXES = 500
"""How many tabs write two messages each, so that their keys can be compared."""
BITS = 48
"""How many bits differ at least in so many keys: fewer than in random numbers that are long enough,
and more than a clock and a counter have, even together."""


@judged
async def check(outbox: Callable[[], Outbox]) -> Judgement:
    """Let a message get lost, then an answer, and let two people say the same many times."""
    if no_text := _no_text(outbox):
        return no_text
    (up, up_order), (down, down_order) = [await _accident(outbox, way) for way in ("up", "down")]
    valid = should_be_valid(up, down, await _conversation(outbox))
    for said in (valid, up_order, down_order):
        if not said.solved:
            return said
    return _made_again(outbox) or valid


def _no_text(outbox: Callable[[], Outbox]) -> Judgement | None:
    """Say it if a key is something else than a text: no server would store such a message."""
    box = outbox()
    box.add("hello")
    for message in box.pending:
        key = getattr(message, "client_offset", None)
        if not isinstance(key, str | None):
            return Judgement(f"not yet: a key is a text, and not a {type(key).__name__}: {key!r}")
    return None


def _made_again(outbox: Callable[[], Outbox]) -> Judgement | None:
    """Say it if another tab may make the same key. Each of many tabs makes one after an answer."""
    boxes, keys = [outbox() for _ in range(OUTBOXES)], []
    for box in boxes:
        for _ in range(2):
            box.add("hello")
            [message] = box.pending
            keys.append(message.client_offset)
            box.answered(message)
    [(key, times)] = Counter(keys).most_common(1)
    if times > 1:
        return Judgement(f"not yet: two messages have the same key, {key!r}")
    if _bits(keys) < BITS:
        again = "another tab, or a reload, may make them again (a counter? the clock?)"
        return Judgement(f"not yet: keys such as {keys[0]!r} and {keys[-1]!r}: {again}")
    return None


def _bits(keys: list[str]) -> float:
    """Return how many bits differ at most in these keys, place by place."""
    return sum(log2(len(set(place))) for place in zip_longest(*keys))


async def _accident(outbox: Callable[[], Outbox], direction: str) -> tuple[Verdict, Judgement]:
    """Let Ann's connection break when her message, or its answer, is on its way."""
    async with Lab(chat, name="check") as lab:
        ann, bob = await lab.join("ann", "bob", tab=partial(ChatClient, outbox=outbox))
        lab.links["ann"].freeze(direction)
        for text in HERS:
            ann.post(text)
        await lab.links["ann"].lose()
        ann.post(LAST)
        return await _verdict(lab), should_show(bob, *HERS, LAST)


async def _conversation(outbox: Callable[[], Outbox]) -> Verdict:
    async with Lab(chat, name="check") as lab:
        ann, bob = await lab.join("ann", "bob", tab=partial(ChatClient, outbox=outbox))
        for text in HERS:
            ann.post(text)
        for text in HIS:
            bob.post(text)
        return await _verdict(lab)


async def _verdict(lab: Lab) -> Verdict:
    """Return the verdict. Raises Refused if the log has refused a message."""
    verdict = await lab.verdict(promised=True)
    for tab in lab.clients.values():
        for _, refusal in tab.refused:
            raise refusal
    return verdict
