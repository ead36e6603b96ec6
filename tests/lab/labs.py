"""What the tests of the lab share."""

import asyncio
import sys

import cloudpickle

from chatlab.client import PATIENCE

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import this


def echo(sio):
    """The smallest server of the chapters: it needs no log."""

    @sio.on("chat message")
    async def chat_message(sid, text):
        await sio.emit("chat message", text)


def kinds(lab, who):
    return [event.kind for event in lab.history.of(who)]


async def until(condition):
    """Wait until a condition holds that nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
