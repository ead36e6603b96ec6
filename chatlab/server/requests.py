"""Engine.IO's requests: what is wrong with one is found before Engine.IO can lose a message.

It knows requests and the connections that they belong to. It must not know Socket.IO.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import engineio
from aiohttp import hdrs, web
from engineio.async_socket import AsyncSocket
from engineio.exceptions import EngineIOError

from chatlab.server import websocket
from chatlab.server.ending import close, end
from chatlab.server.packets import SEPARATOR, engine_packet
from chatlab.server.queue import Answered, PollQueue

UNREADABLE = (ValueError, ConnectionError, web.RequestPayloadError, web.HTTPRequestEntityTooLarge)
"""What is raised for a body that is not complete, too long or not readable."""
FEW = 5
"""Packets of one request that are handled before other connections have their turn."""
UPGRADE_POLL = 0.1
"""Seconds after which a poll during an upgrade is answered, as in the official server."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Requests:
    """Gives the requests that are valid to Engine.IO's `answer`, and refuses the others.

    `transports` has the transports of the requests that are being answered, for `hang_up`.
    """

    def __init__(
        self, eio: engineio.AsyncServer, answer: Handler, transports: set[asyncio.Transport]
    ) -> None:
        self._eio, self._answer, self._transports = eio, answer, transports

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request. It is no error if the client hangs up before it has the answer."""
        query = _query(request)
        if "transport" not in query or "j" in query:  # `j` is of JSONP, which older versions had
            return bad_request()
        transport = request.transport
        self._transports.add(transport)
        try:
            return await self._serve(request)
        except ConnectionResetError:
            return web.Response()
        finally:
            self._transports.discard(transport)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        socket = self._eio.sockets.get(_query(request).get("sid"))
        if socket is None or request.method == hdrs.METH_OPTIONS:
            # A new connection, or the question of a browser. Engine.IO refuses an unknown sid.
            return await self._answer(request)
        if request.method == hdrs.METH_GET and _upgrades(request):
            taken = socket.upgraded or socket.queue.upgrade
            return await (websocket.refuse if taken else self._answer)(request)
        if socket.upgraded or socket.closing:
            return bad_request()
        if _is_repeated(request, socket.queue) or not await socket.check_ping_timeout():
            return await self._refuse(socket)
        return await (self._poll if request.method == hdrs.METH_GET else self._post)(
            request, socket
        )

    async def _poll(self, request: web.Request, socket: AsyncSocket) -> web.StreamResponse:
        socket.upgrading = False  # Engine.IO would answer a poll at once, and the next one again
        with _under_way(request.method, socket.queue), _short_while_upgrading(socket.queue):
            answer = await self._answer(request)
        _note_answered(request, socket.queue)
        if request.transport is None or request.transport.is_closing():
            await end(self._eio, socket.sid)  # nobody gets what was taken out of the queue
        return answer

    async def _post(self, request: web.Request, socket: AsyncSocket) -> web.StreamResponse:
        try:
            with _under_way(request.method, socket.queue):
                socket.queue.posted = _texts(await request.read(), self._eio.max_http_buffer_size)
        except UNREADABLE:
            return await self._refuse(socket)
        answer = await self._answer(request)
        _note_answered(request, socket.queue)
        if answer.body == b"OK":  # https://socket.io/docs/v4/engine-io-protocol/#sending-data
            answer.body = b"ok"
        return answer

    async def _refuse(self, socket: AsyncSocket) -> web.Response:
        await end(self._eio, socket.sid)
        return bad_request()


def _upgrades(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


def _query(request: web.Request) -> dict[str, str]:
    """Return the parameters of a request as Engine.IO reads them, which is not as aiohttp does.

    See https://socket.io/docs/v4/engine-io-protocol/#query-parameters.
    """
    return {name: values[0] for name, values in parse_qs(request.query_string).items()}


def _is_repeated(request: web.Request, queue: PollQueue) -> bool:
    """Whether a client sends a request again, or two polls or two bodies at once.

    Then its connection has to end.

    Browsers and aiohttp repeat a request by themselves if the connection breaks before the answer
    arrives. Then the messages in the first answer are lost, and Engine.IO would go on after them.
    Official clients mark each request with a `t` of its own. Where `t` is a number, such as the
    time in seconds (C#), two requests may share it: it is a repeat if the answer may be lost.
    Some clients do not mark their requests at all.
    """
    mark = _query(request).get("t")
    last = queue.answered.get(request.method)
    if request.method in queue.under_way:
        return True
    if mark is None or last is None or mark != last.mark:
        return False
    return last.may_be_lost or not mark.isdecimal()


@contextlib.contextmanager
def _under_way(method: str, queue: PollQueue) -> Iterator[None]:
    """Note that a poll waits, or that the body of a POST is read."""
    queue.under_way.add(method)
    try:
        yield
    finally:
        queue.under_way.discard(method)


def _note_answered(request: web.Request, queue: PollQueue) -> None:
    """Note that a request has its answer, and whether its connection may be used again.

    A proxy may send "Connection: upgrade" with every request, and close the connection after it.
    """
    kept = request.keep_alive and "upgrade" not in request.headers.get(hdrs.CONNECTION, "").lower()
    mark = _query(request).get("t")
    queue.answered[request.method] = Answered(mark, request.transport, kept)


@contextlib.contextmanager
def _short_while_upgrading(queue: PollQueue) -> Iterator[None]:
    """End a poll soon if the client waits for its end, to go on with a WebSocket."""
    if not (queue.upgrade and queue.upgrade.probed):
        yield
        return
    timer = asyncio.get_running_loop().call_later(UPGRADE_POLL, queue.end_poll)
    try:
        yield
    finally:
        timer.cancel()


def _texts(body: bytes, longest: int) -> Iterator[str]:
    """Yield the packets of a body. Raises ValueError if it is too long, or no text."""
    if len(body) > longest:
        raise ValueError("a request that is too long")
    return _split(body.decode())


def _split(text: str) -> Iterator[str]:
    """Yield the packets of a request one by one: of thousands, the second may be the last."""
    start = 0
    while (end := text.find(SEPARATOR, start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


async def handle_packets(
    eio: engineio.AsyncServer, socket: AsyncSocket, environ: dict[str, Any]
) -> None:
    """Handle the packets of a POST. Raises EngineIOError for one that is not valid.

    Engine.IO's own method takes the part of the body that has arrived for all of it: it would lose
    the messages in the rest. And it looks for JSON in each packet.
    """
    texts, socket.queue.posted = socket.queue.posted, ()
    for number, text in enumerate(texts):
        if socket.closing:
            break
        if number % FEW == FEW - 1:
            await asyncio.sleep(0)
        try:
            packet = engine_packet(text)
        except ValueError as error:
            await close(socket)
            raise EngineIOError(str(error)) from error
        await socket.receive(packet)
    if socket.closed:
        socket.queue.end_poll()
        eio.sockets.pop(socket.sid, None)


def bad_request() -> web.Response:
    """Return the answer to a request that is not valid."""
    return web.Response(status=web.HTTPBadRequest.status_code)


async def bad_method(request: web.Request) -> web.Response:
    """Answer a request whose method Engine.IO does not have."""
    return bad_request()
