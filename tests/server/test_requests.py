"""Requests: no message in a request or in an answer is lost."""

import asyncio

import aiohttp
import pytest
import socketio
from aiohttp import web
from polling import opened, packets
from support import turns
from yarl import URL

from chatlab.client.tab import ChatClient
from chatlab.harness import Link
from chatlab.server.ending import TRANSPORTS
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


@pytest.mark.parametrize("mark", ["", "&t=1764288000"])
async def test_requests_with_the_same_time_in_seconds_are_served(served, mark):
    """C#'s client marks its requests so; those of Java, Swift and Go have no mark at all."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        for text in ("one", "two", "three"):
            async with session.post(address + mark, data=packets(text)) as answer:
                assert answer.status == 200
            async with session.get(address + mark) as answer:
                assert text in await answer.text()


async def test_repeated_request_with_a_time_ends_the_connection(served):
    """It comes because the line broke: the first answer may never have arrived."""
    async with aiohttp.ClientSession() as session:
        address = f"{await opened(session, served.url)}&t=1764288000"
        for _ in range(2):
            await served.log.append("a message")
        async with aiohttp.ClientSession() as first, first.get(address) as answer:
            assert answer.status == 200
        [socket] = served.sio.eio.sockets.values()
        while not socket.queue.answered["GET"].may_be_lost:
            await turns(1)
        async with session.get(address) as answer:
            assert answer.status == 400


async def test_poll_whose_client_has_gone_ends_the_connection(served):
    """What was taken out of the queue for it is lost, whatever the next request is marked with."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        [socket] = served.sio.eio.sockets.values()
        async with aiohttp.ClientSession() as first:
            poll = asyncio.create_task(first.get(address))
            while not (socket.queue.polled and socket.queue.idle):
                await turns(1)
            poll.cancel()
            await asyncio.wait([poll])
        while not all(transport.is_closing() for transport in served.runner.app[TRANSPORTS]):
            await turns(1)
        await served.log.append("in the answer that nobody gets")
        while served.sio.eio.sockets:
            await turns(1)


async def test_posts_beside_each_other_are_handled(served):
    """Clients of some languages send without waiting; the bodies come one after another here."""
    texts = [f"message {number}" for number in range(20)]
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        posts = (session.post(address, data=packets(text)) for text in texts)
        for answer in await asyncio.gather(*posts):
            assert answer.status == 200
        await served.log.newer(len(texts) - 1)
    assert sorted(message.text for message in await served.log.after(0)) == sorted(texts)


async def test_body_beside_an_unfinished_one_ends_the_connection(served):
    """Which of them is the first cannot be known: the protocol forbids it."""
    port = int(served.url.rpartition(":")[2])
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        path = address.partition(str(port))[2]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n4".encode())
        [socket] = served.sio.eio.sockets.values()
        while not socket.queue.under_way:
            await turns(1)
        async with session.post(address, data=packets("hello")) as answer:
            assert answer.status == 400
        writer.transport.abort()


async def test_proxy_that_closes_after_each_answer_loses_no_client(served):
    """nginx may send "Connection: upgrade" with a poll, and it closes its connection afterwards."""
    async with aiohttp.ClientSession() as session:
        address = f"{await opened(session, served.url)}&t=1764288000"
    for text in ("one", "two", "three"):
        await served.log.append(text)
        async with (
            aiohttp.ClientSession() as session,
            session.get(address, headers={"Connection": "upgrade"}) as answer,
        ):
            assert text in await answer.text()


@pytest.mark.parametrize("name", ["sid=&sid", "%2573id"])
async def test_session_is_found_as_engineio_finds_it(served, name):
    """Else such a request would pass by all that is checked here."""
    async with aiohttp.ClientSession() as session:
        address = (await opened(session, served.url)).replace("sid", name)
        [socket] = served.sio.eio.sockets.values()
        poll = asyncio.create_task(session.get(URL(address, encoded=True)))
        while not (socket.queue.polled and socket.queue.idle):
            await turns(1)
        async with session.get(URL(address, encoded=True)) as answer:
            assert answer.status == 400
        assert await (await poll).text() == "1"


async def test_post_with_the_headers_of_a_websocket_is_a_post(served):
    """Its messages are taken once."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OTAxMjM0NQ=="}
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        async with session.post(address, data=packets("once"), headers=headers) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
    await served.log.newer(0)
    await turns()
    assert [message.text for message in await served.log.after(0)] == ["once"]


@pytest.mark.parametrize("query", ["j=0", "j=x", "%256A=0"])
async def test_script_of_another_page_gets_nothing(served, query):
    """JSONP would hand a page of any origin what is polled; its last users are ten years old."""
    async with aiohttp.ClientSession() as session:
        address = f"{served.url}/socket.io/?EIO=4&transport=polling&{query}"
        async with session.get(URL(address, encoded=True)) as answer:
            assert answer.status == 400


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
