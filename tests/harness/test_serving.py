"""An application on a loop: it listens, with room for a crowd, and stops on every system."""

import asyncio
import contextlib
import gzip
import socket

import aiohttp
import pytest
from aiohttp import web
from small_server import PATIENCE, hello

from chatlab.client.tab import ChatClient
from chatlab.harness import serving
from chatlab.harness.serving import HEADERS_SIZE, MOST_HEADERS, listening
from chatlab.server.app import create_app


async def test_server_stops_on_a_loop_without_readers(monkeypatch):
    """As Windows has it: the port is free afterwards, as everywhere."""

    loop = asyncio.get_running_loop()
    remove_reader = loop.remove_reader

    def missing_for_us(file):
        if not isinstance(file, int):  # asyncio gives the number, to readers that it still has
            raise NotImplementedError
        return remove_reader(file)

    monkeypatch.setattr(loop, "remove_reader", missing_for_us)
    async with listening(hello(), "127.0.0.1", 0) as port:
        socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_crowd_that_comes_at_once_finds_room(tmp_path):
    """Before one of them is accepted: asyncio's own room is for a hundred, and the others wait."""
    with contextlib.ExitStack() as stack:
        async with listening(create_app(db=tmp_path / "chat.db"), "127.0.0.1", 0) as port:
            for _ in range(300):
                one = stack.enter_context(socket.socket())
                one.settimeout(PATIENCE)
                one.connect(("127.0.0.1", port))


@contextlib.asynccontextmanager
async def as_aiohttp_does(app):
    """Serve an application as aiohttp does it by itself: the control."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.port
    finally:
        await runner.cleanup()


PACKED = gzip.compress(bytes(1_000_000))


async def size_of_posted_gzip(port):
    """Post a body that unpacks to a megabyte; return how many bytes of it the handler reads."""
    headers = {"Content-Encoding": "gzip"}
    url = f"http://127.0.0.1:{port}/size"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=PACKED, headers=headers) as answer,
    ):
        return int(await answer.text())


def sizes():
    """An application that says how long a body is."""

    async def size(request):
        return web.Response(text=str(len(await request.read())))

    app = web.Application()
    app.router.add_post("/size", size)
    return app


async def test_compressed_body_is_not_unpacked():
    """A stranger who sends a kilobyte costs a kilobyte, whatever it unpacks to."""
    async with listening(sizes(), "127.0.0.1", 0) as port:
        assert await size_of_posted_gzip(port) == len(PACKED)


async def test_runner_of_aiohttp_unpacks_a_compressed_body():
    """The control: as aiohttp runs an application, it is a thousand times as much."""
    async with as_aiohttp_does(sizes()) as port:
        assert await size_of_posted_gzip(port) == 1_000_000


GET = b"GET /say HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
MANY = b"".join(b"X-%d: x\r\n" % number for number in range(MOST_HEADERS))
LARGE = b"".join(
    b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(HEADERS_SIZE // 8000 + 1)
)


async def answer_to(port, *sent):
    """Send bytes on a new connection, and return all that comes until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.writelines(sent)
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(("headers", "status"), [(MANY, b" 400 "), (LARGE, b" 431 ")])
async def test_headers_of_a_stranger_are_bounded(headers, status, caplog):
    """In number and in size, and nothing of them stays: the connection is closed. aiohttp takes a
    megabyte of them, and keeps it while the connection is open."""
    async with listening(hello(), "127.0.0.1", 0) as port:
        assert status in await answer_to(port, GET, headers, b"\r\n")
    assert caplog.records == []  # a stranger writes nothing on the terminal
    async with as_aiohttp_does(hello()) as port:
        assert b" 200 " in await answer_to(port, GET, headers, b"Connection: close\r\n\r\n")


async def test_headers_of_a_browser_behind_proxies_are_taken():
    """Thirty of them, and as many bytes of cookies as a header may have."""
    some = b"".join(b"X-%d: x\r\n" % number for number in range(30))
    cookies = b"Cookie: %s\r\nConnection: close\r\n\r\n" % (b"x" * 8000)
    async with listening(hello(), "127.0.0.1", 0) as port:
        assert b" 200 " in await answer_to(port, GET, some, cookies)


@pytest.mark.parametrize("begun", [b"", GET, POST + b"x" * 500], ids=["nothing", "headers", "body"])
async def test_request_that_does_not_come_ends_its_connection(monkeypatch, begun, caplog):
    """Whatever of it has come; and the server says nothing. With aiohttp's server it is open."""
    monkeypatch.setattr(serving, "IN_TIME", 0.2)
    async with as_aiohttp_does(sizes()) as other:
        reader, writer = await asyncio.open_connection("127.0.0.1", other)
        writer.write(begun)
        async with listening(sizes(), "127.0.0.1", 0) as port:
            assert await answer_to(port, begun) == b""
        assert not reader.at_eof()
        assert caplog.records == []
        writer.close()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_tab_that_is_silent_for_long_stays_connected(tmp_path, monkeypatch, transport):
    """The control: only who owes a request is hung up on."""
    monkeypatch.setattr(serving, "IN_TIME", 0.2)
    async with listening(create_app(db=tmp_path / "chat.db"), "127.0.0.1", 0) as port:
        happened = []
        ann = ChatClient(
            f"http://127.0.0.1:{port}",
            record=lambda kind, *message: happened.append(kind),
            transports=(transport,),
        )
        await ann.open()
        assert await answer_to(port) == await answer_to(port) == b""  # twice as long, then
        await ann.send("hello")
        assert "drop" not in happened
        await ann.close()


BROKEN = b"POST /size HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno length"


@pytest.mark.parametrize(
    "sent", [b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n", BROKEN]
)
async def test_request_that_nobody_can_read_is_no_error_of_the_server(sent, caplog):
    """It is answered, and a stranger's words are on nobody's terminal. aiohttp logs them."""
    async with listening(sizes(), "127.0.0.1", 0) as port:
        assert b" 400 " in await answer_to(port, sent)
    assert caplog.records == []
    async with as_aiohttp_does(sizes()) as port:
        await answer_to(port, sent)
    assert caplog.records


async def test_error_of_a_handler_is_logged(caplog):
    """The control: what is wrong in the server is said."""

    async def fail(request):
        raise KeyError("in a handler")

    app = web.Application()
    app.router.add_get("/", fail)
    async with listening(app, "127.0.0.1", 0) as port:
        sent = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert b" 500 " in await answer_to(port, sent)
    assert "in a handler" in caplog.text
