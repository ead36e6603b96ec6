"""An application on a loop: it listens, with room for a crowd, and stops on every system."""

import asyncio
import contextlib
import gzip
import socket

import aiohttp
import pytest
from aiohttp import web
from small_server import PATIENCE, hello

from chatlab.harness.serving import listening
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
    runner = web.AppRunner(sizes())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        assert await size_of_posted_gzip(site.port) == 1_000_000
    finally:
        await runner.cleanup()
