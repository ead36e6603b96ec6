"""Clients in other languages are served over polling and through their upgrades, without loss."""

import asyncio
import base64
import contextlib

import aiohttp
import pytest
from imitations import BY_NAME, KINDS, Imitation

THREE = ["one", "two", "three"]
"""Messages that are sent within one second, and often within one millisecond."""
PATIENCE = 20
"""Seconds after which a client that should be served at once is not."""


@contextlib.asynccontextmanager
async def imitated(name, served):
    """A client in another language, before its first request."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        yield Imitation(BY_NAME[name], session, served.url)


def same(kind, texts, expected):
    """Whether the texts are the expected ones: in order, if their requests were in order."""
    return texts == expected if kind.alone else sorted(texts) == sorted(expected)


async def in_the_log(served):
    return [message.text for message in await served.log.after(0)]


@pytest.mark.parametrize("name", [kind.name for kind in KINDS])
async def test_client_that_polls_is_served(served, name):
    """Three messages within a second are stored, acknowledged and shown once, whatever `t` is."""
    async with imitated(name, served) as client:
        await client.handshake()
        if name == "Rust":
            await client.post("3")  # a PONG that nobody has asked for
        await client.post("40")
        async with client.polling():
            await client.accepted.wait()
            await client.send(*THREE)
            await client.until(lambda: len(client.answers) == len(client.shown) == 3)
            if client.kind.leaves == "41":
                await client.post("41")
    assert same(client.kind, client.shown, THREE)
    assert sorted(client.answers.values()) == [[1], [2], [3]]
    assert same(client.kind, await in_the_log(served), THREE)


async def test_message_in_one_request_with_the_goodbye_is_stored(served):
    """Swift posts all that waits together with CLOSE (SocketEngine.swift, disconnectPolling)."""
    async with imitated("Swift", served) as client:
        await client.handshake()
        await client.post("40")
        await client.poll()
        await client.post(client.message(0, "bye"), "1")
    await served.log.newer(0)
    assert await in_the_log(served) == ["bye"]
    assert client.sid not in served.sio.eio.sockets


async def test_binary_with_line_breaks_is_answered(served):
    """Java's base64 has a line break after 76 characters and at its end (Parser.java)."""
    attachment = base64.encodebytes(bytes(100)).decode()
    assert attachment.count("\n") == 2
    event = '451-0["chat message",{"_placeholder":true,"num":0}]'
    async with imitated("Java", served) as client:
        await client.handshake()
        await client.post("40")
        async with client.polling():
            await client.accepted.wait()
            await client.post(event, f"b{attachment}")
            await client.until(lambda: 0 in client.answers)
            await client.send("text")
    assert client.answers[0][0]["error"]
    await served.log.newer(0)
    assert await in_the_log(served) == ["text"]


async def upgrades(client, ws):
    """Upgrade as all clients do, but for the poll that some of them have to wait for."""
    await ws.send_str("2probe")
    assert await ws.receive_str() == "3probe"


async def test_client_that_upgrades_while_it_polls_is_served(served):
    """Java: Socket.java, probe. It sends the upgrade when its poll has come back."""
    async with imitated("Java", served) as client:
        await client.handshake()
        await client.post("40")
        await client.poll()
        await client.send("over polling")
        poll = asyncio.create_task(client.poll())
        async with client.websocket("EIO=4&transport=websocket&sid={sid}") as ws:
            await upgrades(client, ws)
            await poll
            await ws.send_str("5")
            async with client.reading(ws):
                await client.send(*THREE, post=ws.send_str)
                await client.until(lambda: len(client.shown) == 4)
    assert client.shown == await in_the_log(served) == ["over polling", *THREE]


async def test_client_that_sends_a_noop_after_its_upgrade_is_served(served):
    """Swift: SocketEngine.swift, upgradeTransport, while a POST is under way."""
    async with imitated("Swift", served) as client:
        await client.handshake()
        await client.post("40")
        await client.poll()
        query = "transport=websocket&EIO=4&sid={sid}"
        poll = asyncio.create_task(client.poll())
        async with client.websocket(query) as ws:
            await upgrades(client, ws)
            await poll
            await ws.send_str("5")
            await ws.send_str("6")
            async with client.reading(ws):
                await client.send(*THREE, post=ws.send_str)
                await client.until(lambda: len(client.shown) == len(client.answers) == 3)
                await ws.send_str("1")
    assert client.shown == await in_the_log(served) == THREE


@pytest.mark.parametrize(
    ("name", "query"),
    [
        # engineio/src/client/client.rs, build_websocket: and a PONG that nobody has asked for
        ("Rust", "EIO=4&sid={sid}&transport=websocket"),
        # engine.io/v4/client/client.go, handleHandshake
        ("Go", "EIO=4&sid={sid}&transport=websocket"),
    ],
)
async def test_client_that_upgrades_before_its_first_poll_is_served(served, name, query):
    """It connects over the WebSocket."""
    async with imitated(name, served) as client:
        await client.handshake()
        async with client.websocket(query) as ws:
            await upgrades(client, ws)
            await ws.send_str("5")
            if name == "Rust":
                await ws.send_str("3")
            await ws.send_str("40")
            async with client.reading(ws):
                await client.accepted.wait()
                await client.send(*THREE, post=ws.send_str)
                await client.until(lambda: len(client.shown) == len(client.answers) == 3)
    assert client.shown == await in_the_log(served) == THREE


async def test_client_that_upgrades_without_a_probe_is_served(served):
    """C# 4 posts CONNECT, never polls, and begins a WebSocket with the upgrade.

    (src/SocketIOClient/Session/WebSocket/WebSocketSession.cs, ConnectCoreAsync.) The official
    server accepts it, and the answer to CONNECT comes over the WebSocket.
    """
    async with imitated("C# 4", served) as client:
        await client.handshake()
        await client.post("40")
        async with client.websocket("EIO=4&transport=websocket&sid={sid}") as ws:
            await ws.send_str("5")
            async with client.reading(ws):
                await client.accepted.wait()
                await client.send(*THREE, post=ws.send_str)
                await client.until(lambda: len(client.shown) == len(client.answers) == 3)
                await ws.send_str("41")
    assert client.shown == await in_the_log(served) == THREE


async def test_websocket_of_cpp_is_served(served):
    """socketio/socket.io-client-cpp, src/internal/sio_client_impl.cpp: whole seconds as `t`."""
    query = "EIO=4&transport=websocket&t=1764291600"
    async with imitated("C# 3", served) as client, client.websocket(query) as ws:
        await ws.receive_str()
        await ws.send_str("40")
        async with client.reading(ws):
            await client.accepted.wait()
            await client.send(*THREE, post=ws.send_str)
            await client.until(lambda: len(client.shown) == len(client.answers) == 3)
    assert client.shown == await in_the_log(served) == THREE
