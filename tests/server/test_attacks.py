"""What a stranger sends costs the others little time and the server little memory.

An honest client's acknowledgement is measured in the same run without the attack and with it.
"""

import asyncio
import contextlib
import json
import os
import statistics
import sys
import timeit
from functools import partial

import aiohttp
import cloudpickle
import pytest
import socketio
from aiohttp import web
from engineio.payload import Payload
from support import serving, turns, wired

from chatlab.harness import BackgroundServer
from chatlab.server import create_app, queue, transport, websocket
from chatlab.server.ending import TRANSPORTS

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import this
TIMES = 10
"""How many times the quiet median an acknowledgement may take under an attack."""
ROUNDS, PACE = 40, 0.02
ATTACKERS = 5
PATIENCE = 60
MEGABYTE = 1_000_000
VALUES = b"[" + b"[]," * (MEGABYTE // 3 - 50) + b"[]]"
"""Many small lists: reading them as JSON takes long."""


def finished(folder):
    """The finished server."""
    return create_app(db=f"{folder}/chat.db")


def naive(folder):
    """python-socketio as it comes, with the tutorial's answer to a message."""
    sio, app = socketio.AsyncServer(async_mode="aiohttp"), web.Application()
    Payload.max_decode_packets = 100_000
    sio.on("connect", lambda sid, environ, auth=None: None)
    sio.on("chat message", lambda sid, *arguments: 1)
    sio.attach(app)
    return app


async def acknowledged(wire):
    """Return how long each of some acknowledgements takes, in seconds.

    They are asked for at a pace: else most would come between two steps of an attack.
    """
    times = []
    for number in range(ROUNDS):
        start = timeit.default_timer()
        await wire.emit(number + 1, "hello", f"{id(times)} {number}")
        times.append(timeit.default_timer() - start)
        await asyncio.sleep(PACE)
    return times


@contextlib.asynccontextmanager
async def attacked(attack, url):
    """Attackers, in a process of their own."""
    paths = os.pathsep.join(path for path in sys.path if path)
    attackers = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, attack.__name__, url),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            assert await attackers.stdout.readline() == b"at work\n"
        yield
        assert attackers.returncode is None
    finally:
        attackers.kill()
        await attackers.wait()


async def main(attack, url):
    """Attack a server until this process is killed; say so when each attacker has done it once.

    A real attacker has a computer of its own. This one gets what the server and the honest client
    leave of the processor: else it would slow them down without any request.
    """
    if hasattr(os, "nice"):  # not on Windows
        os.nice(19)
    at_work = asyncio.Barrier(ATTACKERS + 1)

    async def again(session):
        await attack(session, url)
        await at_work.wait()
        while True:
            await attack(session, url)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(ATTACKERS):
            group.create_task(again(session))
        await at_work.wait()
        print("at work", flush=True)


async def slower(folder, build, attack):
    """Return how many times as long an acknowledgement takes while attackers are at work."""
    with BackgroundServer(partial(build, folder), process=True) as server:
        async with wired(server.url) as wire:
            await wire.connect()
            quiet = statistics.median(await acknowledged(wire))
            async with attacked(attack, server.url):
                return statistics.median(await acknowledged(wire)) / quiet


async def post_to_nobody(session, url):
    """Bodies for a session that does not exist, on two paths."""
    for path in ("/socket.io/?EIO=4&transport=polling&sid=nobody", "/anything"):
        async with session.post(url + path, data=b"4" + VALUES):
            pass


async def begun(session, url):
    """Open a session over polling; return its address."""
    address = f"{url}/socket.io/?EIO=4&transport=polling"
    async with session.get(address) as answer:
        return f"{address}&sid={(await answer.text()).split(chr(34))[3]}"


async def post_values(session, url):
    """A body that looks like JSON, in a session of its own."""
    async with session.post(await begun(session, url), data=b"4" + VALUES):
        pass


async def send_values(session, url):
    """The same, as the auth of CONNECT and as an event, over a WebSocket."""
    for packet in (b"40" + VALUES, b'42["chat message",' + VALUES + b"]"):
        async with session.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket") as ws:
            await ws.receive()
            await ws.send_str(packet.decode())
            await ws.send_str("40")
            await ws.receive()


async def post_connects(session, url):
    """Fifty thousand times CONNECT in one request."""
    async with session.post(await begun(session, url), data="\x1e".join(["40"] * 50_000)):
        pass


ATTACKS = [post_to_nobody, post_values, send_values, post_connects]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
async def test_attack_costs_an_honest_client_little(tmp_path, attack):
    """An acknowledgement stays under ten times its quiet median."""
    assert await slower(tmp_path, finished, attack) < TIMES


@pytest.mark.slow
async def test_attack_stops_a_naive_server(tmp_path):
    """The control: python-socketio alone reads what it is sent."""
    assert await slower(tmp_path, naive, send_values) > TIMES


async def flood(served):
    """Let a client be refused many times, and read nothing.

    Return what its queue held at most, as far as was seen, and whether that was too much.
    """
    most = 0
    async with wired(served.url) as wire:
        [socket] = served.sio.eio.sockets.values()
        packet = "40/" + "x" * (transport.MAX_CONNECT - 10)
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            for _ in range(500):
                await wire.ws.send_str(packet)
                await turns(5)
                most = max(most, socket.queue.size)
        return most, socket.queue.overfull is None


async def test_client_that_reads_nothing_is_cut_off(served, monkeypatch):
    """Each packet is answered, and the answers wait: only so many of them."""
    monkeypatch.setattr(queue, "MAX_QUEUED", MEGABYTE)
    most, too_much = await flood(served)
    assert too_much
    assert most < 2 * MEGABYTE
    while served.sio.eio.sockets:
        await turns(1)


async def test_queue_without_a_bound_holds_everything(served, monkeypatch):
    """The control."""
    monkeypatch.setattr(queue, "MAX_QUEUED", sys.maxsize)
    most, too_much = await flood(served)
    assert not too_much
    assert most > 2 * MEGABYTE


SOON = {"ping_interval": 0.5, "ping_timeout": 0.5}


@pytest.mark.parametrize(("times", "last"), [(SOON, None), ({}, "9"), ({}, "42[]")])
async def test_client_that_takes_no_bytes_is_forgotten(tmp_path, monkeypatch, times, last):
    """Its connection is cut after a ping without an answer, or soon after it has broken a rule.

    What waits for it is dropped.
    """
    monkeypatch.setattr(websocket, "LAST_BYTES", 0.05)
    async with serving(tmp_path / "chat.db", **times) as served, wired(served.url) as wire:
        [socket] = served.sio.eio.sockets.values()
        wire.ws._conn.transport.pause_reading()
        while socket.queue.qsize() < 100:
            await wire.ws.send_str("40/" + "x" * (transport.MAX_CONNECT - 10))
            await turns(5)
        if last:
            await wire.ws.send_str(last)
        while served.runner.app[TRANSPORTS] or not socket.queue.empty():
            await turns(1)


async def test_long_auth_is_refused_by_name(served):
    """And the connection goes on: the client may connect with a shorter one."""
    async with wired(served.url) as wire:
        refusal = await wire.connect({"token": "x" * transport.MAX_CONNECT})
        assert json.loads(refusal.removeprefix("44"))["data"]["error"] == "bad auth"
        assert (await wire.connect({"token": "x" * (transport.MAX_CONNECT - 100)})).startswith("40")


@pytest.mark.parametrize("packet", ["430[]", "43[]", "437[]", "4399999999999[]"])
async def test_acknowledgement_that_nobody_asked_for_is_dropped(served, packet, caplog):
    """python-socketio would delete its own counter for id 0, and fail to ask anything more."""
    async with wired(served.url) as wire:
        await wire.connect()
        [sid] = served.sio.manager.rooms["/"][None]
        answers = []
        for number in (1, 2):
            await served.sio.emit("where", to=sid, callback=answers.append)
            assert await wire.packet() == f'42{number}["where"]'
            await wire.ws.send_str(packet)
            await wire.ws.send_str(f"43{number}[{number}]")
        while len(answers) < 2:
            await turns(1)
    assert answers == [1, 2]
    assert caplog.records == []


if __name__ == "__main__":
    asyncio.run(main(globals()[sys.argv[1]], sys.argv[2]))
