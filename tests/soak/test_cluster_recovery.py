"""A server is killed, and its clients are recovered on another one: events once and in order.

CHATLAB_MOVES=10 makes it ten moves.
"""

import asyncio
import contextlib
import os
import sys
from functools import partial

import cloudpickle
import pytest
from test_recovery_node import TRANSPORTS, opened

from chatlab.client import ChatClient
from chatlab.harness import BackgroundServer, Link, Postgres
from chatlab.messages import CHAT_MESSAGE
from chatlab.recovery import Recovery, SharedStore
from chatlab.server import create_app

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import this
MOVES = int(os.environ.get("CHATLAB_MOVES", "60"))
EVENTS = 70
"""That are emitted for each move, half of them while the client is away."""

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("official_client")]


def rooms(sio, log):
    """Clients that join a room; events to it, numbered, and as chat messages too."""

    @sio.event
    async def join(sid, room):
        await sio.enter_room(sid, room)
        await sio.save_session(sid, {"name": "Ada"})
        return (await sio.get_session(sid))["name"]

    @sio.event
    async def emit(sid, first, last, room):
        for number in range(first, last):
            await sio.emit("tick", number, to=room)

    @sio.event
    async def say(sid, first, last):
        for number in range(first, last):
            await sio.emit(CHAT_MESSAGE, (f"message {number}", number))


def sessions(url, store):
    return Recovery(store=store and store(url))


class Cluster:
    """Two servers in processes of their own, of which one serves, and a third that emits."""

    def __init__(self, stack, url, store):
        build = partial(create_app, rooms, db=url, recovery=partial(sessions, url, store))
        self.servers = [
            stack.enter_context(BackgroundServer(build, name=f"server {n}", process=n < 2))
            for n in range(3)
        ]
        self.link = Link(self.servers[0].port)

    async def open(self, stack):
        await stack.enter_async_context(self.link)
        teller = ChatClient(self.servers[2].url, "teller", recover=False)
        self.teller = await teller.open()
        stack.push_async_callback(self.teller.close)

    async def ask(self, *event):
        return await self.teller._connector.ask(*event)

    async def move(self):
        """Kill the server that serves; lead the clients to the other, and start the first again."""
        serving, other = self.servers[:2]
        self.link.server_port = other.port
        self.servers[:2] = other, serving
        await asyncio.to_thread(serving.kill)
        return asyncio.create_task(asyncio.to_thread(serving.start))


@contextlib.asynccontextmanager
async def cluster(store=SharedStore):
    async with contextlib.AsyncExitStack() as stack:
        url = stack.enter_context(Postgres()).url()
        made = Cluster(stack, url, store)
        await made.open(stack)
        yield made


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_official_client_is_recovered_on_another_server(transports):
    """Sid, room and session; and each event once and in order, emitted through a third server."""
    async with cluster() as servers, opened(servers.link.url, transports) as page:
        first = await page.hear("connect")
        page.tell("join")
        async with asyncio.timeout(60):
            while not page.got:  # it is not in the room yet
                await servers.ask("emit", -1, 0, "kitchen")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(page.has(1), 0.2)
        share = EVENTS // 2
        for begin in range(0, MOVES * share, share):
            emitting = asyncio.create_task(servers.ask("emit", begin, begin + share, "kitchen"))
            starting = await servers.move()
            assert await page.hear("connect") == {"sid": first["sid"], "recovered": True}
            await asyncio.gather(emitting, starting)
        while page.got[-1] != MOVES * share - 1:
            await page.hear("tick")
        assert [number for number in page.got if number >= 0] == list(range(MOVES * share))


async def test_tab_is_recovered_on_another_server():
    """Four thousand events over sixty such moves, with one sid."""
    async with cluster() as servers:
        tab = await ChatClient(servers.link.url, recover=True).open()
        first = 1
        for _ in range(MOVES):
            await servers.ask("say", first, first + EVENTS // 2)
            await tab.sees(first)
            saying = asyncio.create_task(servers.ask("say", first + EVENTS // 2, first + EVENTS))
            starting = await servers.move()
            await tab.until(lambda: tab.connected and tab.recovered)
            await asyncio.gather(saying, starting)
            first += EVENTS
        await tab.sees(first - 1)
        assert [message.offset for message in tab.shown] == list(range(1, first))
        await tab.close()


async def test_tab_is_not_recovered_where_each_server_has_its_own_sessions():
    """The control."""
    async with cluster(store=None) as servers:
        tab = await ChatClient(servers.link.url, recover=True).open()
        await servers.ask("say", 1, 2)
        starting = await servers.move()
        await tab.until(lambda: tab.connected and not tab.recovered)
        await starting
        await tab.close()
