"""The WebSocket of a connection: an upgrade that does not go on costs nobody a message."""

import asyncio

import aiohttp
import pytest
import socketio
from aiohttp import web
from polling import opened, packets
from support import serving, turns, wired

from chatlab.server import websocket

PATIENCE = 10


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        yield session


def over_websocket(address):
    return address.replace("transport=polling", "transport=websocket")


async def text_of(session, address):
    async with session.get(address) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_upgrade_that_does_not_go_on_leaves_polling_as_it_is(served, session):
    """A middlebox lets the WebSocket open and takes no frame: polls wait, and get each message."""
    address = await opened(session, served.url)
    [socket] = served.sio.eio.sockets.values()
    async with session.ws_connect(over_websocket(address)):
        for text in ("one", "two", "three"):
            poll = asyncio.create_task(text_of(session, address))
            while not (socket.queue.polled and socket.queue.idle):
                await turns(1)
            await turns()
            assert not poll.done()  # it waits: Engine.IO alone would answer it with nothing
            await served.log.append(text)
            assert text in await poll
            async with session.post(address, data=packets(f"after {text}")) as answer:
                assert answer.status == 200
            assert f"after {text}" in await text_of(session, address)


async def test_python_socketio_alone_answers_such_polls_with_nothing(session):
    """The control: the message stays in the queue, and the client polls as fast as it can."""
    sio, app = socketio.AsyncServer(async_mode="aiohttp"), web.Application()
    sio.attach(app)
    sio.on("connect", lambda sid, environ: None)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = await opened(session, f"http://127.0.0.1:{site.port}")
    [socket] = sio.eio.sockets.values()
    async with session.ws_connect(over_websocket(address)):
        while not socket.upgrading:
            await turns(1)
        await sio.emit("chat message", "one")
        assert [await text_of(session, address) for _ in range(3)] == ["6", "6", "6"]
        await sio.shutdown()
    await runner.cleanup()


async def test_upgrade_that_takes_too_long_is_given_up(served, session, monkeypatch):
    """The WebSocket is closed, and the client may try another one."""
    monkeypatch.setattr(websocket, "UPGRADE_TIMEOUT", 0.01)
    address = await opened(session, served.url)
    [socket] = served.sio.eio.sockets.values()
    async with session.ws_connect(over_websocket(address)) as ws:
        assert (await ws.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    while socket.queue.upgrade:
        await turns(1)
    monkeypatch.setattr(websocket, "UPGRADE_TIMEOUT", PATIENCE)
    async with session.ws_connect(over_websocket(address)) as ws:
        await ws.send_str("2probe")
        assert await ws.receive_str() == "3probe"
        await ws.send_str("5")
        await served.log.append("hello")
        assert "hello" in await ws.receive_str()


@pytest.mark.parametrize("first", ["2", "3probe", "40", "", "x", b"2probe"])
async def test_upgrade_that_begins_with_something_else_is_closed(served, session, caplog, first):
    """And polling goes on."""
    address = await opened(session, served.url)
    async with session.ws_connect(over_websocket(address)) as ws:
        await (ws.send_bytes if isinstance(first, bytes) else ws.send_str)(first)
        assert (await ws.receive()).type is not aiohttp.WSMsgType.TEXT
    await served.log.append("hello")
    assert "hello" in await text_of(session, address)
    assert caplog.records == []


async def test_what_waits_goes_over_the_websocket_after_an_upgrade_without_a_try(served, session):
    """C#'s client sends no probe, and does not poll before."""
    async with session.get(f"{served.url}/socket.io/?EIO=4&transport=polling") as answer:
        sid = (await answer.text()).split('"')[3]
    address = f"{served.url}/socket.io/?EIO=4&transport=polling&sid={sid}"
    async with session.post(address, data="40") as answer:
        assert answer.status == 200
    async with session.ws_connect(over_websocket(address)) as ws:
        await ws.send_str("5")
        assert (await ws.receive_str()).startswith("40{")


async def test_noop_means_nothing(served, session):
    """Swift's client may send one right after an upgrade."""
    address = await opened(session, served.url)
    async with session.ws_connect(over_websocket(address)) as ws:
        await ws.send_str("2probe")
        await ws.receive_str()
        for packet in ("5", "6", packets("hello")):
            await ws.send_str(packet)
        assert "hello" in await ws.receive_str()


async def test_handler_that_takes_long_is_not_given_up(tmp_path):
    """Without tasks for handlers, Engine.IO would wait for one with the patience of a ping."""
    asked, done = asyncio.Event(), []

    def slow(sio, log):
        @sio.event
        async def ask(sid):
            asked.set()
            await asyncio.sleep(1)  # longer than both times of the ping together
            done.append(sid)

    times = {"ping_interval": 0.2, "ping_timeout": 0.2, "async_handlers": False}
    async with serving(tmp_path / "chat.db", slow, **times) as server, wired(server.url) as ann:
        await ann.connect()
        await ann.ws.send_str('421["ask"]')
        await asked.wait()
        async with asyncio.timeout(PATIENCE):
            while not done:
                await turns(1)


async def test_end_goes_on_if_nobody_waits_for_it_any_more(tmp_path):
    """The application's handler of `disconnect` may take longer than Engine.IO waits."""
    begun, done = asyncio.Event(), []

    def slow(sio, log):
        @sio.event
        async def disconnect(sid, reason):
            begun.set()
            await asyncio.sleep(1)
            done.append(sid)

    times = {"ping_interval": 0.2, "ping_timeout": 0.2}
    async with serving(tmp_path / "chat.db", slow, **times) as server, wired(server.url) as ann:
        await ann.connect()
        await ann.ws.send_str("42[]")
        await begun.wait()
        async with asyncio.timeout(PATIENCE):
            while not done:
                await turns(1)
