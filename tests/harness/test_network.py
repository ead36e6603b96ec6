"""The bad network: each of its faults is what it says, seen from both sides."""

import asyncio
import contextlib
import gc
import socket
import warnings

import pytest

import chatlab.harness.network
from chatlab.harness.network import Link


class Echo:
    """A server that sends back what it gets, and remembers how its connections ended."""

    async def __aenter__(self):
        self.ended, self.received = asyncio.Queue(), 0
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info):
        self.server.close()
        await self.server.wait_closed()

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.received += len(data)
                writer.write(data)
                await writer.drain()
        self.ended.put_nowait("ended")
        writer.close()


@pytest.fixture
async def echo():
    async with Echo() as server:
        yield server


@contextlib.asynccontextmanager
async def client(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def turns(count=50):
    """Give everything that could happen without a network time to happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_open_link_carries_bytes_both_ways(echo):
    """A megabyte goes through and comes back."""
    sent = bytes(range(256)) * 4096
    async with Link(echo.port) as link, client(link.port) as (reader, writer):
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent


async def test_end_of_one_side_reaches_the_other(echo):
    """A client that closes is noticed by the server."""
    async with Link(echo.port) as link, client(link.port) as (_, writer):
        writer.close()
        assert await echo.ended.get() == "ended"


async def test_link_keeps_nothing_open_for_a_client_that_the_server_has_ended():
    """The client says nothing and closes nothing: it gets the last bytes, and that is all."""

    async def serve(reader, writer):
        writer.write(b"goodbye")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Link(port) as link, client(link.port) as (reader, _):
        while not link._wires:
            await turns(1)
        [wire] = link._wires
        await asyncio.wait([wire.task])
        assert [leg.transport.is_closing() for leg in wire.legs] == [True, True]
        assert await reader.read() == b"goodbye"
    server.close()


async def test_break_of_one_side_reaches_the_other():
    """When the server breaks its connection, so does the client's, once the link has thawed."""
    begun, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        await reader.readexactly(1)
        begun.set()
        await gone.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Link(port) as link, client(link.port) as (reader, writer):
        writer.write(b"xy")  # one byte is never read: closing such a connection breaks it
        await begun.wait()
        link.freeze()
        gone.set()
        await turns()
        assert not reader.at_eof()
        link.thaw()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def test_cut_link_breaks_both_sides_and_can_be_used_again(echo):
    """The client and the server notice at once; the next connection works."""
    async with Link(echo.port) as link:
        async with client(link.port) as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            link.cut()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            await echo.ended.get()
        async with client(link.port) as (reader, writer):
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"


async def test_frozen_link_passes_nothing_until_it_thaws(echo):
    """Not the bytes, and not the end of the connection; then all of it, in order."""
    async with Link(echo.port) as link, client(link.port) as (reader, writer):
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        link.freeze()
        writer.write(b"b")
        writer.write_eof()
        await turns()
        assert echo.ended.empty()
        link.thaw()
        assert await reader.read() == b"b"
        await echo.ended.get()


async def test_stranded_server_does_not_notice(echo):
    """The client's side is broken; the server's side is open until the link is closed."""
    async with Link(echo.port) as link, client(link.port) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        link.strand()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await turns()
        assert echo.ended.empty()
        async with client(link.port) as (again, other):
            other.write(b"y")
            assert await again.readexactly(1) == b"y"
            assert echo.ended.empty()
    await echo.ended.get()
    await echo.ended.get()


async def test_link_that_is_frozen_one_way_lets_the_other_pass(echo):
    """Up: the server gets nothing. Down: it gets the bytes, and its answer is held back."""
    async with Link(echo.port) as link, client(link.port) as (reader, writer):
        for direction, heard in (("up", 1), ("down", 2)):
            link.freeze(direction)
            writer.write(b"x")
            await link.holds()
            await turns()
            assert echo.received == heard - 1 + (direction == "down")
            link.thaw()
            assert await reader.readexactly(1) == b"x"
            assert echo.received == heard


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_link_that_is_frozen_one_way_takes_no_connection(echo, direction):
    """Opening one takes both ways; what waited passes in the end."""
    async with Link(echo.port) as link:
        link.freeze(direction)
        async with client(link.port) as (reader, writer):
            writer.write(b"x")
            await link.holds()
            await turns()
            assert echo.received == 0
            link.thaw()
            assert await reader.readexactly(1) == b"x"
            await link.lose()  # nothing is frozen: it does not wait
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""


async def test_what_a_frozen_link_holds_can_be_lost(echo):
    """The server never gets it, and the next connection works."""
    async with Link(echo.port) as link, client(link.port) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        link.freeze("up")
        writer.write(b"lost")
        await link.lose()
        await echo.ended.get()
        async with client(link.port) as (again, other):
            other.write(b"y")
            assert await again.readexactly(1) == b"y"
        assert echo.received == 2


async def test_slow_link_takes_the_time_it_should(echo, monkeypatch):
    """A delay for each chunk, and a time for its bytes; the sleeps are only noted."""
    slept, sleep = [], asyncio.sleep

    async def noted(seconds):
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("chatlab.harness.network.asyncio.sleep", noted)
    async with Link(echo.port, delay=2, rate=10) as link, client(link.port) as (reader, writer):
        writer.write(b"x" * 50)
        await reader.readexactly(50)
        assert slept == [7, 7]


async def test_link_to_nowhere_ends_the_connection():
    """Where no server listens, the client is not left waiting."""
    async with Echo() as gone:
        port = gone.port
    async with Link(port) as link, client(link.port) as (reader, _):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def test_closed_link_leaves_no_task(echo):
    """Whatever its connections were doing: flowing, frozen or stranded."""
    before = asyncio.all_tasks()
    async with Link(echo.port) as link, client(link.port) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        link.strand()
        async with client(link.port) as (again, other):
            other.write(b"y")
            await again.readexactly(1)
            link.freeze()
            other.write(b"z")
            await turns()
    await echo.ended.get()
    await echo.ended.get()
    await turns()
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("steps", range(6))
def test_connection_that_is_made_while_the_link_closes_leaves_no_socket(steps):
    """Whenever it comes: asyncio accepts a connection in several steps, and any may be the last."""

    async def close_early():
        async with Link(1) as link:
            stack.enter_context(socket.create_connection(("127.0.0.1", link.port)))
            await turns(steps)

    with contextlib.ExitStack() as stack, warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        asyncio.run(close_early())
        gc.collect()
    assert complaints == []


async def test_link_listens_where_it_is_told(echo):
    """On another address of this machine, on a port of choice; a taken one is an error."""
    async with Link(echo.port) as free:
        port = free.port
    async with Link(echo.port, host="127.0.0.2", listen=port) as link:
        assert link.url == f"http://127.0.0.2:{port}"
        reader, writer = await asyncio.open_connection("127.0.0.2", port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.transport.abort()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(OSError, match="in use"):
            await Link(echo.port, host="127.0.0.2", listen=port)


async def test_link_knows_whose_connection_the_server_sees():
    """The server sees a port of the link, and the link knows the client behind it."""
    seen = asyncio.Queue()

    async def serve(reader, writer):
        seen.put_nowait(writer.get_extra_info("peername")[1])
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        Link(server.sockets[0].getsockname()[1], host="0.0.0.0") as link,
        client(link.port) as (reader, _),
    ):
        assert link.url == f"http://127.0.0.1:{link.port}"
        mine = await seen.get()
        _, other = await asyncio.open_connection(
            "127.0.0.1", link.port, local_addr=("127.0.0.3", 0)
        )
        theirs = await seen.get()
        assert (link.client_at(mine), link.client_at(theirs)) == ("127.0.0.1", "127.0.0.3")
        other.transport.abort()
        link.cut()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await turns()
        assert (link.client_at(mine), link.client_at(theirs)) == (None, None)


async def test_bytes_that_a_frozen_link_holds_are_counted(echo):
    """In the direction in which they go, until they have passed or their connection is cut."""
    async with Link(echo.port) as link, client(link.port) as (reader, writer):
        assert link.in_flight == {"up": 0, "down": 0}
        link.freeze("down")
        writer.write(b"12345")
        await link.holds()
        assert link.in_flight == {"up": 0, "down": 5}
        link.thaw()
        assert await reader.readexactly(5) == b"12345"
        assert link.in_flight == {"up": 0, "down": 0}
        link.freeze()
        writer.write(b"lost")
        await link.holds()
        assert link.in_flight == {"up": 4, "down": 0}
        link.cut()
        await turns()
        assert link.in_flight == {"up": 0, "down": 0}


async def test_cut_reaches_a_new_connection_that_waits(echo):
    """A frozen link held it, and nothing of it arrives after the thaw."""
    async with Link(echo.port) as link:
        link.freeze()
        async with client(link.port) as (reader, writer):
            writer.write(b"hello")
            await link.holds()
            link.cut()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        link.thaw()
        async with client(link.port) as (reader, writer):
            writer.write(b"hi")
            assert await reader.readexactly(2) == b"hi"
        assert echo.received == len("hi")


async def test_frozen_link_holds_only_so_many_new_connections(echo, monkeypatch):
    """The others are broken off: each of them would be an open file until the thaw."""
    monkeypatch.setattr(chatlab.harness.network, "MOST_WAITING", 2)
    async with Link(echo.port) as link, contextlib.AsyncExitStack() as stack:
        link.freeze()
        for count in (1, 2):
            await stack.enter_async_context(client(link.port))
            while len(link._waiting) < count:
                await turns()
        reader, _ = await stack.enter_async_context(client(link.port))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        assert len(link._waiting) == 2


def test_connection_that_breaks_is_no_error_on_uvloop():
    """The program runs on it if it is installed. Its transports raise what asyncio's do not."""
    uvloop = pytest.importorskip("uvloop")
    errors = []

    async def broken():
        asyncio.get_running_loop().set_exception_handler(lambda loop, error: errors.append(error))
        async with Echo() as echo, Link(echo.port) as link:
            for _ in range(20):
                async with client(link.port) as (reader, writer):
                    writer.write(b"x" * 100_000)
                    await reader.read(1)
                    [wire] = link._wires
                    wire.legs[0].transport.abort()
                await asyncio.wait([wire.task])
        gc.collect()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(broken())
    assert errors == []
