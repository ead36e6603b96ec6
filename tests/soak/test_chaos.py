"""Chaos: many clients on bad links, a server that is killed, and a verdict that has to be valid.

One seed by default, CHATLAB_SEEDS=20 tries twenty; CHATLAB_MESSAGES=40 makes a day short.
"""

import asyncio
import contextlib
import os
from functools import partial

import pytest
import socketio
from node import Node, NodeTab
from support import tutorial

from chatlab.background import BackgroundServer
from chatlab.checker import check
from chatlab.client import ChatClient
from chatlab.history import SERVER, History
from chatlab.log import MessageLog
from chatlab.network import Link, bad_day
from chatlab.server import chat, create_app

CLIENTS, KILLS = 20, 3
MESSAGES = int(os.environ.get("CHATLAB_MESSAGES", "400"))
"""That each of them sends, on average."""
SENDS = 0.97
IN_FLIGHT = min(100, MESSAGES // 2)
"""Messages that wait for their acknowledgements at a time; a server that is killed loses those."""
NAMES = [f"tab{number:02}" for number in range(CLIENTS)]
SEEDS = range(int(os.environ.get("CHATLAB_SEEDS", "1")))
HEARTBEAT = {"ping_interval": 2, "ping_timeout": 2}

pytestmark = pytest.mark.timeout(600)


class Chaos:
    """Tabs behind links, in front of a server that can be killed."""

    def __init__(self, db, handlers, open_tab):
        self.db, self.open_tab = db, open_tab
        build = partial(
            create_app, handlers, db=db, server=partial(socketio.AsyncServer, **HEARTBEAT)
        )
        self.server = BackgroundServer(build, name=f"chaos {db}", process=True)
        self.history, self.links, self.tabs = History(), {}, {}
        self.sending, self.count = set(), 0

    async def live_through(self, day):
        """Let a day happen, then let everybody come back and catch up."""
        for mishap in day:
            if mishap.kind == "kill":
                await self.kill()
            else:
                await self.suffer(mishap.kind, self.tabs[mishap.who], self.links[mishap.who])
            while len(self.sending) > IN_FLIGHT:
                await asyncio.wait(self.sending, return_when=asyncio.FIRST_COMPLETED)
        for name, link in self.links.items():
            link.thaw()
            if not self.tabs[name].connected:
                await self.suffer("reconnect", self.tabs[name], link)
        await asyncio.gather(*self.sending)

    async def suffer(self, kind, tab, link):
        if kind == "send":
            if not tab.connected:
                await self.suffer("reconnect", tab, link)
            self.count += 1
            self.sending.add(task := asyncio.create_task(self.send(tab, f"message {self.count}")))
            task.add_done_callback(self.sending.discard)
            await asyncio.sleep(0)
        elif kind in ("cut", "freeze", "thaw", "strand"):
            getattr(link, kind)()
        else:
            link.thaw()
            with contextlib.suppress(ConnectionError):
                await getattr(tab, kind)()

    async def send(self, tab, text):
        with contextlib.suppress(ConnectionError, TimeoutError):
            await tab.send(text)

    async def kill(self):
        self.history.record("kill", SERVER)
        self.server.kill()
        self.server.start()
        self.history.record("start", SERVER)

    async def caught_up(self):
        """Wait until every tab shows the newest message; return what the log holds."""
        async with MessageLog(self.db) as log:
            for tab in self.tabs.values():
                await tab.until(lambda tab=tab: tab.connected and newest_shown(tab, log.head))
            return await log.after(0)

    async def run(self, seed):
        """Live through the day of a seed; return the verdict, and how many messages were stored."""
        async with contextlib.AsyncExitStack() as stack:
            self.server.start()
            stack.callback(self.server.stop)
            for name in NAMES:
                self.links[name] = await stack.enter_async_context(Link(self.server.port))
                self.tabs[name] = await self.open_tab(self, name).open()
                stack.push_async_callback(self.tabs[name].close)
            length = round(CLIENTS * MESSAGES / SENDS)
            await self.live_through(bad_day(seed, NAMES, length, kills=KILLS, sends=SENDS))
            stored = await self.caught_up()
            return check(self.history, stored), len(stored)


def newest_shown(tab, offset):
    """Whether a message is among the last of a page: the tutorial's server may show it early."""
    return any(message.offset == offset for message in tab.shown[-CLIENTS:])


def python_tab(transports, chaos, name):
    record, url = chaos.history.record, chaos.links[name].url
    return ChatClient(url, name, record=record, transports=transports)


def node_tab(node, transports, chaos, name):
    record, url = chaos.history.record, chaos.links[name].url
    return NodeTab(node, url, name, record=record, transports=transports)


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)], ids=["websocket", "polling"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_python_clients_get_everything_once_in_order(tmp_path, seed, transports):
    """Drops, reloads, cut and frozen and half-open links, three times kill -9."""
    chaos = Chaos(tmp_path / "chat.db", chat, partial(python_tab, transports))
    verdict, stored = await chaos.run(seed)
    assert str(verdict) == "valid: every message once and in order"
    assert stored > CLIENTS * MESSAGES * 0.8


@pytest.mark.parametrize(
    "transports",
    [["websocket"], ["polling"], ["polling", "websocket"]],
    ids=["websocket", "polling", "upgrade"],
)
@pytest.mark.parametrize("seed", SEEDS)
async def test_official_clients_get_everything_once_in_order(
    tmp_path, official_client, seed, transports
):
    """The same days, with the JavaScript client that browsers have."""
    async with Node() as node:
        chaos = Chaos(tmp_path / "chat.db", chat, partial(node_tab, node, transports))
        verdict, stored = await chaos.run(seed)
    assert str(verdict) == "valid: every message once and in order"
    assert stored > CLIENTS * MESSAGES * 0.8


async def test_tutorial_server_does_not_stand_the_same_day(tmp_path):
    """The control: the same seed, and the verdict is invalid."""
    chaos = Chaos(tmp_path / "chat.db", tutorial, partial(python_tab, ("websocket",)))
    verdict, stored = await chaos.run(SEEDS[0])
    assert verdict.outcome == "invalid"
    assert stored
