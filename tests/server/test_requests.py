"""The middlewares: no message in a request or in an answer is lost."""

import asyncio

import aiohttp
import pytest
import socketio
from aiohttp import web
from polling import opened, packets
from support import turns

from chatlab.client.tab import ChatClient
from chatlab.harness import Link
from chatlab.server.queue import PollQueue
from chatlab.server.transport import attach


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


def uncorrected(events):
    """python-socketio alone, without the corrections."""
    sio, app = socketio.AsyncServer(async_mode="aiohttp"), web.Application()
    sio.attach(app)
    sio.on("chat message", lambda sid, text: events.append(text))
    return app


def corrected(events):
    """The same server, with the corrections."""
    sio, app = socketio.AsyncServer(async_mode="aiohttp"), web.Application()
    attach(sio, app)
    sio.on("chat message", lambda sid, text: events.append(text))
    return app


@pytest.mark.parametrize(("build", "arrives"), [(corrected, True), (uncorrected, False)])
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


@pytest.mark.parametrize("body", ["0", "2", "6", "42" + "x" * 1_000_000])
async def test_request_that_nothing_can_be_done_with_is_answered(served, body):
    """At once, and not only after the client has polled: its polls are refused."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(5):
        address = await opened(session, served.url)
        await served.log.append("waits")
        async with session.post(address, data=body) as answer:
            assert answer.status == 400
        async with session.get(address) as answer:
            assert answer.status == 400


async def test_frames_are_not_compressed(served):
    """A client that offers permessage-deflate is answered without it."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{served.url}/socket.io/?EIO=4&transport=websocket", compress=15) as ws,
    ):
        assert ws.compress == 0


async def test_repeated_poll_ends_the_connection(served):
    """A browser repeats a poll whose answer got lost, and what was in it: it has to begin anew."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        await served.log.append("in the first answer")
        async with session.get(f"{address}&t=PaT1k") as answer:
            assert "in the first answer" in await answer.text()
        await served.log.append("in the second answer")
        async with session.get(f"{address}&t=PaT1k") as answer:
            assert answer.status == 400
        async with session.get(f"{address}&t=PaT1l") as answer:
            assert answer.status == 400


async def test_poll_beside_a_waiting_one_ends_the_connection(served, monkeypatch):
    """Two polls would share the messages, and the connection of the first one may be dead."""
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


async def test_repeated_request_with_messages_is_handled_once(served):
    """A browser repeats a POST too, if the line breaks before the answer."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        statuses = []
        for _ in range(2):
            async with session.post(f"{address}&t=PaT1k", data=packets("once")) as answer:
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
