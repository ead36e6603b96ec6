"""Chaos with three servers: tabs that land anywhere, servers and a database that are killed.

One seed by default, CHATLAB_SEEDS=20 tries twenty; CHATLAB_MESSAGES=40 makes a day short.
"""

import asyncio
import contextlib
import os
import random
import sys
from functools import partial

import asyncpg
import cloudpickle
import pytest
import socketio
from node import Node, NodeTab

import chatlab.lab.bad_day
from chatlab.client import ChatClient
from chatlab.harness import BackgroundServer, Link, Postgres, bad_day
from chatlab.history import History, check
from chatlab.lab.bad_day import BadDay
from chatlab.log import LogError
from chatlab.messages import Message
from chatlab.recovery import Recovery, SharedStore
from chatlab.server import chat, create_app

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import this
SERVERS, CLIENTS = 3, 40
MISHAPS = ["server", "server", "database", "server"] * 2
"""What is killed, one after the other."""
MESSAGES = int(os.environ.get("CHATLAB_MESSAGES", "400"))
"""That each client sends, on average."""
SENDS = 0.97
NAMES = [f"tab{number:02}" for number in range(CLIENTS)]
SEEDS = range(int(os.environ.get("CHATLAB_SEEDS", "1")))
HEARTBEAT = 2
LATE = 0.2
"""Seconds that a server which is far from the database needs to read."""
PATIENCE = 120
"""Seconds in which all tabs have sent what they have, and caught up."""
ROWS = "SELECT id, content FROM messages ORDER BY id"

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("official_client")]


def sessions(url):
    return Recovery(store=SharedStore(url))


class Balancer(Link):
    """A link that leads each new connection to one of several servers, by chance."""

    def __init__(self, ports, chance):
        super().__init__(ports[0])
        self.ports, self.chance = ports, chance

    def _accept(self, *client):
        self.server_port = self.chance.choice(self.ports)
        super()._accept(*client)


class Cluster:
    """A database, three servers, and forty tabs, each behind a balancer. Enter it to open it."""

    def __init__(self, seed, handlers):
        self.seed, self.chance = seed, random.Random(seed)
        self.handlers, self.history = handlers, History()
        self.kills, self.mending = iter(MISHAPS), []

    async def __aenter__(self):
        async with contextlib.AsyncExitStack() as stack:
            self.database = stack.enter_context(Postgres())
            options = {"ping_interval": HEARTBEAT, "ping_timeout": HEARTBEAT}
            build = partial(
                create_app,
                self.handlers,
                db=self.database.url(),
                server=partial(socketio.AsyncServer, **options),
                recovery=partial(sessions, self.database.url()),
            )
            self.servers = [
                stack.enter_context(BackgroundServer(build, name=f"server {n}", process=True))
                for n in range(SERVERS)
            ]
            node = await stack.enter_async_context(Node())
            self.tabs, self.links = {}, {}
            for number, name in enumerate(NAMES):
                await self._open(stack, node, number, name)
            self._stack = stack.pop_all()
        return self

    async def _open(self, stack, node, number, name):
        ports = [server.port for server in self.servers]
        chance = random.Random(f"{self.seed} {name}")
        link = self.links[name] = await stack.enter_async_context(Balancer(ports, chance))
        if number % 2:
            tab = NodeTab(
                link.url, name, record=self.history.record, node=node, transports=["websocket"]
            )
        else:
            recover = number % 4 == 0
            tab = ChatClient(link.url, name, record=self.history.record, recover=recover)
        self.tabs[name] = await tab.open()
        stack.push_async_callback(tab.close)

    async def __aexit__(self, *exc_info):
        await self._stack.aclose()

    async def live_through(self, day):
        """Let a day happen; then wait until all is mended and sent, and all tabs have the newest.

        Return the verdict, and the messages in the log.
        """
        await BadDay(self.tabs, self.links, self._kill, post=True).happen(day)
        await asyncio.gather(*self.mending)
        tabs = self.tabs.values()
        await asyncio.gather(*(self._has_sent(tab) for tab in tabs))
        stored = await self._stored()
        newest = stored[-1].offset
        await asyncio.gather(*(self._has(tab, newest) for tab in tabs))
        return check(self.history, stored, promised=True), stored

    async def _has_sent(self, tab):
        while not (tab.connected or tab.returning):  # its last attempt met a server that was away
            with contextlib.suppress(ConnectionError):
                await tab.reconnect()
        await tab.until(lambda: not tab.pending, "sends what it has", PATIENCE)

    async def _has(self, tab, newest):
        def there():
            return tab.connected and tab.shown and tab.shown[-1].offset == newest

        await tab.until(there, "has the newest message", PATIENCE)

    async def _stored(self):
        database = await asyncpg.connect(self.database.url())
        try:
            return [Message(*row) for row in await database.fetch(ROWS)]
        finally:
            await database.close()

    def _kill(self):
        """Kill what is next, and let it start again while everybody writes."""
        if next(self.kills) == "server":
            up = [server for server in self.servers if server.running]
            victim = self.chance.choice(up or self.servers)
            victim.kill()
            mend = partial(self._start, victim)
        else:
            mend = self._restart_database
        self.mending.append(asyncio.create_task(asyncio.to_thread(mend)))

    def _start(self, server):
        """Start a server as a supervisor does: again, if the database does not answer yet."""
        while True:
            with contextlib.suppress(RuntimeError, LogError):
                server.start()
                return

    def _restart_database(self):
        self.database.stop("immediate")
        self.database.start()


async def day(seed, handlers=chat):
    """Let a day happen to a cluster; return the verdict, and the cluster."""
    async with Cluster(seed, handlers) as cluster:
        length = round(CLIENTS * MESSAGES / SENDS)
        mishaps = bad_day(seed, NAMES, length, kills=len(MISHAPS), sends=SENDS)
        verdict, stored = await cluster.live_through(mishaps)
        shown = [[message.offset for message in tab.shown] for tab in cluster.tabs.values()]
        return verdict, stored, shown, cluster


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A database that recovers may take longer than a cell may."""
    monkeypatch.setattr(chatlab.lab.bad_day, "PATIENCE", PATIENCE)


def far_from_the_database(sio, log):
    """A server that is late to learn what others have stored: clients are ahead of it."""
    read = log._read

    async def late():
        await asyncio.sleep(LATE)
        return await read()

    log._read = log._follower._read = late
    chat(sio, log)


@pytest.mark.parametrize("handlers", [chat, far_from_the_database], ids=["near", "far"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_tabs_get_everything_once_in_order_from_any_server(seed, handlers):
    """Drops, reloads, bad links, six times kill -9 of a server, twice an end of the database."""
    verdict, stored, shown, cluster = await day(seed, handlers)
    assert str(verdict) == "valid: every message once and in order"
    assert verdict.unacknowledged == ()
    assert shown == [list(range(1, len(stored) + 1))] * CLIENTS
    assert "reset" not in {event.kind for event in cluster.history}
    assert len(stored) > CLIENTS * MESSAGES * 0.9


SEQUENCE = """
INSERT INTO messages SELECT nextval('numbers'), key, text FROM unnest($1::text[], $2::text[])
AS sent (key, text) ON CONFLICT (client_offset) DO UPDATE SET content = excluded.content
RETURNING id
"""


def numbered_by_a_sequence(sio, log):
    """The control: nobody waits for another's commit, so a smaller offset may appear later."""

    async def store(batch, texts):
        async def insert(db):
            await db.execute("CREATE SEQUENCE IF NOT EXISTS numbers")
            return [row[0] for row in await db.fetch(SEQUENCE, keys, texts)]

        keys = [item.client_offset for item in batch]
        return log.head, 0, await log._connections.call(insert)

    log._store = store
    chat(sio, log)


def judged_by_this_server_alone(sio, log):
    """The control: a client that is ahead of the server is told that its offset is of no log."""

    async def reach(offset, epoch=None):
        pass

    log.reach = reach
    far_from_the_database(sio, log)


async def test_log_whose_offsets_come_from_a_sequence_loses():
    """The same day."""
    verdict, *_ = await day(SEEDS[0], numbered_by_a_sequence)
    assert verdict.counts["lost"]


async def test_client_that_is_ahead_and_is_told_to_reset_shows_messages_out_of_turn():
    """The same day."""
    verdict, *_ = await day(SEEDS[0], judged_by_this_server_alone)
    assert verdict.counts["duplicated"] + verdict.counts["reordered"]
