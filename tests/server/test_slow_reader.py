"""A reader that stops reading costs a server little memory, and the others nothing."""

from functools import partial
from pathlib import Path

import pytest
from support import AT_ONCE, busy, tutorial, wired

from chatlab.harness.background import BackgroundServer
from chatlab.server import queue
from chatlab.server.app import chat, create_app
from chatlab.server.delivery import NEWEST

MESSAGES = 50_000
WARM = NEWEST + AT_ONCE
"""Messages before memory is measured first: by then the server keeps as many as it ever will."""
MEGABYTES = 20
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc, which is not here"
)


def memory(server, kind):
    """Return the memory of a server's process, in megabytes: VmRSS is now, VmHWM the most yet."""
    lines = Path(f"/proc/{server._worker.process.pid}/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{kind}:")]
    return int(kilobytes) / 1024


async def get(reader, first, count):
    """Let a reader get its next messages: they are the ones from `first`, once and in order."""
    offsets = [offset for offset, _ in await reader.messages(count)]
    assert offsets == list(range(first, first + count))


async def send(ann, first, count):
    """Let messages be sent, many at once, and the next ones when Ann has them all."""
    for number in range(first, first + count, AT_ONCE):
        await ann.ws.send_str('42["many"]')
        await get(ann, number, AT_ONCE)


async def growth(db, handlers):
    """Return by how many megabytes a server grows while Bob reads nothing, and then everything."""
    build = partial(create_app, partial(busy, handlers), db=db)
    with BackgroundServer(build, process=True) as server:
        async with wired(server.url) as bob, wired(server.url) as ann:
            await ann.connect({"serverOffset": 0})
            await send(ann, 1, WARM)
            start = memory(server, "VmRSS")
            await bob.connect({"serverOffset": WARM})
            await send(ann, WARM + 1, MESSAGES)
            await get(bob, WARM + 1, MESSAGES)
            return memory(server, "VmHWM") - start


@needs_proc
async def test_reader_that_stops_reading_costs_little_memory(tmp_path):
    """Ann has 50,000 messages before Bob reads one; when he wakes, he gets them all, in order."""
    assert await growth(tmp_path / "finished.db", chat) < MEGABYTES


@needs_proc
async def test_tutorial_server_keeps_everything_for_a_reader_that_stops_reading(tmp_path):
    """The control: with the same load, its queue for Bob holds all that he does not read."""

    def unbounded(sio, log):
        queue.MAX_QUEUED = 10**12
        tutorial(sio, log)

    assert await growth(tmp_path / "tutorial.db", unbounded) > MEGABYTES
