"""05 · Client delivery: an outbox that makes one key for each message.

Properties: a message that is sent again has the key that it had at first; no two messages have the
same key, whoever writes them and whatever their texts are; what is answered, and nothing else, is
taken out; the order stays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chatlab.client import ChatClient, Outbox
from chatlab.course import Judgement, judged, should_be_valid
from chatlab.history import Verdict
from chatlab.lab import Lab
from chatlab.server import chat

HERS, HIS = ("hello", "hello", "how are you?", "hello"), ("hello", "fine")


@judged
async def check(outbox: Callable[[], Outbox]) -> Judgement:
    """Let a message get lost, then an answer, and let two people say the same many times."""
    accidents = [await _accident(outbox, direction) for direction in ("up", "down")]
    return should_be_valid(*accidents, await _conversation(outbox))


async def _accident(outbox: Callable[[], Outbox], direction: str) -> Verdict:
    """Let Ann's connection break when her message, or its answer, is on its way."""
    async with Lab(chat, name="check") as lab:
        ann, _ = await lab.join("ann", "bob", tab=partial(ChatClient, outbox=outbox))
        lab.links["ann"].freeze(direction)
        for text in HERS:
            ann.post(text)
        await lab.links["ann"].lose()
        ann.post("still there?")
        return await _verdict(lab)


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
