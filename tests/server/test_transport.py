"""The HTTP side of Socket.IO: nothing is lost in a request, and stopping is quick."""

import asyncio
import json

import aiohttp
import pytest
import socketio
from aiohttp import web
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from support import Hold, serving, turns, untold, wired

from chatlab.client.tab import ChatClient
from chatlab.harness import Link
from chatlab.server.ending import TRANSPORTS
from chatlab.server.queue import MOST_OUT, PollQueue
from chatlab.server.transport import attach


async def opened(session, url):
    """Open a connection over polling; return its address."""
    async with session.get(f"{url}/socket.io/?EIO=4&transport=polling") as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    address = f"{url}/socket.io/?EIO=4&transport=polling&sid={sid}"
    async with session.post(address, data="40") as answer:
        assert answer.status == 200
    async with session.get(address) as answer:
        assert (await answer.text()).startswith("40{")
    return address


def packets(*texts):
    """The body of a request that sends these texts."""
    return "\x1e".join(f"42{json.dumps(['chat message', text])}" for text in texts)


async def in_pieces(port, path, body, size):
    """Post a body a few bytes at a time, each of them alone in the server's buffer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode())
    for start in range(0, len(body), size):
        await turns()
        writer.write(body[start : start + size])
        await writer.drain()
    status = await reader.readline()
    writer.transport.abort()
    return status.split()[1]


def plain(events):
    """Socket.IO as it comes, attached without our care."""
    sio, app = socketio.AsyncServer(async_mode="aiohttp"), web.Application()
    sio.attach(app)
    sio.on("chat message", lambda sid, text: events.append(text))
    return app


def mended(events):
    """The same server, attached with our care."""
    sio, app = socketio.AsyncServer(async_mode="aiohttp"), web.Application()
    attach(sio, app)
    sio.on("chat message", lambda sid, text: events.append(text))
    return app


@pytest.mark.parametrize(("build", "arrives"), [(mended, True), (plain, False)])
@pytest.mark.parametrize("length", [100, 900_000])
async def test_request_in_many_segments_arrives_whole(build, arrives, length):
    """A long text in a slow POST is handled; as python-engineio comes, it is lost."""
    events = []
    runner = web.AppRunner(build(events), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        address = await opened(session, f"http://127.0.0.1:{site.port}")
        path = address.partition(str(site.port))[2]
        body = packets("x" * length).encode()
        await in_pieces(site.port, path, body, size=max(20, length // 20))
        await turns()
    await runner.cleanup()
    assert (events == ["x" * length]) is arrives


async def test_request_with_thousands_of_packets_is_taken(served):
    """What a browser collected while it was offline comes in one request."""
    texts = [f"message {number}" for number in range(5000)]
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        async with session.post(address, data=packets(*texts)) as answer:
            assert answer.status == 200
        await served.log.newer(len(texts) - 1)
    assert [message.text for message in await served.log.after(0)] == texts


@pytest.mark.parametrize("body", ["0", "2", "6", "42" + "x" * 1_000_000])
async def test_request_that_nothing_can_be_done_with_is_answered(served, body):
    """At once, and not when the client has polled what waits for it, for it polls in vain."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(5):
        address = await opened(session, served.url)
        await served.log.append("waits")
        async with session.post(address, data=body) as answer:
            assert answer.status == 400
        async with session.get(address) as answer:
            assert answer.status == 400


async def test_poll_answers_with_few_packets(served):
    """Fifteen at most, and the rest with the next polls, in order."""
    texts = []
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        await asyncio.gather(*(served.log.append(str(number)) for number in range(100)))
        while len(texts) < 100:
            async with session.get(address) as answer:
                got = (await answer.text()).split("\x1e")
            assert len(got) <= MOST_OUT
            texts += [json.loads(packet[2:])[1] for packet in got]
    assert texts == [str(number) for number in range(100)]


async def test_python_client_on_polling_gets_a_long_catch_up(served):
    """It refuses an answer with more than 16 packets."""
    await asyncio.gather(*(served.log.append(str(number)) for number in range(1000)))
    bob = await ChatClient(served.url, "bob", transports=("polling",)).open()
    assert await bob.sees(1000) == [str(number) for number in range(1000)]
    await bob.close()


async def test_queue_is_a_queue():
    """Everything comes out once and in order, whatever the polls."""
    queue = PollQueue()
    for number in range(40):
        queue.put_nowait(number)
    out, polls = [], 0
    while not queue.empty():
        out.append(await queue.get())
        polls += 1
        while True:
            try:
                out.append(queue.get_nowait())
            except asyncio.QueueEmpty:
                break
    assert out == list(range(40))
    assert polls == 3


async def test_frames_are_not_compressed(served):
    """A client that offers permessage-deflate is answered without it."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{served.url}/socket.io/?EIO=4&transport=websocket", compress=15) as ws,
    ):
        assert ws.compress == 0


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)])
async def test_stopping_server_hangs_up(served, transports):
    """The clients lose their connection at once, and are not told to stay away."""
    bob = await ChatClient(served.url, "bob", transports=transports).open()
    async with wired(served.url) as ann:
        await ann.connect()
        await served.runner.cleanup()
        end = await untold(ann.ws)
        assert end.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    await bob.until(lambda: bob.returning, "tries to come back")
    while served.runner.app[TRANSPORTS]:
        await turns()
    await bob.close()


async def test_second_connect_ends_the_connection(served):
    """As at the official server: refused, the official client would be deaf and not know it."""
    async with wired(served.url) as wire:
        assert (await wire.connect()).startswith("40")
        await wire.ws.send_str("40")
        assert await wire.packet() == "1"  # closed


async def test_second_connect_while_the_first_is_handled_ends_the_connection(tmp_path):
    """The same, if the server is still thinking about the first."""
    thinks = Hold()

    def thoughtful(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            await thinks.here()

    async with serving(tmp_path / "chat.db", thoughtful) as served, wired(served.url) as wire:
        await wire.ws.send_str("40")
        await wire.ws.send_str("40")
        await thinks.reached.wait()
        thinks.released.set()
        while (packet := await wire.packet()).startswith("40"):  # the answer to the first
            pass
        assert packet == "1"


async def test_repeated_poll_ends_the_connection(served):
    """A browser repeats a poll whose answer got lost, and what was in it: it has to begin anew."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        await served.log.append("in the first answer")
        async with session.get(f"{address}&t=1") as answer:
            assert "in the first answer" in await answer.text()
        await served.log.append("in the second answer")
        async with session.get(f"{address}&t=1") as answer:
            assert answer.status == 400
        async with session.get(f"{address}&t=2") as answer:
            assert answer.status == 400


async def test_poll_beside_a_waiting_one_ends_the_connection(served, monkeypatch):
    """Two polls would share the messages: the line of the first is dead, and nobody was told."""
    waits, get = asyncio.Event(), PollQueue.get

    async def seen_get(queue):
        waits.set()
        return await get(queue)

    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        monkeypatch.setattr(PollQueue, "get", seen_get)
        first = asyncio.create_task(session.get(address))
        await waits.wait()
        async with session.get(address) as answer:
            assert answer.status == 400
        assert await (await first).text() == "1"  # closed


async def test_end_of_a_connection_is_not_in_the_answer_with_its_messages(served):
    """The official client would show them twice; that its connection is closed it hears next."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        [socket] = served.sio.eio.sockets.values()
        answers = asyncio.create_task(session.get(address))
        while not socket.queue.idle:
            await turns()
        for text in ("one", "two"):
            socket.queue.put_nowait(EnginePacket(MESSAGE, text))
        await socket.close(wait=False)
        assert await (await answers).text() == "4one\x1e4two"
        async with session.get(address) as answer:
            assert answer.status == 400
        await asyncio.wait_for(socket.queue.join(), 10)


async def test_repeated_request_with_messages_is_handled_once(served):
    """A browser repeats a POST too, if the line breaks before the answer."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        statuses = []
        for _ in range(2):
            async with session.post(f"{address}&t=1", data=packets("once")) as answer:
                statuses.append(answer.status)
        await served.log.newer(0)
        await turns()
    assert statuses == [200, 400]
    assert [message.text for message in await served.log.after(0)] == ["once"]


async def test_requests_with_other_marks_are_served(served):
    """The control: a POST and a GET may be marked alike, and every next one differently."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        for number in range(3):
            async with session.post(f"{address}&t={number}", data=packets("hello")) as answer:
                assert answer.status == 200
            async with session.get(f"{address}&t={number}") as answer:
                assert answer.status == 200


async def test_line_that_breaks_under_an_answer_loses_nothing(served):
    """aiohttp repeats the poll as a browser does: the tab reconnects, and has every message."""
    async with Link(int(served.url.rpartition(":")[2])) as link:
        bob = await ChatClient(link.url, "bob", transports=("polling",)).open()
        await served.log.append("first")
        await bob.sees(1)
        link.freeze()
        await served.log.append("in the answer that gets lost")
        await turns()
        link.cut()
        link.thaw()
        await served.log.append("last")
        assert await bob.sees(3) == ["first", "in the answer that gets lost", "last"]
        await bob.close()
