"""Connection state recovery with the official JavaScript client, over every transport."""

import asyncio
import contextlib
import itertools
import json
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from support import serving, turns

from chatlab.client.tab import ChatClient
from chatlab.harness.background import BackgroundServer
from chatlab.recovery.recovery import Recovery, recovered
from chatlab.recovery.store import SessionStore
from chatlab.server.app import create_app
from chatlab.server.queue import PollQueue

CLIENT = Path(__file__).with_name("recovery.mjs")
PATIENCE = 20
TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
}
DROPS, EVENTS = 60, 4000

pytestmark = pytest.mark.usefixtures("official_client")


class Page:
    """A page with the official client, in a process of its own."""

    def __init__(self, process):
        self.process = process
        self.got = []

    def tell(self, do):
        self.process.stdin.write(json.dumps({"do": do}).encode() + b"\n")

    async def hear(self, event):
        """Return the next thing of a kind that the page says; the ticks before it are kept."""
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stdout:
                said = json.loads(line)
                if said["event"] == "tick":
                    self.got.append(said["value"])
                if said.pop("event") == event:
                    return said
        raise EOFError

    async def has(self, count):
        while len(self.got) < count:
            await self.hear("tick")


@contextlib.asynccontextmanager
async def opened(url, transports):
    """A page on a server."""
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec("node", CLIENT, url, *transports, **pipes)
    try:
        yield Page(process)
    finally:
        process.stdin.close()
        await process.stdout.read()
        await process.wait()


@contextlib.asynccontextmanager
async def recovering(tmp_path):
    """A server with recovery."""

    def handlers(sio, log):
        @sio.event
        async def join(sid, room):
            await sio.enter_room(sid, room)
            await sio.save_session(sid, {"name": "Ada"})
            await sio.emit("tick", "joined", to=room)

    async with serving(tmp_path / "chat.db", handlers, recovery=Recovery) as served:
        yield served


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_page_that_is_dropped_recovers(tmp_path, transports):
    """Three times in a row: sid, rooms, session, and what it missed, once and in order."""
    async with recovering(tmp_path) as served:
        sio = served.sio
        async with opened(served.url, transports) as page:
            first = await page.hear("connect")
            assert not first["recovered"]
            page.tell("join")
            await page.has(1)
            for drop in range(3):
                page.tell("drop")
                await page.hear("disconnect")
                for number in range(10 * drop, 10 * drop + 10):
                    await sio.emit("tick", number, to=["kitchen", None][number % 2])
                assert await page.hear("connect") == {"sid": first["sid"], "recovered": True}
                await page.has(1 + 10 * (drop + 1))
                assert sorted(sio.rooms(first["sid"])) == sorted([first["sid"], "kitchen"])
                assert await sio.get_session(first["sid"]) == {"name": "Ada"}
                assert recovered(served.sio, first["sid"])
            assert page.got == ["joined", *range(30)]


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_page_that_got_nothing_yet_recovers(tmp_path, transports):
    """With the official server it would not: it has no offset to name."""
    async with recovering(tmp_path) as served, opened(served.url, transports) as page:
        first = await page.hear("connect")
        page.tell("drop")
        await page.hear("disconnect")
        await served.sio.emit("tick", 1)
        assert await page.hear("connect") == {"sid": first["sid"], "recovered": True}
        await page.has(1)


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_page_that_leaves_does_not_recover(tmp_path, transports):
    """`disconnect()` and `connect()`: nothing is kept for it, as with the official server."""
    async with recovering(tmp_path) as served, opened(served.url, transports) as page:
        first = await page.hear("connect")
        await served.sio.emit("tick", 0)
        await page.has(1)
        page.tell("leave")
        await page.hear("disconnect")
        await served.sio.emit("tick", 1)
        page.tell("come")
        second = await page.hear("connect")
        assert not second["recovered"] and second["sid"] != first["sid"]
        await served.sio.emit("tick", 2)
        await page.has(2)
        assert page.got == [0, 2]
        assert set(served.sio.manager.registry.connected) == {second["sid"]}


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_events_over_many_drops_come_exactly_once(tmp_path, transports):
    """Emitted all the while: what was lost on the way is sent again, and nothing twice."""
    async with recovering(tmp_path) as served, opened(served.url, transports) as page:
        first = await page.hear("connect")

        numbers = itertools.count()

        async def emit(count):
            for number in itertools.islice(numbers, count):
                await served.sio.emit("tick", number)

        share = EVENTS // (DROPS + 1)
        async with asyncio.TaskGroup() as group:
            for _ in range(DROPS):
                group.create_task(emit(share))
                page.tell("drop")
                assert await page.hear("connect") == {"sid": first["sid"], "recovered": True}
        await emit(EVENTS - DROPS * share)
        await page.has(EVENTS)
        assert page.got == list(range(EVENTS))


def kept(db):
    """Return the sids in the table of sessions."""
    with contextlib.closing(sqlite3.connect(db)) as connection:
        return [sid for (sid,) in connection.execute("SELECT sid FROM sessions")]


@pytest.mark.parametrize("store", [True, False], ids=["store", "no store"])
@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_chat_recovers_or_catches_up_and_loses_nothing(tmp_path, transports, store):
    """Three drops, a goodbye, a `kill -9`: all messages once, and `recovered` where it should."""
    db = tmp_path / "chat.db"
    recovery = partial(Recovery, store=SessionStore(db) if store else None)
    build = partial(create_app, db=db, recovery=recovery)
    with BackgroundServer(build, name="chat", process=True) as server:
        async with opened(server.url, transports) as page:
            ann = await ChatClient(server.url, "ann").open()
            first = await page.hear("connect")
            for drop, missed in (("drop", 1), ("drop", 2), ("drop", 3), ("leave", 4)):
                page.tell(drop)
                await page.hear("disconnect")
                await ann.send(f"missed {missed}")
                if drop == "leave":
                    page.tell("come")
                came = await page.hear("connect")
                assert came["recovered"] is (drop == "drop")
                assert (came["sid"] == first["sid"]) is (drop == "drop")
                await page.has(missed)
            while store and came["sid"] not in kept(db):  # who has just come may not be stored yet
                await turns()
            server.kill()
            await page.hear("disconnect")
            await ann.until(lambda: not ann.connected)
            server.start()
            await ann.until(lambda: ann.connected)
            again = await page.hear("connect")
            assert again["recovered"] is store and (again["sid"] == came["sid"]) is store
            await ann.send("missed 5")
            await page.has(5)
            assert page.got == [f"missed {number}" for number in range(1, 6)]
            await ann.close()


async def test_without_recovery_nothing_comes_back(tmp_path):
    """The control: another sid, and what was missed is lost."""

    def handlers(sio, log):
        sio.on("join", lambda sid: None)  # a namespace is there for those that have handlers

    async with (
        serving(tmp_path / "chat.db", handlers) as served,
        opened(served.url, ["websocket"]) as page,
    ):
        first = await page.hear("connect")
        page.tell("drop")
        await page.hear("disconnect")
        await served.sio.emit("tick", 1)
        second = await page.hear("connect")
        assert not second.get("recovered") and second["sid"] != first["sid"]
        await served.sio.emit("tick", 2)
        await page.has(1)
        assert page.got == [2]


class Careless(PollQueue):
    """The control: it gives whatever there is, as Engine.IO's own queue does."""

    get_nowait = asyncio.Queue.get_nowait


@pytest.mark.parametrize(
    ("queue", "shown"), [(PollQueue, [1, 2, 3]), (Careless, [1, 2, 3, 1, 2, 3])]
)
async def test_page_shows_once_what_came_just_before_the_end(tmp_path, queue, shown):
    """Three messages and CLOSE, in one answer to a poll or not: the control shows them twice."""
    rows = []

    def handlers(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            sio.start_background_task(catch_up, sid, rows[auth["serverOffset"] :])

        async def catch_up(sid, missed):
            for row in missed:
                await sio.emit("chat message", (row, row), to=sid)

    async def end_with_news(socket):
        while not socket.queue.idle:
            await turns()
        rows.extend([1, 2, 3])
        for row in rows:
            socket.queue.put_nowait(EnginePacket(MESSAGE, f'2["chat message",{row},{row}]'))
        await socket.close(wait=False)

    async with serving(tmp_path / "chat.db", handlers) as served:
        served.sio.eio.create_queue = queue
        async with opened(served.url, ["polling"]) as page:
            await page.hear("connect")
            [socket] = served.sio.eio.sockets.values()
            await end_with_news(socket)
            await page.hear("disconnect")
            await page.hear("connect")
            await served.sio.emit("tick", "end")
            while "end" not in page.got:
                await page.hear("tick")
            assert page.got == [*shown, "end"]
