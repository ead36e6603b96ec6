"""Chaos: many clients on bad links, a server that is killed, and a verdict that has to be valid.

One seed by default, CHATLAB_SEEDS=20 tries twenty; CHATLAB_MESSAGES=40 makes a day short.
"""

import os
from functools import partial

import pytest
from node import Node, NodeTab
from support import Forgetful, Keyless, tutorial

import chatlab.client.tab
import chatlab.lab.bad_day
import chatlab.lab.quiet
from chatlab.client.tab import ChatClient
from chatlab.harness import bad_day
from chatlab.lab.lab import Lab
from chatlab.server.app import chat

CLIENTS, KILLS = 20, 3
MESSAGES = int(os.environ.get("CHATLAB_MESSAGES", "400"))
"""That each of them sends, on average."""
SENDS = 0.97
NAMES = [f"tab{number:02}" for number in range(CLIENTS)]
SEEDS = range(int(os.environ.get("CHATLAB_SEEDS", "1")))
HEARTBEAT = 2
PATIENCE = 60
"""Seconds in which all tabs have caught up, at the end of the day."""
TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
}

RECOVERY = pytest.mark.parametrize("recovery", [False, True], ids=["plain", "recovery"])

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A server that sends twenty clients the whole log at once may take longer than a cell may."""
    for module in (chatlab.lab.bad_day, chatlab.lab.quiet):
        monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    # A server that is killed loses what is in flight: on a short day that is not to be much.
    monkeypatch.setattr(chatlab.lab.bad_day, "IN_FLIGHT", min(100, MESSAGES // 2))


async def day(seed, server, tab, *, post=False, recovery=False):
    """Let a day happen; return the verdict, and how many messages were acknowledged.

    With `post` the messages go through outboxes, which promise that they arrive. With `recovery`
    sessions are recovered, those of a server that was killed too.
    """
    options = {"heartbeat": HEARTBEAT, "recovery": recovery, "store": recovery}
    async with Lab(server, name="chaos", process=True, **options) as lab:
        await lab.join(*NAMES, tab=tab)
        length = round(CLIENTS * MESSAGES / SENDS)
        mishaps = bad_day(seed, NAMES, length, kills=KILLS, sends=SENDS)
        await lab.live_through(mishaps, post=post)
        verdict = await lab.verdict(promised=post)
        return verdict, sum(event.kind == "acknowledge" for event in lab.history)


@RECOVERY
@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize("seed", SEEDS)
async def test_python_clients_get_everything_once_in_order(seed, transports, recovery):
    """Drops, reloads, cut and frozen and half-open links, three times kill -9."""
    tab = partial(ChatClient, transports=TRANSPORTS[transports], recover=recovery)
    verdict, acknowledged = await day(seed, chat, tab, recovery=recovery)
    assert str(verdict) == "valid: every message once and in order"
    assert acknowledged > CLIENTS * MESSAGES * 0.7


@RECOVERY
@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize("seed", SEEDS)
async def test_official_clients_get_everything_once_in_order(
    official_client, seed, transports, recovery
):
    """The same days, with the JavaScript client that browsers have."""
    async with Node() as node:
        tab = partial(NodeTab, node=node, transports=TRANSPORTS[transports])
        verdict, acknowledged = await day(seed, chat, tab, recovery=recovery)
    assert str(verdict) == "valid: every message once and in order"
    assert acknowledged > CLIENTS * MESSAGES * 0.7


@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize("seed", SEEDS)
async def test_outboxes_deliver_everything_exactly_once(seed, transports):
    """What was written is stored once, in its writer's order, and shown once on every page."""
    tab = partial(ChatClient, transports=TRANSPORTS[transports])
    verdict, acknowledged = await day(seed, chat, tab, post=True)
    assert str(verdict) == "valid: every message once and in order"
    assert verdict.unacknowledged == ()
    assert acknowledged > CLIENTS * MESSAGES * 0.9


@pytest.mark.parametrize(("outbox", "fault"), [(Forgetful, "lost"), (Keyless, "duplicated")])
async def test_outbox_that_promises_less_does_not_stand_the_same_day(outbox, fault):
    """The controls: without a second attempt messages are lost, without keys they come twice."""
    tab = partial(ChatClient, outbox=outbox)
    verdict, _ = await day(SEEDS[0], chat, tab, post=True)
    assert verdict.counts[fault]


async def test_tutorial_server_does_not_stand_the_same_day():
    """The control: the same seed, and the verdict is invalid."""
    verdict, acknowledged = await day(SEEDS[0], tutorial, ChatClient)
    assert verdict.outcome == "invalid"
    assert acknowledged
