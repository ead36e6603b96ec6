"""A class in which every third connection is hostile, each in a way of its own, all at once."""

import asyncio
import contextlib
import json

from support import stored, wired

from chatlab.classroom.classroom import Classroom
from chatlab.client.tab import ChatClient
from chatlab.messages import CHAT_MESSAGE

CODE, PATIENCE = "K7PQ2M", 60
HONEST, MESSAGES, ROUNDS, LOOK_EVERY = 12, 4, 3, 0.1
NAMES = [
    "x" * 500_000,
    "\u202e",
    "\u0301" * 1000,
    "honest 1",
    "h\u043enest 1",
    None,
    [[]],
    {"a": 1},
]
BEFORE = [f'42["{CHAT_MESSAGE}","x"]', "431[1]", "41", "3", "6", "5", "2probe", "44{}", "40/other,"]
BEFORE += ["42", "461-0[]", '42["connect"]', "40" + "[" * 9000, b"no header"]
INSIDE = [
    "430[]",
    "437[]",
    "432null",
    '42["where"]',
    '425["where"]',
    '42["nothing"]',
    "40",
    b"no header",
]
INSIDE += [
    f"421{json.dumps([CHAT_MESSAGE, text])}" for text in ("", 7, "a\nSender: b", "y" * 20_000)
]
INSIDE += [f"421{json.dumps([CHAT_MESSAGE, 'x', key])}" for key in ({}, "z" * 500, "key 1")]


def said(name, **more):
    return {"code": CODE, "name": name, "badge": str(name)[:50].ljust(16, "x")} | more


async def send(wire, packet):
    await (wire.ws.send_bytes if isinstance(packet, bytes) else wire.ws.send_str)(packet)


async def strange_names(url):
    """Names that are huge, hide something, or belong to somebody else."""
    for name in NAMES:
        async with wired(url) as wire:
            await wire.connect(said("x") | {"name": name})


async def wrong_order(url):
    """Packets before the one that connects, of any type."""
    for packet in BEFORE:
        async with wired(url) as wire:
            await send(wire, packet)
            await wire.ws.send_str("40" + json.dumps(said("early")))
            await wire.ws.receive()


async def nonsense_inside(url):
    """Students who send what no page sends, and too much of everything."""
    for number, packet in enumerate(INSIDE):
        async with wired(url) as wire:
            await wire.connect(said(f"inside {number}"))
            await send(wire, packet)
            for _ in range(20):
                await wire.ws.send_str(f'421["{CHAT_MESSAGE}","flood"]')
            await wire.ws.receive()


async def false_answers(url):
    """Students who answer the question for the offset, and never as a page does."""
    answers = ("null", "[-1]", "[9999999999]", '["x"]', "[1.5]", "{}", "[]")
    await asyncio.gather(*(false_answer(url, answer) for answer in answers))


async def false_answer(url, answer):
    async with wired(url) as wire:
        await wire.connect(said(f"false {answer}"))
        while not (packet := await wire.packet()).endswith('["where"]'):
            pass
        await wire.ws.send_str("43" + packet[2:].replace('["where"]', answer))
        await wire.ws.receive()


async def storm(url):
    """Somebody who comes and goes, with sessions and offsets that nobody gave."""
    for pid in ("", "x" * 20, "y" * 10_000, 7, None, "", "", "", "", ""):
        async with wired(url) as wire:
            await wire.connect(said("storm", pid=pid, offset=str(pid), serverOffset=10**15))


async def many_names(url):
    """Somebody who takes one name after the other, on one connection."""
    async with wired(url) as wire:
        for number in range(50):
            await wire.connect(said(f"name {number}"))
            await wire.ws.send_str("41")


async def never_reads(url):
    """A student who writes and does not read, and leaves without a word."""
    async with wired(url) as wire:
        wire.ws._conn.transport.pause_reading()
        await wire.ws.send_str("40" + json.dumps(said("mute")))
        for _ in range(50):
            await wire.ws.send_str(f'421["{CHAT_MESSAGE}","unread"]')
        wire.ws._conn.transport.abort()


WAYS = [strange_names, wrong_order, nonsense_inside, false_answers, storm, many_names, never_reads]


async def again(way, url):
    """Do it a few times, whatever the server does about it."""
    for _ in range(ROUNDS):
        with contextlib.suppress(Exception):  # most of these connections are ended
            async with asyncio.timeout(PATIENCE / ROUNDS / 2):
                await way(url)


async def test_class_with_hostile_students_loses_nothing_and_is_seen(tmp_path):
    """Every page gets every message once and in order, the console has a row for each that is true,
    nobody writes in another name, and the server has no error."""
    async with Classroom(db=tmp_path / "class.db", code=CODE) as room:
        url = f"http://127.0.0.1:{room.port}"
        names = [f"honest {number}" for number in range(HONEST)]
        tabs = [ChatClient(url, name, auth=said(name)) for name in names]
        await asyncio.gather(*(tab.open() for tab in tabs))
        attack = asyncio.gather(*(again(way, url) for way in WAYS))
        watching = asyncio.create_task(watch(room))
        for number in range(MESSAGES):
            await asyncio.gather(*(tab.send(f"message {number}") for tab in tabs))
        await attack
        texts = stored(tmp_path / "class.db")
        for tab in tabs:
            assert (await tab.sees(len(texts)))[: len(texts)] == texts  # a flood may go on a little
        async with asyncio.timeout(PATIENCE):
            while {look(room).get(name) for name in names} != {"caught up"}:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_EVERY)
        watching.cancel()
        for tab in tabs:
            await tab.close()
    mine = [text for text in texts if text.startswith("honest")]
    assert sorted(mine) == sorted(
        f"{name}: message {number}" for name in names for number in range(MESSAGES)
    )
    assert all(len(text.splitlines()) == 1 for text in texts)


def look(room):
    """Return what the console shows now: the state of each student."""

    async def looked():
        return {row.name: row.state for row in room.handlers.rows()}

    return room.server.run(looked())


async def watch(room):
    """Keep a console open: only then are the pages asked how far they are."""
    while True:
        look(room)
        await asyncio.sleep(LOOK_EVERY)
