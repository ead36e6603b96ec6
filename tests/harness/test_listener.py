"""A port: every address of its host, and nobody suffers when the files of the process run out."""

import asyncio
import contextlib
import errno
import logging
import socket
import statistics
import subprocess
import sys
import timeit
from importlib.util import find_spec

import pytest
from small_server import PATIENCE, eventually

from chatlab.harness import listener
from chatlab.harness.listener import Listener

resource = pytest.importorskip("resource", reason="on Windows connections are no files")
REFUSED = (
    "New connections are refused: "
    "this process has almost as many files open as it may (ulimit -n).\n"
)
IDLE = 120
"""How many connections come that say nothing, to a server that may open 64 files."""

SERVER = """
import asyncio, resource, sys
from aiohttp import web
from chatlab.harness import listening
from chatlab.harness.listener import CROWD

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
app = web.Application()

async def hello(request):
    return web.Response(text="hello")

async def ours():
    async with listening(app, "127.0.0.1", 0) as port:
        print(port, flush=True)
        await asyncio.Event().wait()

async def naive():
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=CROWD)
    await site.start()
    print(site.port, flush=True)
    await asyncio.Event().wait()

app.router.add_get("/", hello)
loop = asyncio
if sys.argv[2] == "uvloop":
    import uvloop as loop
with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
    runner.run(globals()[sys.argv[1]]())
"""
"""A server in a process that may open 64 files: as ours, or as asyncio does it."""


@contextlib.contextmanager
def server(*arguments):
    """Run the server; give its process, and a connection to it that has been served."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                assert ask(client) == b"hello"
                yield process, client
        finally:
            process.kill()


def ask(client):
    """Send a request on an open connection; return the answer's body."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"hello"):
        if not (more := client.recv(1000)):
            raise ConnectionResetError("the connection was closed")
        answer += more
    return answer.rpartition(b"\r\n")[2]


def median_time(client):
    """Return how long an answer takes, in seconds: the median of some."""
    return statistics.median(timeit.repeat(lambda: ask(client), number=1, repeat=50))


def newcomer_is_served(address):
    """Whether a new connection gets an answer."""
    with contextlib.suppress(ConnectionError), socket.create_connection(address, PATIENCE) as new:
        return ask(new) == b"hello"


@contextlib.contextmanager
def idle_connections(address):
    """Open connections that say nothing."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(IDLE)
        ]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_is_connected_is_served_when_files_run_out(loop):
    """Connections that are too many are closed, it is said once, and later ones are let in."""
    if not find_spec(loop):
        pytest.skip(f"{loop} is not installed")
    with server("ours", loop) as (process, client):
        address, quiet = client.getpeername(), median_time(client)
        with idle_connections(address) as idle:
            assert idle[-1].recv(1) == b""  # closed: too many
            assert median_time(client) < 10 * quiet
        eventually(lambda: newcomer_is_served(address))
        process.kill()
        assert process.stderr.read() == REFUSED


def test_server_of_asyncio_complains_without_end_when_files_run_out():
    """The control: a thousand tracebacks, where the client waits for one answer."""
    with server("naive", "asyncio") as (process, client), idle_connections(client.getpeername()):
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        complaints = 0
        while complaints < 1000:
            complaints += process.stderr.readline().startswith("socket.accept() out of system")
        client.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.recv(1)


class Said(asyncio.Protocol):
    """Says a word to whom connects, and hangs up."""

    def connection_made(self, transport):
        transport.write(b"hello")
        transport.close()


async def hear(host, port):
    """Connect; return what is said."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, port)
        said = await reader.read()
        writer.close()
        return said


@pytest.fixture
def resolve(monkeypatch):
    """A function that gives a host name some addresses."""

    def resolve(*addresses):
        def getaddrinfo(host, port, *how, getaddrinfo=socket.getaddrinfo, **more):
            if host != "class.example":
                return getaddrinfo(host, port, *how, **more)
            kinds = {True: socket.AF_INET6, False: socket.AF_INET}
            return [(kinds[":" in each], 1, 6, "", (each, port)) for each in addresses * 2]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return resolve


async def test_name_with_two_addresses_is_served_on_both(resolve):
    """On one port, although any free one was asked for; afterwards on none."""
    resolve("127.0.0.1", "127.0.0.2")
    async with Listener(Said, "class.example", 0) as open_now:
        both = [("127.0.0.1", open_now.port), ("127.0.0.2", open_now.port)]
        for address in both:
            assert await hear(*address) == b"hello"
    for address in both:
        with pytest.raises(ConnectionRefusedError):
            await hear(*address)


async def test_address_that_this_machine_does_not_have_is_left_out(resolve):
    """A name may have one for a network that is not there, as localhost has in many containers."""
    resolve("192.0.2.1", "127.0.0.1")  # the first is reserved for examples
    async with Listener(Said, "class.example", 0) as open_now:
        assert await hear("127.0.0.1", open_now.port) == b"hello"
    resolve("192.0.2.1")
    with pytest.raises(OSError, match="assign"):
        await Listener(Said, "class.example", 0)


async def test_port_that_is_taken_on_one_address_is_an_error(resolve):
    """And nothing is left open on the other."""
    resolve("127.0.0.1", "127.0.0.2")
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await Listener(Said, "class.example", port)
        with pytest.raises(ConnectionRefusedError):
            await hear("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["", "::"])
async def test_host_that_means_every_address_takes_ipv6_too(host):
    """And "0.0.0.0", the control, every one of IPv4 alone."""
    async with Listener(Said, host, 0) as open_now:
        assert await hear("127.0.0.1", open_now.port) == b"hello"
        assert await hear("::1", open_now.port) == b"hello"
    async with Listener(Said, "0.0.0.0", 0) as open_now:
        assert await hear("127.0.0.2", open_now.port) == b"hello"
        with pytest.raises(ConnectionRefusedError):
            await hear("::1", open_now.port)


async def test_listener_goes_on_after_the_system_could_not_accept(monkeypatch, caplog):
    """Another program may have taken the last file: it is said once, and tried again."""
    loop, errors = asyncio.get_running_loop(), [errno.ENFILE, errno.ENFILE, errno.ECONNABORTED]
    accept = loop.sock_accept

    async def failing(listening):
        if errors:
            code = errors.pop(0)
            raise OSError(code, "no more files")
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", failing)
    monkeypatch.setattr(listener, "PAUSE", 0)
    listener._say_once.cache_clear()
    async with Listener(Said, "127.0.0.1", 0) as open_now:
        assert await hear("127.0.0.1", open_now.port) == b"hello"
    [said] = caplog.records
    assert said.levelno == logging.WARNING
    assert "no more files" in said.message


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_connection_that_is_accepted_while_the_listener_stops_is_whole(loop):
    """It is closed when its protocol says so; uvloop would take its socket away under its hands."""
    kind = pytest.importorskip(loop)

    class Ended(Said):
        def connection_lost(self, error):
            ended.set_result(error)

    def stop_and_make():
        asyncio.get_running_loop().call_soon(open_now._tasks[0].cancel)  # as `close` does
        return Ended()

    async def main():
        nonlocal ended, open_now
        ended = asyncio.get_running_loop().create_future()
        async with Listener(stop_and_make, "127.0.0.1", 0) as open_now:
            assert await hear("127.0.0.1", open_now.port) == b"hello"
            async with asyncio.timeout(PATIENCE):
                assert await ended is None

    ended = open_now = None
    with asyncio.Runner(loop_factory=kind.new_event_loop) as runner:
        runner.run(main())


def test_process_may_open_as_many_files_as_a_class_needs(monkeypatch):
    """The limit of old programs is raised, as far as the system allows, and never lowered."""
    limits = []
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: limits.append(both))
    infinity, most = resource.RLIM_INFINITY, listener.MOST_FILES
    for before in [(1024, 4096), (1024, infinity), (20_000, 50_000), (infinity, infinity)]:
        monkeypatch.setattr(resource, "getrlimit", lambda which, before=before: before)
        listener._allow_files()
    assert limits == [(4096, 4096), (most, infinity)]


async def test_system_without_limits_is_served_too(monkeypatch):
    """As Windows is, whose Python has no module `resource`."""
    monkeypatch.setattr(listener, "resource", None)
    async with Listener(Said, "127.0.0.1", 0) as open_now:
        assert await hear("127.0.0.1", open_now.port) == b"hello"
