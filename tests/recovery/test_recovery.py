"""Connection state recovery: a client that comes back gets all it missed, once and in order."""

import asyncio
import contextlib

import pytest
import socketio
from recovering import come_and_go, event, events, nothing_more
from socketio.packet import CONNECT, Packet
from support import here, turns

from chatlab.recovery.recovery import session_of
from chatlab.recovery.sessions import Position


async def test_comes_back_to_everything(server):
    """Sid, pid, rooms, session, and each missed event once, in order."""
    async with here(server) as (wire, first):
        await wire.ws.send_str('42["join","kitchen"]')
        while not await server.sio.get_session(first["sid"]):
            await turns()
        await server.emit(3)
        offset = [await event(wire) for _ in range(3)][-1][1]
        wire.ws._response.connection.transport.abort()
    await server.gone(first["sid"])
    await server.emit(2, first=3)
    await server.emit(2, first=5, room="kitchen")
    await server.emit(1, first=97, room="cellar")
    await server.emit(1, first=98, skip_sid=first["sid"])
    await server.emit(1, first=99, namespace="/other")
    await server.emit(1, first=7, to=first["sid"])
    await server.emit(1, first=8, to=["cellar", "kitchen"])
    async with here(server, {"pid": first["pid"], "offset": offset}) as (wire, second):
        assert second == first
        assert await events(wire, 6) == [3, 4, 5, 6, 7, 8]
        await nothing_more(server, wire)
        assert sorted(server.sio.rooms(first["sid"])) == sorted([first["sid"], "kitchen"])
        assert await server.sio.get_session(first["sid"]) == {"room": "kitchen"}
    sid = first["sid"]
    assert server.seen[:3] == [("connect", sid, False), ("disconnect", sid), ("connect", sid, True)]


async def test_events_before_a_room_was_entered_are_not_for_it(server):
    """They are not sent afterwards, though they are newer than the last offset."""
    async with here(server) as (wire, first):
        await server.emit(3, room="kitchen")
        await server.sio.enter_room(first["sid"], "kitchen")
    await server.gone(first["sid"])
    await server.emit(1, first=3, room="kitchen")
    async with here(server, {"pid": first["pid"]}) as (wire, second):
        assert second == first
        assert await events(wire, 1) == [3]
        await nothing_more(server, wire)


async def test_comes_back_without_having_got_an_event(server):
    """The official server cannot do that: it needs an offset."""
    first, _ = await come_and_go(server)
    await server.emit(2)
    async with here(server, {"pid": first["pid"]}) as (wire, second):
        assert second == first
        assert await events(wire, 2) == [0, 1]


@pytest.mark.parametrize("told", ["41", "server"])
async def test_goodbye_ends_the_session(server, told):
    """Both when the client and when the server disconnects."""
    async with here(server) as (wire, first):
        if told == "server":
            await server.sio.disconnect(first["sid"])
        else:
            await wire.ws.send_str(told)
        await server.gone(first["sid"])
    assert not server.registry.sessions
    async with here(server, {"pid": first["pid"]}) as (_, second):
        assert second["pid"] != first["pid"] and second["sid"] != first["sid"]


async def test_binary_event_is_recovered(server):
    """The text comes first, then its attachments."""
    first, _ = await come_and_go(server)
    await server.sio.emit("tick", b"bytes")
    async with here(server, {"pid": first["pid"]}) as (wire, _):
        assert await wire.packet() == '451-["tick",{"_placeholder":true,"num":0},"0.1"]'
        assert await wire.ws.receive_bytes() == b"bytes"


async def test_cursor_of_an_application_is_in_the_offset(server):
    """The session has the cursor, and a client that comes back has it again."""
    async with here(server) as (wire, first):
        session = session_of(server.sio, first["sid"])
        session.sent = session.sent._replace(cursor=7)
        await server.emit(1)
        assert await event(wire) == (0, "7.1")
        session.sent = session.sent._replace(cursor=9)
    await server.gone(first["sid"])
    async with here(server, {"pid": first["pid"], "offset": "7.1"}) as (_, second):
        assert second == first
        assert session.sent == Position(7, 1)


class Memory:
    """What a python-socketio client that supports recovery remembers."""

    def __init__(self):
        self.auth, self.got, self.sids, self.news = {"pid": ""}, [], [], asyncio.Event()

    @contextlib.asynccontextmanager
    async def online(self, url, transports):
        """Connect; at the end, break the connection without DISCONNECT."""
        memory = self

        class Remembered(Packet):
            def decode(self, encoded_packet):
                attachments = super().decode(encoded_packet)
                if self.packet_type == CONNECT:
                    memory.auth["pid"] = self.data["pid"]
                return attachments

        client = socketio.AsyncClient(reconnection=False, serializer=Remembered)
        client.on("tick", self.tick)
        await client.connect(url, auth=self.auth, transports=transports)
        self.sids.append(client.get_sid())
        yield client
        await client.eio.disconnect(abort=True)

    async def tick(self, value, offset):
        self.got.append(value)
        self.auth["offset"] = offset
        self.news.set()

    async def has(self, count):
        async with asyncio.timeout(5):
            while len(self.got) < count:
                self.news.clear()
                await self.news.wait()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_python_client_that_asks_for_it_recovers(server, transports):
    """Four drops in a row: the same sid, and every event once and in order."""
    memory = Memory()
    for drop in range(4):
        async with memory.online(server.url, transports):
            await server.emit(5, first=10 * drop)
            await memory.has(10 * drop + 5)
        await server.emit(5, first=10 * drop + 5)
    async with memory.online(server.url, transports):
        await memory.has(40)
    assert memory.got == list(range(40))
    assert len(memory.sids) == 5 and len(set(memory.sids)) == 1


@pytest.mark.parametrize("headers", [{}, {"User-Agent": ""}], ids=["named", "nameless"])
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_python_client_that_does_not_ask_gets_no_argument_more(server, transport, headers):
    """It gets no offsets and no pid: its handlers take only the arguments that they name."""
    client, got = socketio.AsyncClient(), asyncio.Queue()
    client.on("tick", lambda value: got.put_nowait(value))
    await client.connect(server.url, headers, transports=[transport])
    await server.emit(2)
    async with asyncio.timeout(5):
        assert [await got.get(), await got.get()] == [0, 1]
    assert not server.registry.sessions
    await client.disconnect()
