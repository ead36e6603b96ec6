"""What strangers send to the port of the chat: it is answered with 4xx, and is not logged."""

import asyncio
import contextlib
import random
import re

import pytest
from aiohttp import web

from chatlab.harness.serving import listening
from chatlab.server import create_app

LINE = b"GET / HTTP/1.1"
SOCKET = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1"
POST = b"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1"
UPGRADE = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


def request(line=LINE, *headers, body=b""):
    """A request with a host, which asks that the connection is closed behind it."""
    return b"\r\n".join([line, b"Host: localhost", *headers, b"Connection: close", b"", body])


BROKEN = {
    "what is no HTTP in a path": request(b"GET /anything/\xff HTTP/1.1"),
    "a name that is too long for a file": request(b"GET /v/page/" + b"x" * 4000 + b" HTTP/1.1"),
    "a path that is too long": request(b"GET /" + b"x" * 9000 + b" HTTP/1.1"),
    "a path that leads out": request(b"GET /v/page/%2e%2e/%2e%2e/__init__.py HTTP/1.1"),
    "a null in a path": request(b"GET /v/page/%00 HTTP/1.1"),
    "no UTF-8 in a path": request(b"GET /v/page/%ff%fe HTTP/1.1"),
    "an address that is none": request(b"GET http://[::1/ HTTP/1.1"),
    "no method": request(b"FOO / HTTP/1.1"),
    "a method that is not for the page": request(b"DELETE / HTTP/1.1"),
    "no version": b"GET / HTTP/a.b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": request(LINE, b"Host: another"),
    "a length that is none": request(POST, b"Content-Length: -1"),
    "a header that is none": request(LINE, b"Bad Header: x"),
    "a header that is too long": request(LINE, b"X: " + b"y" * 9000),
    "an expectation": request(LINE, b"Expect: nonsense"),
    "an expectation that is no text": request(LINE, b"Expect: \xb2"),
    "a version of WebSocket that is no text": request(SOCKET, *UPGRADE[:2], KEY, b"X: \xb2"),
    "a key that is no text": request(SOCKET, *UPGRADE, b"Sec-WebSocket-Key: \xc3\xa4"),
    "an upgrade of which only a half was forwarded": request(SOCKET, UPGRADE[0]),
    "a body that is no text": request(POST, b"Content-Length: 2", body=b"\xff\xff"),
    "broken gzip": request(POST, b"Content-Encoding: gzip", b"Content-Length: 2", body=b"zz"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
WHOLE = [
    request(),
    request(LINE, b"Range: bytes=9-1", b'If-None-Match: "a", W/"b", "', b"If-Modified-Since: x"),
    request(POST, b"Transfer-Encoding: chunked", body=b"1\r\n6\r\n0\r\n\r\n"),
    request(SOCKET, *UPGRADE, KEY, body=b"\x81\x82\x00\x00\x00\x0040"),
    request(b"OPTIONS /socket.io/ HTTP/1.1", b"Origin: http://localhost"),
    request(b"GET /socket.io/?EIO=4&transport=polling&j=1 HTTP/1.1", b"Accept-Encoding: gzip"),
]
LOGGED = r"Refused (to answer by the name [\w.-]+|a client that speaks|a WebSocket without)[^\n]*"
"""What may be logged of a client that was refused: each cause once, in our own words."""


PATIENCE, SHORT = 20, 0.3
"""Seconds to wait for an answer; and where there may be none, since more is expected first."""


async def answered(port, sent, patience=PATIENCE):
    """Send bytes; return the status of the answer, None if there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status = None
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(patience):
            writer.write(sent)
            await writer.drain()
            status = re.match(rb"HTTP/1\.\d (\d+)", await reader.readline())
    writer.transport.abort()
    return status and int(status[1])


@contextlib.asynccontextmanager
async def as_aiohttp_serves(app):
    """The control: the same application, run as aiohttp runs it by itself."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.port
    await runner.cleanup()


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
async def test_broken_request_gets_its_answer_and_is_not_logged(tmp_path, caplog, sent):
    """4xx, whatever is broken about it."""
    async with listening(create_app(db=tmp_path / "chat.db"), "127.0.0.1", 0) as port:
        assert await answered(port, sent) // 100 == 4
    assert all(re.fullmatch(LOGGED, said) for said in caplog.messages)
    assert "Traceback" not in caplog.text


async def test_same_requests_upset_a_plain_server(tmp_path, caplog):
    """The control: without our `listening` some are answered with 500, and most are logged."""
    async with as_aiohttp_serves(create_app(db=tmp_path / "chat.db")) as port:
        statuses = [await answered(port, sent) for sent in BROKEN.values()]
    assert 500 in statuses
    assert caplog.text.count("Traceback") > len(BROKEN) / 3
    assert "anything" in caplog.text


async def test_no_request_upsets_the_server(tmp_path, caplog):
    """Whatever chance makes of requests: no answer is 500, and nothing unforeseen is logged."""
    chance, failed = random.Random(16), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    async with listening(create_app(db=tmp_path / "chat.db", hosts=()), "127.0.0.1", 0) as port:
        for _ in range(60):
            sent = [changed(chance, chance.choice(WHOLE)) for _ in range(10)]
            statuses = await asyncio.gather(*(answered(port, each, SHORT) for each in sent))
            assert 500 not in statuses, sent
        assert await answered(port, request()) == 200
    assert failed == []
    assert all(re.fullmatch(LOGGED, said) for said in caplog.messages)


def changed(chance, sent):
    """Return a request in which some bytes are others, missing or more."""
    sent = bytearray(sent)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(sent))
        new = chance.choice([b"\xff", b"\x00", b"\r\n", b"%", b"/", b"[", b"@", b"", b"a"])
        sent[place : place + chance.choice([0, 1, 1, 8])] = new
    return bytes(sent)
