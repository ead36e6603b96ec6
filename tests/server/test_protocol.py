"""The protocols of Engine.IO (version 4) and Socket.IO (version 5), rule by rule.

Each rule is tried on the server with its corrections, and the rules that python-socketio alone does
not keep are the control. The sections are those of the protocols' documents:
https://socket.io/docs/v4/engine-io-protocol/ and https://socket.io/docs/v4/socket-io-protocol/
"""

import asyncio
import contextlib
import gc
import json
from types import SimpleNamespace

import aiohttp
import engineio.async_socket
import pytest
import socketio
from aiohttp import WSMsgType, web
from support import Clock, turns

from chatlab.recovery import Recovery
from chatlab.server.packets import StrictPacket
from chatlab.server.transport import attach

PATIENCE = 10
CLOSED = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
RULES, BROKEN = [], []
"""The rules, each with the options of the server; and those that python-socketio alone breaks."""


def rule(section, *, plain=True, **options):
    """Note a rule of a section; `plain` says whether python-socketio alone keeps it."""

    def note(check):
        param = pytest.param(check, options, id=f"{section}: {check.__name__}")
        RULES.append(param)
        BROKEN.extend([] if plain else [param])
        return check

    return note


def handlers(sio):
    """The handlers that the rules of Socket.IO are tried with, in two namespaces."""
    for namespace in ("/", "/custom"):

        async def connect(sid, environ, auth=None, namespace=namespace):
            sio.start_background_task(sio.emit, "auth", auth or {}, to=sid, namespace=namespace)

        async def message(sid, *arguments, namespace=namespace):
            await sio.emit("message-back", arguments, to=sid, namespace=namespace)

        async def answered(sid, *arguments):
            return arguments

        sio.on("connect", connect, namespace=namespace)
        sio.on("message", message, namespace=namespace)
        sio.on("message-with-ack", answered, namespace=namespace)


def echo(sio):
    """The handler that the rules of Engine.IO are tried with: it sends back what it gets."""

    async def back(eio_sid, data):
        await sio.eio.send(eio_sid, data)

    sio.eio.on("message", back)


class Peer:
    """A client that speaks the protocols by hand."""

    def __init__(self, sio, session, url):
        self.sio, self.session, self.url = sio, session, url

    def address(self, sid=None, transport="polling"):
        return f"{self.url}?EIO=4&transport={transport}" + (f"&sid={sid}" if sid else "")

    async def asked(self, method, address, body=None):
        """Return the status and the text of an answer."""
        async with self.session.request(method, address, data=body) as answer:
            return answer.status, await answer.text()

    async def opened(self):
        """Open a session over polling; return its id."""
        _, text = await self.asked("GET", self.address())
        return json.loads(text[1:])["sid"]

    async def poll(self, sid):
        return await self.asked("GET", self.address(sid))

    async def post(self, sid, body):
        return await self.asked("POST", self.address(sid), body)

    def socket(self, sid=None):
        return self.session.ws_connect(self.address(sid, "websocket"), max_msg_size=0)

    @contextlib.asynccontextmanager
    async def upgraded(self, sid):
        """A WebSocket to which a session has upgraded."""
        async with self.socket(sid) as ws:
            await ws.send_str("2probe")
            assert await ws.receive_str() == "3probe"
            await ws.send_str("5")
            await self.until(lambda: self.sio.eio.sockets[sid].upgraded)
            yield ws

    @contextlib.asynccontextmanager
    async def connected(self):
        """A WebSocket that is connected to the main namespace."""
        async with self.socket() as ws:
            await ws.receive()
            await ws.send_str("40")
            assert (await ws.receive_str()).startswith("40{")
            assert await ws.receive_str() == '42["auth",{}]'
            yield ws

    async def until(self, condition):
        while not condition():
            await turns(1)


@contextlib.asynccontextmanager
async def peer(made, serve, prepare, **options):
    """Serve Socket.IO with handlers; give a client of it."""
    times = {"ping_interval": 25, "ping_timeout": 20} | options
    sio = socketio.AsyncServer(async_mode="aiohttp", **made, **times)
    app = web.Application()
    if serve is attach:
        attach(sio, app)
    else:
        sio.attach(app)
    prepare(sio)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
            yield Peer(sio, session, f"http://127.0.0.1:{site.port}/socket.io/")
    finally:
        await runner.cleanup()


async def closed(ws):
    """Read to the end of a WebSocket; return the packets before it."""
    packets = []
    while (message := await ws.receive()).type not in CLOSED:
        packets.append(message.data)
    return packets


# Engine.IO


@rule("Handshake", plain=False, ping_interval=0.3, ping_timeout=0.2)
async def the_first_packet_says_how_the_session_works(peer):
    status, text = await peer.asked("GET", peer.address())
    async with peer.socket() as ws:
        over_websocket = await ws.receive_str()
    for packet, upgrades in ((text, ["websocket"]), (over_websocket, [])):
        data = json.loads(packet.removeprefix("0"))
        assert isinstance(data.pop("sid"), str)
        times = {"pingInterval": 300, "pingTimeout": 200}
        assert data == {"upgrades": upgrades, "maxPayload": 1_000_000} | times
    assert status == 200


@rule("Query parameters")
async def a_version_is_needed_and_it_is_4(peer):
    for query in ("transport=polling", "EIO=abc&transport=polling", "EIO=3&transport=polling"):
        assert (await peer.asked("GET", f"{peer.url}?{query}"))[0] == 400


@rule("Query parameters", plain=False)
async def a_transport_is_needed_and_it_is_one_of_two(peer):
    for query in ("EIO=4", "EIO=4&transport=abc", "EIO=4&transport="):
        assert (await peer.asked("GET", f"{peer.url}?{query}"))[0] == 400
        with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
            await peer.session.ws_connect(f"{peer.url}?{query}")


@rule("Handshake", plain=False)
async def a_session_begins_with_get(peer):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await peer.asked(method, peer.address()))[0] == 400


@rule("Sending data")
async def an_unknown_session_is_refused(peer):
    for method in ("GET", "POST"):
        assert (await peer.asked(method, peer.address("nobody"), "4hello"))[0] == 400


@rule("Sending data", plain=False)
async def a_request_with_packets_is_answered_with_ok(peer):
    sid = await peer.opened()
    for body in ("4hello", "4one\x1e4two\x1e4three", "4hello\x1ebAQIDBA=="):
        assert await peer.post(sid, body) == (200, "ok")
        assert await peer.poll(sid) == (200, body)


@rule("Packet encoding", plain=False)
async def a_packet_that_is_none_ends_a_session(peer):
    for body in ("abc", "", "4hello\x1eabc", "bA", "\x1e"):
        sid = await peer.opened()
        assert (await peer.post(sid, body))[0] == 400
        assert (await peer.poll(sid))[0] == 400


@rule("Receiving data", plain=False)
async def two_polls_at_once_end_a_session(peer):
    sid = await peer.opened()
    first = asyncio.create_task(peer.poll(sid))
    await peer.until(lambda: peer.sio.eio.sockets[sid].queue._getters)
    assert (await peer.poll(sid))[0] == 400
    assert await first == (200, "1")
    assert (await peer.poll(sid))[0] == 400


@rule("Receiving data", plain=False)
async def a_poll_that_is_given_up_ends_a_session(peer):
    sid = await peer.opened()
    poll = asyncio.create_task(peer.poll(sid))
    await peer.until(lambda: peer.sio.eio.sockets[sid].queue._getters)
    poll.cancel()
    await asyncio.wait([poll])
    assert (await peer.poll(sid))[0] == 400


@rule("WebSocket")
async def each_packet_is_a_frame(peer):
    async with peer.socket() as ws:
        await ws.receive()
        await ws.send_str("4hello")
        await ws.send_bytes(b"\1\2\3\4")
        assert await ws.receive_str() == "4hello"
        assert await ws.receive_bytes() == b"\1\2\3\4"


@rule("Packet encoding")
async def a_frame_that_is_no_packet_ends_a_session(peer):
    async with peer.socket() as ws:
        await ws.receive()
        await ws.send_str("abc")
        async with asyncio.timeout(1):
            await closed(ws)


@rule("Heartbeat", ping_interval=0.01)
async def a_ping_is_answered_with_pong_over_polling(peer):
    sid = await peer.opened()
    for _ in range(3):
        assert await peer.poll(sid) == (200, "2")
        assert (await peer.post(sid, "3"))[0] == 200


@rule("Heartbeat", ping_interval=0.01)
async def a_ping_is_answered_with_pong_over_websocket(peer):
    async with peer.socket() as ws:
        await ws.receive()
        for _ in range(3):
            assert await ws.receive_str() == "2"
            await ws.send_str("3")


@rule("Heartbeat", plain=False, ping_interval=0.01)
async def a_session_without_pong_ends_over_polling(peer):
    sid = await peer.opened()
    await peer.until(lambda: peer.sio.eio.sockets[sid].last_ping)
    peer.clock.now += peer.sio.eio.ping_timeout + 1
    assert (await peer.poll(sid))[0] == 400


@rule("Heartbeat", ping_interval=0.01, ping_timeout=0.3)
async def a_session_without_pong_ends_over_websocket(peer):
    async with peer.socket() as ws:
        await ws.receive()
        assert await ws.receive_str() == "2"
        peer.clock.now += 1
        await closed(ws)


@rule("Packet encoding", plain=False)
async def close_ends_a_session_and_its_poll(peer):
    sid = await peer.opened()
    poll = asyncio.create_task(peer.poll(sid))
    await peer.until(lambda: peer.sio.eio.sockets[sid].queue._getters)
    assert (await peer.post(sid, "1"))[0] == 200
    assert await poll == (200, "6")
    assert (await peer.poll(sid))[0] == 400


@rule("Packet encoding", plain=False)
async def close_ends_a_websocket(peer):
    async with peer.socket() as ws:
        await ws.receive()
        await ws.send_str("1")
        await closed(ws)


@rule("Upgrade", plain=False)
async def polling_ends_with_noop_and_the_websocket_goes_on(peer):
    sid = await peer.opened()
    async with peer.socket(sid) as ws:
        await ws.send_str("2probe")
        assert await ws.receive_str() == "3probe"
        assert await peer.poll(sid) == (200, "6")
        await ws.send_str("5")
        await ws.send_str("4hello")
        assert await ws.receive_str() == "4hello"


@rule("Upgrade")
async def a_poll_that_waits_ends_with_noop(peer):
    sid = await peer.opened()
    poll = asyncio.create_task(peer.poll(sid))
    await peer.until(lambda: peer.sio.eio.sockets[sid].queue._getters)
    async with peer.upgraded(sid) as ws:
        assert await poll == (200, "6")
        await ws.send_str("4hello")
        assert await ws.receive_str() == "4hello"


@rule("Upgrade", plain=False)
async def requests_after_an_upgrade_are_refused(peer):
    sid = await peer.opened()
    async with peer.upgraded(sid) as ws:
        assert (await peer.poll(sid))[0] == 400
        assert (await peer.post(sid, "4hello"))[0] == 400
        await ws.send_str("4hello")
        assert await ws.receive_str() == "4hello"


@rule("WebSocket", plain=False)
async def a_second_websocket_is_closed_and_the_first_goes_on(peer):
    sid = await peer.opened()
    async with peer.upgraded(sid) as ws:
        async with peer.socket(sid) as second:
            assert await closed(second) == []
        await ws.send_str("4hello")
        assert await ws.receive_str() == "4hello"


# Socket.IO


@rule("Connection to a namespace", handlers=True)
async def a_namespace_is_connected_with_an_auth_or_without(peer):
    asked = {"40": "40", '40{"token":"123"}': "40", "40/custom,": "40/custom,"}
    asked['40/custom,{"token":"abc"}'] = "40/custom,"
    for packet, prefix in asked.items():
        async with peer.socket() as ws:
            await ws.receive()
            await ws.send_str(packet)
            [key] = json.loads((await ws.receive_str()).removeprefix(prefix))
            assert key == "sid"
            auth = packet.removeprefix(prefix) or "{}"
            assert await ws.receive_str() == prefix.replace("0", "2") + f'["auth",{auth}]'


@rule("Connection to a namespace", plain=False, handlers=True)
async def an_unknown_namespace_is_refused(peer):
    async with peer.socket() as ws:
        await ws.receive()
        await ws.send_str("40/random")
        assert await ws.receive_str() == '44/random,{"message":"Invalid namespace"}'


@rule("Connection to a namespace", plain=False, handlers=True, deadline=0.1)
async def a_connection_that_never_connects_is_closed(peer):
    async with peer.socket() as ws:
        await ws.receive()
        await ws.send_str("40/nope,")
        await ws.receive()
        await closed(ws)


@rule("Disconnection from a namespace", handlers=True)
async def a_namespace_is_left_and_the_other_stays(peer):
    async with peer.connected() as ws:
        await ws.send_str("40/custom")
        assert (await ws.receive_str()).startswith("40/custom,")
        assert (await ws.receive_str()).startswith("42/custom,")
        await ws.send_str("41/custom")
        await ws.send_str('42["message","to the main namespace"]')
        assert await ws.receive_str() == '42["message-back","to the main namespace"]'


@rule("Sending and receiving data", handlers=True)
async def an_event_goes_both_ways(peer):
    async with peer.connected() as ws:
        await ws.send_str('42["message",1,"2",{"3":[true]}]')
        assert await ws.receive_str() == '42["message-back",1,"2",{"3":[true]}]'


@rule("Acknowledgement", handlers=True)
async def an_event_with_an_id_is_acknowledged(peer):
    async with peer.connected() as ws:
        await ws.send_str('42456["message-with-ack",1,"2",{"3":[false]}]')
        assert await ws.receive_str() == '43456[1,"2",{"3":[false]}]'


@rule("Packet encoding", handlers=True)
async def bytes_are_attached(peer):
    places = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(2))
    calls = {f'452-["message",{places}]': f'452-["message-back",{places}]'}
    calls[f'452-789["message-with-ack",{places}]'] = f"462-789[{places}]"
    async with peer.connected() as ws:
        for sent, got in calls.items():
            await ws.send_str(sent)
            await ws.send_bytes(b"\1\2\3")
            await ws.send_bytes(b"\4\5\6")
            answer = [(await ws.receive()).data for _ in range(3)]
            assert answer == [got, b"\1\2\3", b"\4\5\6"]


@rule("Packet encoding", plain=False, handlers=True)
async def an_invalid_packet_ends_a_connection(peer):
    for packet in ("4abc", "42{}", '42abc["message-with-ack",1,"2",{"3":[false]}]', "43{}", "42"):
        async with peer.connected() as ws:
            await ws.send_str(packet)
            async with asyncio.timeout(1):
                await closed(ws)


async def kept(check, monkeypatch, serve, made, options):
    """Try a rule: it raises AssertionError, or a timeout, if the server does not keep it."""
    clock = Clock()
    monkeypatch.setattr(engineio.async_socket, "time", SimpleNamespace(time=clock))
    times = dict(options)
    deadline = times.pop("deadline", PATIENCE)
    monkeypatch.setattr("chatlab.server.transport.CONNECT_TIMEOUT", deadline)
    prepare = handlers if times.pop("handlers", False) else echo
    async with peer(made, serve, prepare, **times) as client:
        client.clock = clock
        await check(client)


@pytest.mark.parametrize(("check", "options"), RULES)
async def test_server_keeps_the_rule(check, options, monkeypatch):
    """Every rule, by the server with the corrections."""
    await kept(check, monkeypatch, attach, {"serializer": StrictPacket}, options)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("check", "options"), BROKEN)
async def test_python_socketio_alone_breaks_the_rule(check, options, monkeypatch, caplog):
    """The control: each of these tests fails without the corrections."""
    monkeypatch.setattr(f"{__name__}.PATIENCE", 1)
    with pytest.raises((AssertionError, aiohttp.ClientError, TimeoutError, pytest.fail.Exception)):
        await kept(check, monkeypatch, None, {}, options)
    await turns()
    gc.collect()  # python-socketio alone leaves connections open: they are warned of here


async def test_recovery_adds_its_offsets_and_nothing_else(monkeypatch):
    """CONNECT has a pid too, and an event its offset as the last argument."""
    made = Recovery().options(StrictPacket)
    async with peer(made, attach, handlers) as client, client.socket() as ws:
        await ws.receive()
        await ws.send_str('40{"pid":""}')
        assert list(json.loads((await ws.receive_str())[2:])) == ["sid", "pid"]
        name, auth, offset = json.loads((await ws.receive_str())[2:])
        assert (name, auth, type(offset)) == ("auth", {"pid": ""}, str)
