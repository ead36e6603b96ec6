"""Frames: written together, in order, and only where they overtake nothing."""

import asyncio
import json

import aiohttp
import pytest
from engineio.packet import MESSAGE, Packet
from support import serving, turns, wired

from chatlab.client.tab import ChatClient
from chatlab.server.frames import MAX_JOINED, JoinedWrites, frame, writable


class Written:
    """A transport that notes what is done with it."""

    def __init__(self):
        self.done = []

    def write(self, data):
        self.done.append(data)

    def close(self):
        self.done.append("close")

    def abort(self):
        self.done.append("abort")


class Noting(Written):
    """The same, but of a transport that goes on doing it."""

    def __init__(self, transport):
        super().__init__()
        self._transport = transport

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, data):
        super().write(data)
        self._transport.write(data)


@pytest.fixture
async def served(tmp_path):
    async with serving(tmp_path / "chat.db") as server:
        yield server


async def test_frames_of_one_turn_are_one_write():
    """They are written when the turn is over, in order, and those of the next turn apart."""
    written = Written()
    joined = JoinedWrites(written)
    joined.write(b"one, ")
    joined.write(b"two")
    assert written.done == []
    await turns(1)
    joined.write(b"three")
    await turns(1)
    assert written.done == [b"one, two", b"three"]


async def test_frames_that_are_many_are_written_at_once():
    """So that the transport can say in time that the other side is too slow."""
    written = Written()
    JoinedWrites(written).write(b"x" * (MAX_JOINED + 1))
    await turns(1)
    assert written.done == [b"x" * (MAX_JOINED + 1)]


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_frames_before_the_end_are_written(end):
    """What was written before the connection is ended goes out, as it does without us."""
    written = Written()
    joined = JoinedWrites(written)
    joined.write(b"last")
    getattr(joined, end)()
    await turns(1)
    assert written.done == [b"last", end]


@pytest.mark.parametrize("size", [1, 125, 126, 127, 65_534, 65_535, 65_536, 100_000])
async def test_frame_is_read_by_a_websocket_client(served, size):
    """Whatever its length: there are three ways to say it."""
    text = "é" * (size // 2) + "x" * (size % 2)
    async with wired(served.url) as ann:
        await ann.connect()
        [socket] = served.sio.eio.sockets.values()
        await settled(socket)
        writable(socket).write(frame(text) + frame("next"))
        while (got := await ann.ws.receive_str()) != text:
            assert got.startswith("42")  # what the server tells of its log
        assert await ann.ws.receive_str() == "next"


async def settled(socket):
    """Wait until a WebSocket's writer has sent everything, and asks for more."""
    async with asyncio.timeout(5):
        await socket.queue.drain()
        while not socket.queue.idle:
            await turns()


async def test_nothing_is_written_past_what_waits(served):
    """As long as a packet is in the queue, or on its way from there, the next ones queue too."""
    async with wired(served.url) as ann:
        await ann.connect()
        [socket] = served.sio.eio.sockets.values()
        await settled(socket)
        assert writable(socket) is socket.queue.writes
        socket.queue.put_nowait(Packet(MESSAGE, '2["tick",1]'))
        assert writable(socket) is None
        await settled(socket)
        assert writable(socket) is not None


async def test_nothing_is_written_to_a_connection_that_ends(served):
    """Neither while it closes nor afterwards."""
    async with wired(served.url) as ann:
        await ann.connect()
        [socket] = served.sio.eio.sockets.values()
        await settled(socket)
        await socket.close(wait=False)
        assert writable(socket) is None


async def test_nothing_is_written_to_one_who_reads_too_slowly(served):
    """Its frames queue, where delivery waits for them to be taken."""
    async with wired(served.url) as ann:
        await ann.connect()
        [socket] = served.sio.eio.sockets.values()
        await settled(socket)
        while writes := writable(socket):
            writes.write(frame("x" * 60_000))
            await turns(1)
        assert socket.queue.writes.get_write_buffer_size() >= MAX_JOINED


async def test_poll_has_no_frames(served):
    """Over polling everything queues, until the connection is upgraded."""
    tab = await ChatClient(served.url, transports=("polling",)).open()
    [socket] = served.sio.eio.sockets.values()
    assert socket.queue.writes is None and writable(socket) is None
    await tab.close()


async def test_upgraded_connection_gets_frames(served):
    """As a browser's does after its first requests."""
    tab = await ChatClient(served.url, transports=("polling", "websocket")).open()
    [socket] = served.sio.eio.sockets.values()
    await settled(socket)
    assert writable(socket) is socket.queue.writes
    await served.log.append("one")
    assert await tab.sees(1) == ["one"]
    await tab.close()


async def test_events_and_messages_keep_their_order(served):
    """They go different ways, and none overtakes the other."""
    async with wired(served.url) as ann:
        await ann.connect()
        for number in range(50):
            await served.sio.emit("tick", number)
            await served.log.append(str(number))
            await turns(number % 7)
        got = [json.loads((await ann.packet())[2:])[1] for _ in range(100)]
    assert [value for value in got if isinstance(value, int)] == list(range(50))
    assert [value for value in got if isinstance(value, str)] == list(map(str, range(50)))
    assert all(got.index(n) < got.index(str(n)) for n in range(50))


async def test_message_and_its_acknowledgement_are_one_write(served, monkeypatch):
    """They go out in one system call, and the acknowledgement does not wait in the queue."""
    async with wired(served.url) as ann:
        await ann.connect()
        [socket] = served.sio.eio.sockets.values()
        await settled(socket)
        writes = socket.queue.writes
        noting = Noting(writes._transport)
        monkeypatch.setattr(writes, "_transport", noting)
        await ann.ws.send_str('427["chat message","hello"]')
        event, answer = await ann.packet(), await ann.packet()
        assert (event, answer) == ('42["chat message","hello",1]', "437[1]")
        assert noting.done == [frame(event) + frame(answer)]


async def test_one_who_sends_much_leaves_the_others_their_turns(served):
    """A thousand events in one write are not handled in one turn of the event loop."""
    turn, handled = 0, []

    @served.sio.on("count")
    async def count(sid, number):
        handled.append(turn)

    async with wired(served.url) as ann:
        await ann.connect()
        for number in range(1000):
            await ann.ws.send_str(f'42["count",{number}]')
        while len(handled) < 1000:
            turn += 1
            await asyncio.sleep(0)
    assert max(handled.count(turn) for turn in handled) <= 2


async def test_contract_of_aiohttp_and_engineio(served):
    """The names without documentation that frames rely on."""
    async with wired(served.url) as ann:
        await ann.connect()
        [socket] = served.sio.eio.sockets.values()
        assert socket.upgraded and not socket.closing and not socket.closed
        assert isinstance(socket.queue.writes, JoinedWrites)
        request = served.sio.environ[socket.sid]["aiohttp.request"]
        assert request.protocol.transport is socket.queue.writes
        message = await ann.ws.receive()
        assert message.type is aiohttp.WSMsgType.TEXT
