"""Socket.IO, attached with the corrections: what it takes, and in which order."""

import asyncio
import inspect

import aiohttp
import engineio.async_socket
import engineio.packet
import socketio
import socketio.packet
from aiohttp import web
from polling import opened, packets
from support import Hold, serving, wired

from chatlab.server.queue import PollQueue
from chatlab.server.requests import handle_packets
from chatlab.server.websocket import WebSocket


async def test_request_with_thousands_of_packets_is_taken(served):
    """What a browser collected while it was offline comes in one request."""
    texts = [f"message {number}" for number in range(5000)]
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        async with session.post(address, data=packets(*texts)) as answer:
            assert answer.status == 200
        await served.log.newer(len(texts) - 1)
    assert [message.text for message in await served.log.after(0)] == texts


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


def missing(objects):
    """Return the names that an object should have, by the list in transport.py, and has not."""
    return [name for owner, names in objects for name in names.split() if not hasattr(owner, name)]


async def test_names_that_the_libraries_do_not_document_are_there(served):
    """The list in transport.py. An update of a library that drops one of them fails here."""
    sio = served.sio
    async with aiohttp.ClientSession() as session:
        await opened(session, served.url)
        [(eio_sid, socket)] = sio.eio.sockets.items()
        request = sio.environ[eio_sid]["aiohttp.request"]
        objects = [
            (sio.eio, "create_queue handle_request sockets handlers max_http_buffer_size _async"),
            (sio.eio, "ping_interval ping_interval_grace_period send_packet logger"),
            (socket, "queue sid connected upgrading upgraded closing closed receive close poll"),
            (socket, "check_ping_timeout handle_post_request"),
            (engineio.packet, "OPEN CLOSE PING PONG MESSAGE UPGRADE NOOP"),
            (engineio.packet.Packet(encoded_packet="2"), "packet_type data binary encode"),
            (sio, "eio environ handlers manager async_handlers"),
            (sio.manager, "eio_sid_from_sid sid_from_eio_sid"),
            (socketio.packet, "CONNECT DISCONNECT EVENT ACK CONNECT_ERROR BINARY_EVENT BINARY_ACK"),
            (
                socketio.packet.Packet(encoded_packet='2["a"]'),
                "packet_type namespace id data encode decode add_attachment reconstruct_binary",
            ),
            (request, "protocol"),
            (request.protocol, "transport"),
        ]
    assert missing(objects) == []
    assert missing([(sio, "eio nothing_of_this_name")]) == ["nothing_of_this_name"]
    assert {"connect", "message"} <= set(sio.eio.handlers)
    assert sio.eio._async["websocket"].func is WebSocket
    assert socket.handle_post_request.func is handle_packets
    assert isinstance(socket.queue, PollQueue)  # made by `create_queue`
    assert inspect.ismethod(socketio.packet.Packet.reconstruct_binary)
    inspect.signature(socket.close).bind(wait=False, abort=True)


def test_libraries_work_as_the_list_in_transport_says():
    """The few facts that are no names."""
    socket = engineio.async_socket
    assert (
        "_async['websocket'](\n            self._websocket_handler, self.server"
        in inspect.getsource(socket.AsyncSocket._upgrade_websocket)
    )
    assert "b'OK'" in inspect.getsource(engineio.base_server.BaseServer._ok)
    assert "'Unable to connect'" in inspect.getsource(socketio.AsyncServer._handle_connect)
    assert "{0: itertools.count(1)}" in inspect.getsource(socketio.AsyncManager._generate_ack_id)
    poll = inspect.getsource(socket.AsyncSocket.poll)
    assert poll.index("queue.get()") < poll.index("queue.get_nowait()") < poll.index("QueueEmpty:")
    assert "get_nowait()" in inspect.getsource(asyncio.Queue.get)
    assert "put_nowait(item)" in inspect.getsource(asyncio.Queue.put)
    writes = inspect.getsource(web.WebSocketResponse)
    assert "request._protocol.transport" in writes or "request.transport" in writes
