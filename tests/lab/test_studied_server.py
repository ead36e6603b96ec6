"""The server of a lab: stopped, killed and started again, and held in the middle of an action."""

import os
import sys

import cloudpickle
import pytest
from labs import echo, kinds
from support import ordered, tutorial

from chatlab.client.tab import ChatClient
from chatlab.lab.lab import Lab
from chatlab.server.app import chat

pytestmark = pytest.mark.usefixtures("nothing_left")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import a test


async def test_process_runs_a_server_that_was_written_in_a_cell():
    """What the cell's function uses travels along, and the process is another one."""
    word = "hello from "

    def server(sio):
        @sio.on("who")
        async def who(sid):
            return word + str(os.getpid())

    async with Lab(server, process=True) as lab:
        answer = await (await lab.join("ann")).call("who")
    assert answer.startswith(word)
    assert answer != word + str(os.getpid())


async def test_heartbeat_notices_a_frozen_link():
    """Nobody closes anything: only the missing ping tells the tab."""
    async with Lab(chat, heartbeat=0.1) as lab:
        ann = await lab.join("ann")
        lab.links["ann"].freeze()
        await ann.until(lambda: not ann.connected)
        lab.links["ann"].thaw()
        await lab.quiet()
        assert ann.connected


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
async def test_restart_heals_the_tabs_that_were_there(process):
    """The same port and database: connected tabs come back, dropped ones stay away."""
    async with Lab(tutorial, process=process) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("before")
        await lab.quiet()
        await bob.drop()
        port = lab.server.port
        await lab.restart()
        assert lab.server.port == port
        assert (ann.connected, bob.connected) == (True, False)
        await ann.send("after")
        await bob.reconnect()
        await lab.quiet()
        assert ann.messages == bob.messages == ["before", "after"]
        assert kinds(lab, "server") == ["stop", "start"]


async def test_stopped_lab_has_no_connections_and_can_be_started():
    """stop and start do nothing the second time, and what is said in between is an error."""
    async with Lab(tutorial) as lab:
        ann = await lab.join("ann")
        await lab.stop()
        await lab.stop()
        assert not ann.connected
        with pytest.raises(ConnectionError):
            await ann.send("hello")
        await lab.quiet()  # nothing can be under way
        await lab.start()
        await lab.start()
        assert ann.connected
        assert kinds(lab, "server") == ["stop", "start"]


async def test_killed_server_keeps_what_it_has_acknowledged():
    """The tabs notice, come back when it is started again, and the verdict is valid."""
    async with Lab(chat, process=True) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("before")
        await lab.kill()
        assert not (ann.connected or bob.connected)
        await lab.start()
        await bob.send("after")
        assert (await lab.verdict()).valid
        assert ann.messages == bob.messages == ["before", "after"]
        assert kinds(lab, "server") == ["kill", "start"]


async def test_server_in_a_process_cannot_be_held_and_one_in_a_thread_cannot_be_killed():
    """Each says why, and goes on."""
    async with Lab(echo, process=True) as lab:
        ann = await lab.join("ann")
        with pytest.raises(RuntimeError, match="held"):
            await lab.pause(ann.reload())
        with pytest.raises(RuntimeError, match="not known"):
            lab.reads  # noqa: B018
    async with Lab(echo) as lab:
        with pytest.raises(RuntimeError, match="killed"):
            await lab.kill()
        assert lab.server.running


def echo_from_the_log(sio, log):
    """It shows a message when it is stored, and never reads."""

    @sio.on("chat message")
    async def chat_message(sid, text):
        await sio.emit("chat message", (text, await log.append(text)))


class Choosy(ChatClient):
    """A tab that ignores what is not newer than its offset."""

    def show(self, message):
        if message.offset > self.offset:
            super().show(message)


async def held(lab, tab=ChatClient):
    """Let bob come back to "two", hold the server when it has read it, and send "three"."""
    ann, bob = await lab.join("ann"), await lab.join("bob", tab=tab)
    await ann.send("one")
    await lab.quiet()
    await bob.drop()
    await ann.send("two")
    pause = await lab.pause(bob.reconnect())
    await ann.send("three")
    await lab.quiet()
    return bob, pause


@pytest.mark.parametrize(
    ("server", "tab", "before", "after"),
    [
        (tutorial, ChatClient, ["one", "three"], ["one", "three", "two"]),
        (tutorial, Choosy, ["one", "three"], ["one", "three"]),
        (ordered, ChatClient, ["one"], ["one", "two", "three"]),
    ],
    ids=["tutorial", "choosy", "ordered"],
)
async def test_held_server_shows_what_overtakes(server, tab, before, after):
    """Quiet waits for the messages that pass the one who is held, and only for those."""
    async with Lab(server) as lab:
        bob, pause = await held(lab, tab)
        assert bob.messages == before
        await pause.go_on()
        verdict = await lab.verdict()
        assert bob.messages == after
        assert verdict.valid == (server is ordered)


async def test_tab_that_drops_while_the_server_is_held_can_come_back():
    """The action has failed, and go_on says nothing: the reader has done it."""
    async with Lab(tutorial) as lab:
        bob, pause = await held(lab)
        await bob.drop()
        assert await pause.go_on() is None
        await bob.reconnect()
        assert str(await lab.verdict()).splitlines() == [
            "invalid: 1 lost", 'lost: bob never shows 2 "two"'
        ]  # fmt: skip


async def test_lab_can_be_closed_or_stopped_while_the_server_is_held():
    """A pause that is forgotten holds up nobody."""
    async with Lab(tutorial) as lab:
        _, pause = await held(lab)
        await lab.restart()
        await pause.go_on()
        await held(lab)
    assert not lab.server.running


async def test_second_pause_ends_the_first():
    """The cell may be run again."""
    async with Lab(tutorial) as lab:
        _, first = await held(lab)
        _, second = await held(lab)
        await first.go_on()
        await second.go_on()


async def test_pause_that_is_never_reached_says_so():
    """The server does not read its log, or the action does nothing: there is nothing to hold."""
    async with Lab(echo_from_the_log) as lab:
        ann = await lab.join("ann")
        with pytest.raises(RuntimeError, match="not held"):
            await lab.pause(ann.reload())
        assert ann.connected
    async with Lab(ordered) as lab:
        ann = await lab.join("ann")
        with pytest.raises(RuntimeError, match="not held"):
            await lab.pause(ann.reconnect())
        await ann.send("nothing is held afterwards")
        assert (await lab.verdict()).valid
