"""A lab with several servers on one log in PostgreSQL."""

import asyncio
import sys
from contextlib import closing
from functools import partial

import asyncpg
import cloudpickle
import pytest
from labs import kinds, until
from support import ordered, tutorial

from chatlab.client.tab import ChatClient
from chatlab.harness import bad_day, shared_postgres
from chatlab.history import Diagram
from chatlab.lab.lab import Lab
from chatlab.mistakes import BadArgument
from chatlab.server.app import chat

pytestmark = pytest.mark.usefixtures("nothing_left")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import a test


def several(server=chat, servers=2, **options):
    return Lab(server, servers=servers, log="postgresql", **options)


def behind(sio, log):
    """A server that learns nothing of the others by itself."""
    log.follows = False
    chat(sio, log)


async def nothing(*place):
    """Ask nobody."""


def hasty(sio, log):
    """A server that judges a tab by what it knows itself."""
    behind(sio, log)
    log.reach = nothing


async def test_tabs_are_on_the_servers_in_turn_and_see_one_chat():
    """A tab that joins again stays where it was; a number chooses another server."""
    async with several() as lab:
        ann, bob, eve = await lab.join("ann", "bob", "eve")
        assert [tab.name for tab in lab.servers[0].tabs] == ["ann", "eve"]
        assert lab.server_of("bob") is lab.servers[1]
        assert lab.server_of("bob").port != lab.server_of("ann").port
        for number, tab in enumerate([ann, bob, eve]):
            await tab.send(str(number))
        assert (await lab.verdict()).valid
        assert ann.messages == bob.messages == eve.messages == ["0", "1", "2"]
        await lab.join("bob")
        assert lab.server_of("bob") is lab.servers[1]
        await lab.join("bob", server=0)
        assert lab.server_of("bob") is lab.servers[0]


async def test_server_that_tells_only_its_own_tabs_loses_messages():
    """The control: the checker sees it. And `quiet` waits for what has to cross the servers."""
    async with several(tutorial) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("one")
        assert str(await lab.verdict()) == 'invalid: 1 lost\nlost: bob never shows 1 "one"'
    async with several(ordered) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("one")
        await lab.quiet()
        assert bob.messages == ["one"]


@pytest.mark.parametrize(("server", "outcome"), [(behind, "continued"), (hasty, "reset")])
async def test_tab_that_moves_to_a_server_that_is_behind(server, outcome):
    """It goes on there. The control: a server that does not ask the database says "reset"."""
    async with several(server) as lab:
        ann = await lab.join("ann")
        await ann.send("one")
        await ann.sees(1)
        await lab.move("ann", 1)
        await ann.until(lambda: ann.outcome)
        assert ann.outcome["outcome"] == outcome
        assert ("reset" in kinds(lab, "ann")) == (outcome == "reset")


async def test_killed_server_and_a_database_that_ends_lose_nothing():
    """Its tabs go to another one; the others stay; what has no answer is sent again by its key."""
    async with several(process=True) as lab:
        ann, bob = await lab.join("ann", "bob")
        for number in range(20):
            ann.post(f"ann {number}")
            bob.post(f"bob {number}")
        await ann.sees(5)
        await lab.servers[1].kill()
        assert [server.running for server in lab.servers] == [True, False]
        assert (ann.connected, bob.connected) == (True, False)
        await lab.move("bob", 0)
        lab.database.stop("immediate")
        lab.database.start()
        assert (await lab.verdict(promised=True)).valid
        assert len(ann.messages) == len(bob.messages) == 40
        await lab.servers[1].start()
        await lab.move("bob", 1)
        await bob.send("back")
        assert (await lab.verdict(promised=True)).valid


async def test_server_is_stopped_and_started_while_the_others_serve():
    """Its own tabs come back to it."""
    async with several() as lab:
        ann, bob = await lab.join("ann", "bob")
        await lab.servers[1].restart()
        await ann.send("one")
        await lab.quiet()
        assert ann.messages == bob.messages == ["one"]
        assert "drop" not in kinds(lab, "ann")
        assert kinds(lab, "bob") == ["join", "drop", "reconnect", "show"]
        assert kinds(lab, "server") == ["stop", "start"]
        await lab.restart()
        assert ann.connected and bob.connected


async def test_picture_has_a_lane_for_each_server_and_says_where_a_tab_connects():
    """With one server, nothing is said."""
    async with several() as lab:
        await lab.join("ann", "bob")
        await lab.move("ann", 1)
        await lab.servers[0].stop()
        diagram = lab.diagram()
        assert diagram.lanes == ["ann", "server 0", "server 1", "bob"]
        for words in ("joins (server 0)", "reconnects (server 1)", "stops"):
            assert words in str(diagram) and words in diagram.svg
        assert "server 0 stops once" in diagram.summary
    async with Lab(chat) as lab:
        await lab.join("ann")
        await lab.restart()
        assert "(" not in str(lab.diagram())


async def test_live_demo_has_a_state_and_buttons_for_each_server():
    """And those of one server are as they always were."""
    async with several() as lab:
        view = lab.live().lab and lab._live.view
        await lab.servers[1].stop()
        picture = view.picture(False)
        assert picture.facts == {"server 0": "running", "server 1": "stopped", "newest offset": 0}
        assert picture.buttons == ["stop 0", "start 1"]
    async with Lab(chat) as lab:
        lab.live()
        assert lab._live.view.picture(False).buttons == ["stop"]


async def test_server_in_several_is_held_and_the_others_go_on():
    """`pause` takes the number of the server."""
    async with several(ordered) as lab:
        ann, bob = await lab.join("ann", "bob")
        pause = await lab.pause(bob.reload(), server=1)
        await ann.send("one")
        await ann.sees(1)
        assert bob.messages == []
        await pause.go_on()
        assert await bob.sees(1) == ["one"]


async def test_day_kills_the_servers_in_turn():
    """The mishaps of chapter 08, on two servers."""
    names = ("ann", "bob", "eve")
    async with several(process=True, heartbeat=1) as lab:
        await lab.join(*names)
        await lab.live_through(bad_day(3, names, 40, kills=2), post=True)
        assert (await lab.verdict(promised=True)).valid
        killed = [event.text for event in lab.history.of("server") if event.kind == "kill"]
        assert killed == ["server 0", "server 1"]


async def test_closed_lab_leaves_no_database():
    """Also if somebody is connected to it."""
    async with several() as lab:
        beside = await asyncpg.connect(lab.db)
    await until(beside.is_closed)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(lab.db)
    assert shared_postgres().running


async def test_lab_can_be_closed_while_the_database_is_stopped():
    """The picture still says what was stored at the last look."""
    lab = await several()
    ann = await lab.join("ann")
    await ann.send("one")
    assert str(lab.diagram())
    lab.database.stop("immediate")
    await lab.close()
    assert isinstance(lab.diagram(), Diagram)
    assert shared_postgres().start().running


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"servers": 2}, "only one server can have a file of SQLite"),
        ({"servers": 0, "log": "postgresql"}, "servers is a number, from 1 on"),
        ({"log": "redis"}, "log is 'sqlite' or 'postgresql'"),
    ],
)
async def test_options_that_do_not_go_together_are_a_sentence(options, words):
    """Before anything starts."""
    with pytest.raises(BadArgument, match=words):
        Lab(chat, **options)


async def held(lab):
    with closing(asyncio.sleep(0)) as action:
        await lab.pause(action, server=2)


async def test_server_that_is_not_there_is_a_sentence():
    """For a tab that joins or moves, and for a pause."""
    async with several() as lab:
        await lab.join("ann")
        for action in lab.join("bob", server=2), lab.move("ann", -1), held(lab):
            with pytest.raises(BadArgument, match="the servers have the numbers 0 to 1"):
                await action


async def test_one_server_can_have_its_log_in_postgresql():
    """With all that a lab can do."""
    async with Lab(tutorial, log="postgresql", keep=2) as lab:
        ann, bob = await lab.join("ann", "bob", tab=ChatClient)
        for text in "abc":
            await ann.send(text)
        await lab.restart()
        await bob.reload()
        await lab.quiet()
        assert bob.messages == ["b", "c"]
        assert lab.reads > 0


@pytest.mark.parametrize("store", [True, False])
async def test_tab_is_recovered_by_another_server_if_its_session_is_in_the_database(store):
    """Without `store`, the control, each server has its own sessions."""
    async with Lab(chat, servers=2, log="postgresql", recovery=True, store=store) as lab:
        ann, bob = await lab.join("ann", "bob", tab=partial(ChatClient, recover=True))
        await lab.quiet()
        await ann.drop()
        await bob.send("meanwhile")
        await lab.move("ann", 1)
        await ann.sees(1)
        assert ann.recovered is store
        assert (await lab.verdict()).valid
