"""The lab, as the cells of a notebook use it."""

import asyncio
import os
import sys
import threading
from functools import partial

import cloudpickle
import pytest
from support import ordered, tutorial

import chatlab.client.tab
import chatlab.lab.quiet
from chatlab.client.tab import ChatClient
from chatlab.harness import Mishap, bad_day
from chatlab.lab.lab import Lab
from chatlab.server.app import chat

pytestmark = pytest.mark.usefixtures("nothing_left")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import a test


def echo(sio):
    """The smallest server of the chapters: it needs no log."""

    @sio.on("chat message")
    async def chat_message(sid, text):
        await sio.emit("chat message", text)


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


def broken(sio):
    """A server with a bug in its handler."""

    @sio.on("chat message")
    async def chat_message(sid, text):
        raise KeyError(text)


class Held:
    """A server whose handler shows a message only when the test lets it."""

    def __init__(self):
        self.began, self.go_on = threading.Event(), asyncio.Event()

    def __call__(self, sio):
        @sio.on("ping")
        async def ping(sid):
            return "pong"

        @sio.on("chat message")
        async def chat_message(sid, text):
            async def later():
                self.began.set()
                await self.go_on.wait()
                if text == "fail":
                    raise KeyError("in the background")
                await sio.emit("chat message", text)

            sio.start_background_task(later)

    async def free(self):
        """Be run on the server's loop."""
        self.go_on.set()


def kinds(lab, who):
    return [event.kind for event in lab.history.of(who)]


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


async def test_name_of_the_server_is_refused():
    """In a history it means the server."""
    async with Lab(echo) as lab:
        with pytest.raises(ValueError, match="server"):
            await lab.join("server")


async def test_quiet_waits_for_a_handler_that_takes_its_time():
    """It returns when the handler's task has ended and its message is shown, and not before."""
    held = Held()
    async with Lab(held) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("hello")
        quiet = asyncio.create_task(lab.quiet())
        await asyncio.to_thread(held.began.wait, chatlab.client.PATIENCE)
        assert await ann.call("ping") == "pong"
        assert not quiet.done()
        assert bob.messages == []
        lab.server.run(held.free())
        await quiet
        assert bob.messages == ["hello"]


async def test_quiet_that_waits_in_vain_says_so(monkeypatch):
    """A handler that never ends is a TimeoutError with a sentence."""
    held = Held()
    async with Lab(held) as lab:
        ann = await lab.join("ann")
        await ann.send("hello")
        monkeypatch.setattr(chatlab.lab.quiet, "PATIENCE", 0.05)
        with pytest.raises(TimeoutError, match="under way"):
            await lab.quiet()


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


async def test_error_that_quiet_waits_for_is_raised_there():
    """The handler has answered, and fails later, in a task of its own."""
    held = Held()
    async with Lab(held) as lab:
        ann = await lab.join("ann")
        await ann.send("fail")
        quiet = asyncio.create_task(lab.quiet())
        await asyncio.to_thread(held.began.wait, chatlab.client.PATIENCE)
        lab.server.run(held.free())
        with pytest.raises(
            (KeyError, BaseExceptionGroup), match=r"background|errors in the server"
        ):
            await quiet


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


async def test_server_in_a_process_cannot_be_held_and_one_in_a_thread_cannot_be_killed():
    """Each says why, and goes on."""
    async with Lab(echo, process=True) as lab:
        ann = await lab.join("ann")
        with pytest.raises(RuntimeError, match="held"):
            await lab.pause(ann.reload())
    async with Lab(echo) as lab:
        with pytest.raises(RuntimeError, match="killed"):
            await lab.kill()
        assert lab.server.running


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


async def test_heartbeat_notices_a_frozen_link():
    """Nobody closes anything: only the missing ping tells the tab."""
    async with Lab(chat, heartbeat=0.1) as lab:
        ann = await lab.join("ann")
        lab.links["ann"].freeze()
        await ann.until(lambda: not ann.connected)
        lab.links["ann"].thaw()
        await lab.quiet()
        assert ann.connected


async def test_bad_day_is_lived_through():
    """Whatever happens, at its end every tab is back, and the finished server has lost nothing."""
    async with Lab(chat, process=True, heartbeat=1) as lab:
        await lab.join("ann", "bob")
        day = bad_day(1, ["ann", "bob"], 60, kills=1)
        await lab.live_through([*day, Mishap("freeze", "ann"), Mishap("drop", "bob")])
        assert (await lab.verdict()).valid
        assert all(tab.connected for tab in lab.clients.values())
        assert kinds(lab, "server") == ["kill", "start"]
        assert len(kinds(lab, "ann")) > 30


async def test_bad_day_with_outboxes_loses_nothing():
    """Nobody waits for a connection, and every message is there in the end, also one that the last
    mishap has left in a frozen line."""
    async with Lab(chat, process=True, heartbeat=1) as lab:
        await lab.join("ann", "bob")
        day = bad_day(2, ["ann", "bob"], 60, kills=1)
        end = [Mishap("freeze", "ann"), Mishap("send", "ann"), Mishap("drop", "bob")]
        await lab.live_through([*day, *end, Mishap("send", "bob")], post=True)
        verdict = await lab.verdict(promised=True)
        assert (verdict.valid, verdict.unacknowledged) == (True, ())
        sent = sum(mishap.kind == "send" for mishap in day) + 2
        assert len(lab.clients["ann"].shown) == sent


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


async def test_page_of_a_lab_shows_its_server():
    """The port is the one that the lab's server has."""
    async with Lab(echo) as lab:
        assert f":{lab.server.port}/" in lab.page()._repr_html_()


async def until(condition):
    """Wait until a condition holds that nothing announces."""
    async with asyncio.timeout(chatlab.client.PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


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


async def test_server_that_has_just_died_is_started_again(monkeypatch):
    """Its tabs hear of its death a moment before the system does: then it still looks alive."""
    async with Lab(echo, process=True) as lab:
        ann = await lab.join("ann")
        worker = lab.server._worker
        worker.process.kill()
        await ann.until(lambda: not ann.connected)
        lies = iter([True] * 3)
        alive = property(lambda worker: next(lies, worker.process.poll() is None))
        monkeypatch.setattr(type(worker), "alive", alive)
        await lab.start()
        assert ann.connected
