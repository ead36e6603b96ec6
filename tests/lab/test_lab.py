"""The lab, as the cells of a notebook use it."""

import asyncio
import os
import sys
import threading
from functools import partial

import cloudpickle
import pytest
from labs import echo, kinds, until
from support import tutorial

from chatlab.client.tab import ChatClient
from chatlab.lab.lab import Lab
from chatlab.server.app import chat

pytestmark = pytest.mark.usefixtures("nothing_left")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import a test


def broken(sio):
    """A server with a bug in its handler."""

    @sio.on("chat message")
    async def chat_message(sid, text):
        raise KeyError(text)


async def test_cells_of_a_chapter_do_what_they_say():
    """Start, join, drop, send, reconnect, quiet, look at the page, draw, close."""
    lab = await Lab(tutorial)
    ann, bob = await lab.join("ann", "bob")
    await bob.drop()
    assert await ann.send("are you there?") == 1
    await bob.reconnect()
    await lab.quiet()
    assert bob.messages == ann.messages == ["are you there?"]
    assert "catch-up" in lab.diagram().svg
    assert kinds(lab, "bob") == ["join", "drop", "reconnect", "show"]
    await lab.close()
    await lab.close()
    assert kinds(lab, "bob")[-1] == "close"


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
async def test_finished_server_runs_in_the_lab(process):
    """With its endless streams the lab is quiet all the same, when everybody has everything."""
    async with Lab(chat, process=process) as lab:
        ann, bob = await lab.join("ann", "bob")
        for number in range(10):
            await ann.send(str(number))
        await lab.quiet()
        assert ann.messages == bob.messages == [str(number) for number in range(10)]


async def test_start_cell_that_is_run_again_leaves_one_lab():
    """The second lab has an empty database, the first is closed with its tabs and its folder."""
    first = await Lab(tutorial)
    ann = await first.join("ann")
    await ann.send("hello")
    second = await Lab(tutorial)
    assert (first.server.running, second.server.running) == (False, True)
    assert not ann.connected
    assert not first.db.parent.exists()
    bob = await second.join("bob")
    await second.quiet()
    assert bob.messages == []
    await first.close()  # it has no place any more, and closes nothing of the second
    assert second.server.running
    await second.close()


async def test_lab_of_another_name_is_left_alone():
    """A trial beside the lab: two servers, two databases."""
    async with Lab(echo) as lab, Lab(echo, name="trial") as trial:
        assert lab.server.running
        assert trial.server.running
        assert lab.server.port != trial.server.port


async def test_error_of_the_lab_before_does_not_stop_the_start_cell():
    """Who has repaired the handler runs the start cell again, and it starts."""
    first = await Lab(broken)
    ann = await first.join("ann")
    with pytest.raises(KeyError):
        await ann.send("hello")
    await ann._connector.current.emit("chat message", "nobody waits for this")
    await until(lambda: first.server.errors)
    async with Lab(echo) as second:
        assert second.server.running


async def test_taken_name_is_given_to_a_new_tab():
    """The old tab is closed first; the history has one name."""
    async with Lab(echo) as lab:
        old = await lab.join("ann")
        new = await lab.join("ann")
        assert (old.connected, new.connected) == (False, True)
        assert lab.clients == {"ann": new}
        assert kinds(lab, "ann") == ["join", "close", "join"]


@pytest.mark.parametrize("name", ["server", "server 1"])
async def test_name_of_a_server_is_refused(name):
    """In a history it means the server."""
    async with Lab(echo) as lab:
        with pytest.raises(ValueError, match="is a server's own name"):
            await lab.join(name)
        assert await lab.join("server room")


async def test_error_in_a_handler_is_raised_where_its_answer_is_awaited():
    """In the very cell that sends; the lab goes on."""
    async with Lab(broken) as lab:
        ann = await lab.join("ann")
        for _ in range(2):
            with pytest.raises(KeyError, match="hello"):
                await ann.send("hello")
        await lab.quiet()


async def test_error_in_a_process_is_raised_in_the_cell_too():
    """It comes from another process, and is of its own type all the same."""
    async with Lab(broken, process=True) as lab:
        ann = await lab.join("ann")
        with pytest.raises(KeyError, match="hello"):
            await ann.send("hello")


@pytest.mark.parametrize("what", ["quiet", "join", "close"])
async def test_error_that_nobody_waits_for_is_raised_in_the_next_cell(what):
    """A tab of the browser may have caused it: whatever the lab is asked next says so, once."""
    lab = await Lab(broken)
    ann = await lab.join("ann")
    await ann._connector.current.emit("chat message", "nobody waits for this")
    await until(lambda: lab.server.errors)
    with pytest.raises(BaseExceptionGroup) as raised:
        await {"quiet": lab.quiet, "join": lambda: lab.join("bob"), "close": lab.close}[what]()
    assert raised.group_contains(KeyError, match="nobody waits")
    await lab.close()


async def test_error_in_the_connect_handler_is_raised_by_join():
    """A tab that joins waits for the answer of the connect handler."""

    def server(sio):
        @sio.event
        async def connect(sid, environ, auth):
            raise KeyError("at the door")

    async with Lab(server) as lab:
        with pytest.raises(KeyError, match="at the door"):
            await lab.join("ann")
        assert not lab.clients["ann"].connected


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
async def test_error_in_the_connect_handler_is_raised_by_restart(process):
    """Tabs that come back meet the error; no cell waits for them, but start says what happened."""

    def server(sio):
        @sio.event
        async def connect(sid, environ, auth):
            if auth["serverOffset"]:
                raise KeyError("at the door")

        @sio.on("chat message")
        async def chat_message(sid, text):
            await sio.emit("chat message", (text, 1))

    async with Lab(server, process=process) as lab:
        ann = await lab.join("ann")
        await ann.send("hello")
        await lab.quiet()
        with pytest.raises(BaseExceptionGroup) as raised:
            await lab.restart()
        assert raised.group_contains(KeyError, match="at the door")
        assert (ann.connected, ann.returning) == (False, False)
        await lab.quiet()


async def test_error_while_starting_is_raised_in_the_start_cell():
    """Nothing is left, and the next lab starts."""

    def server(sio, log):
        raise KeyError("a typo")

    lab = Lab(server)
    with pytest.raises(KeyError, match="a typo"):
        await lab
    assert not lab.db.parent.exists()


def telling(sio, log):
    """The finished server, which tells the others when a tab has left."""
    chat(sio, log)
    detach = sio.handlers["/"]["disconnect"]

    @sio.event
    async def disconnect(sid, reason):
        await detach(sid, reason)
        await sio.emit("left", skip_sid=sid)


RECOVERING = partial(ChatClient, recover=True)


@pytest.mark.parametrize(("seconds", "recovered"), [(119, True), (120, False)])
async def test_sessions_are_kept_by_the_clock_of_the_lab(seconds, recovered):
    """It takes no two minutes to see that a session is kept for two minutes."""
    now = 0
    async with Lab(telling, recovery=True, clock=lambda: now) as lab:
        ann, bob = await lab.join("ann", "bob", tab=RECOVERING)
        await bob.drop()
        await ann.until(lambda: "left" in ann.heard)
        await lab.quiet()
        now += seconds
        await ann.send("one")
        await bob.reconnect()
        assert bob.recovered == recovered
        assert await bob.sees(1) == ["one"]


@pytest.mark.parametrize("store", [False, True], ids=["no store", "store"])
async def test_sessions_of_a_lab_outlive_its_server_in_a_store(store):
    """Without one, a tab comes back as a new one; both have all messages."""
    async with Lab(chat, recovery=True, store=store) as lab:
        ann, bob = await lab.join("ann", "bob", tab=RECOVERING)
        await ann.send("one")
        await lab.restart()
        assert ann.recovered == bob.recovered == store
        assert (await lab.verdict()).valid


async def test_tab_with_the_session_of_another_is_the_other():
    """Whoever has the pid has the session."""
    async with Lab(chat, recovery=True) as lab:
        bob, eve = await lab.join("bob", "eve", tab=RECOVERING)
        await bob.drop()
        await eve.reload()
        assert not eve.recovered
        await eve.drop()
        eve.session = dict(bob.session)
        await eve.reconnect()
        assert eve.recovered


async def test_link_of_a_tab_can_be_broken():
    """Ann's own link, not Bob's; the tab notices and comes back."""
    async with Lab(chat) as lab:
        ann, bob = await lab.join("ann", "bob")
        lab.links["ann"].cut()
        await ann.until(lambda: not ann.connected)
        await bob.send("where are you?")
        assert (await lab.verdict()).valid
        assert kinds(lab, "ann")[:3] == ["join", "drop", "reconnect"]
        assert "drop" not in kinds(lab, "bob")


async def test_verdict_of_a_message_that_is_not_stored_is_invalid():
    """The log is looked at too, and not the pages alone."""

    def forgetful(sio):
        @sio.on("chat message")
        async def chat_message(sid, text):
            return 1

    async with Lab(forgetful) as lab:
        ann = await lab.join("ann")
        await ann.send("hello")
        verdict = await lab.verdict()
        assert str(verdict).startswith("invalid: 1 missing")


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
async def test_closed_lab_leaves_nothing_behind(process):
    """No task, thread, open file, socket or folder; all of them are there while it is open."""

    def left():
        return len(asyncio.all_tasks()), len(threading.enumerate()), len(os.listdir("/dev/fd"))

    before = left()
    lab = await Lab(tutorial, process=process)
    tabs = await lab.join("ann", "bob")
    await tabs[0].send("hello")
    await tabs[1].drop()
    assert all(now > then for now, then in zip(left(), before, strict=True))
    assert lab.db.exists()
    await lab.close()
    assert not lab.db.parent.exists()
    await until(lambda: left() == before)


async def test_lab_that_is_left_by_an_error_is_closed():
    """`async with` closes it, whatever happens inside."""
    with pytest.raises(ZeroDivisionError):
        async with Lab(echo) as lab:
            await lab.join("ann")
            raise ZeroDivisionError
    assert not lab.server.running


async def test_page_of_a_lab_shows_its_server():
    """The port is the one that the lab's server has."""
    async with Lab(echo) as lab:
        assert f":{lab.server.port}/" in lab.page()._repr_html_()


async def test_verdict_on_a_log_that_keeps_few_messages_is_valid():
    """Who was away for too long is told of the gap, and nobody else misses anything."""
    async with Lab(chat, keep=2) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("1")
        await lab.quiet()
        await bob.drop()
        for number in range(2, 6):
            await ann.send(str(number))
        await bob.reconnect()
        carol = await lab.join("carol")
        assert (await lab.verdict()).valid
        assert bob.messages == ["1", "4", "5"] and carol.messages == ["4", "5"]
        assert ann.messages == ["1", "2", "3", "4", "5"]


async def test_lab_that_fails_to_close_a_tab_ends_the_rest(monkeypatch):
    """The error is raised, and no server is left (`nothing_left` looks)."""
    lab = await Lab(echo)
    ann, bob = await lab.join("ann", "bob")

    async def fail():
        raise OSError("the tab is stuck")

    close = ann.close
    monkeypatch.setattr(ann, "close", fail)
    with pytest.raises(OSError, match="stuck"):
        await lab.close()
    assert not lab.server.running and not bob.connected
    await close()
    await lab.links["ann"].close()
