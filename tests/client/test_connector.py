"""The connections of a tab: it connects, loses its connection, and comes back or stays away."""

import asyncio
import os
import socket
from functools import partial

import aiohttp
import pytest
import tutorial_tabs
from socketio.exceptions import ConnectionRefusedError as Refusal
from support import Hold, refusing_for_now, serving, turns
from transports import every_transport

import chatlab.client.connection
from chatlab.client.connector import Connector
from chatlab.client.tab import ChatClient
from chatlab.harness.background import BackgroundServer
from chatlab.harness.network import Link
from chatlab.history.events import History
from chatlab.messages import CHAT_MESSAGE
from chatlab.server.app import create_app

PATIENCE = 20
tutorial, server, tab = tutorial_tabs.tutorial, tutorial_tabs.server, tutorial_tabs.tab  # fixtures


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    db = tmp_path_factory.mktemp("connector") / "chat.db"
    with BackgroundServer(partial(create_app, db=db)) as server:
        yield server.url


class Connected:
    """A connector, and what it has recorded."""

    def __init__(self, url, accepted=lambda welcome: None):
        self.recorded, self.url, self.changed = [], url, asyncio.Event()
        self.returning = []  # whether it was coming back, each time that it reached the server
        self.connector = Connector(
            "ann",
            start=self._start,
            accepted=accepted,
            receive=lambda event, *values: None,
            record=self.recorded.append,
            changed=self.changed.set,
        )

    def _start(self, connection):
        def auth():
            self.recorded.append("reach")
            self.returning.append(self.connector.returning)
            return {"serverOffset": 0}

        connection.open(self.url, auth, ["websocket"])

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


async def test_connector_comes_back_when_the_connection_is_lost(url):
    """With a new connection; the late loss of the old one is ignored."""
    ann = Connected(url)
    await ann.connector.connect()
    old = ann.connector.current
    await old.close()
    assert ann.connector.returning
    await ann.until(lambda: not ann.connector.returning)
    assert ann.connector.connected and ann.connector.current is not old
    ann.connector._lost(old)
    assert ann.connector.connected and not ann.connector.returning
    await ann.connector.hang_up()
    assert (ann.connector.connected, ann.connector.returning) == (False, False)
    assert ann.recorded == ["reach", "drop", "reach"]


async def test_connection_that_is_lost_as_soon_as_it_is_accepted_is_opened_again(url):
    """The attempt that has just succeeded does not end the next one."""
    losses = []

    def accepted(welcome):
        if len(ann.recorded) > 1 and not losses:  # in the attempt to come back
            losses.append(ann.connector.current)
            ann.connector._lost(ann.connector.current)

    ann = Connected(url, accepted)
    await ann.connector.connect()
    ann.connector._lost(ann.connector.current)
    await ann.until(lambda: losses)
    await ann.until(lambda: ann.connector.connected and not ann.connector.returning)
    assert ann.recorded == ["reach", "drop", "reach", "drop", "reach"]
    assert ann.returning == [False, True, True]
    await ann.connector.hang_up()


async def test_hanging_up_ends_what_waits_for_an_answer(url):
    """With a sentence that names the tab; afterwards nothing can be asked."""
    ann = Connected(url)
    await ann.connector.connect()
    asking = asyncio.create_task(ann.connector.ask("an event without a handler"))
    await asyncio.sleep(0)
    await ann.connector.hang_up()
    with pytest.raises(ConnectionError, match="ann hung up before the answer"):
        await asking
    with pytest.raises(ConnectionError, match="ann has no connection"):
        await ann.connector.ask("anything")


@pytest.fixture
def impatient(monkeypatch):
    """Waiting in vain takes no time."""
    monkeypatch.setattr(chatlab.client.connection, "PATIENCE", 0.05)


def refusing(sio, log):
    @sio.event
    async def connect(sid, environ, auth):
        raise Refusal("we are closed", {"error": "closed", "message": "we are closed"})


def failing(sio, log):
    @sio.event
    async def connect(sid, environ, auth):
        raise KeyError("a bug")


@pytest.fixture
def far_server(tmp_path):
    """A server in another process, so that the files of this one are the tabs' alone."""
    with BackgroundServer(partial(create_app, db=tmp_path / "chat.db"), process=True) as server:
        yield server
    server.check()


def left():
    """What a tab may leave behind: tasks, and open files and sockets."""
    return len(asyncio.all_tasks()), len(os.listdir("/dev/fd"))


async def until(condition):
    """Wait until a condition holds that nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@every_transport
async def test_tab_comes_back_by_itself_after_a_restart(tab, server, tutorial, transports):
    """It notices that the server is gone, and finds it again, with its offset."""
    ann = await tab(transports=transports)
    await ann.send("before")
    await ann.sees(1)
    server.stop()
    await ann.until(lambda: not ann.connected)
    assert ann.returning
    server.start()
    await ann.until(lambda: ann.connected)
    assert tutorial.auths[-1] == {"serverOffset": 1}
    await ann.send("after")
    assert await ann.sees(2) == ["before", "after"]


async def test_tab_that_is_dropped_while_it_comes_back_stays_away(tab, server):
    """drop ends the attempts, and reconnect works when the server is there again."""
    ann = await tab()
    server.stop()
    await ann.until(lambda: ann.returning)
    await ann.drop()
    assert not ann.returning
    server.start()
    assert not ann.connected
    await ann.reconnect()
    assert ann.connected


async def test_tab_that_is_refused_when_it_comes_back_stays_away(tab, server):
    """As the official client does; the control is the tab that comes back above."""
    ann = await tab()
    server.stop()
    await ann.until(lambda: not ann.connected)
    server.build = partial(create_app, refusing, db=server.build.keywords["db"])
    server.start()
    await ann.until(lambda: not ann.returning)
    assert not ann.connected


async def test_tab_that_is_refused_for_now_comes_again(tab, server):
    """It is told that the log cannot be read; the control is the tab that stays away above."""
    hesitant, refusals = refusing_for_now(3)
    ann = await tab()
    server.stop()
    await ann.until(lambda: not ann.connected)
    server.build = partial(create_app, hesitant, db=server.build.keywords["db"])
    server.start()
    await ann.until(lambda: ann.connected)
    assert not refusals


@every_transport
async def test_refused_connection_is_an_error(tmp_path, transports):
    """It says what the server said, and the tab has no connection."""
    build = partial(create_app, refusing, db=tmp_path / "chat.db")
    with BackgroundServer(build) as server:
        ann = ChatClient(server.url, transports=transports)
        with pytest.raises(ConnectionRefusedError, match="we are closed"):
            await ann.open()
        assert (ann.connected, ann.returning) == (False, False)
        server.run(asyncio.sleep(0))


@every_transport
async def test_no_server_is_a_connection_error(transports):
    """No server listens on the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ann = ChatClient(f"http://127.0.0.1:{port}", transports=transports)
    with pytest.raises(ConnectionError, match="cannot be reached"):
        await ann.open()
    assert not ann.connected


@every_transport
async def test_server_that_does_not_answer_is_a_connection_error(impatient, transports):
    """A server listens, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ann = ChatClient(f"http://127.0.0.1:{silent.getsockname()[1]}", transports=transports)
        with pytest.raises(ConnectionError, match="no answer"):
            await ann.open()
    assert not ann.connected


async def test_server_that_fails_in_connect_is_a_connection_error(tmp_path, impatient):
    """Socket.IO leaves the client without an answer then: it does not wait for ever."""
    server = BackgroundServer(partial(create_app, failing, db=tmp_path / "chat.db"))
    with server, pytest.raises(ConnectionError, match="no answer"):
        await ChatClient(server.url).open()


@every_transport
async def test_connection_lost_before_the_answer_is_an_error(tab, server, tutorial, transports):
    """The server goes away while it handles a message; send does not wait for its patience."""
    tutorial.may_answer.clear()
    ann = await tab(transports=transports)
    sending = asyncio.create_task(ann.send("hello"))
    await asyncio.sleep(0)
    server.stop()
    with pytest.raises(ConnectionError, match="before the answer"):
        await sending


async def test_drop_before_the_answer_is_an_error(tab, tutorial):
    """The same, if it is the tab that goes."""
    tutorial.may_answer.clear()
    ann = await tab()
    sending = asyncio.create_task(ann.send("hello"))
    await asyncio.sleep(0)
    await ann.drop()
    with pytest.raises(ConnectionError, match="before the answer"):
        await sending


async def test_drop_between_two_polls_is_a_drop(tab, monkeypatch):
    """The tab hangs up while the answer to a poll is on its way to the reader: no other follows."""
    ann, bob = await tab("ann"), await tab("bob", transports=("polling",))
    answered, dropping, read = asyncio.Event(), asyncio.Event(), aiohttp.ClientResponse.read

    async def read_slowly(answer):
        body = await read(answer)
        if b"hello" in body and not answered.is_set():
            answered.set()
            await dropping.wait()
        return body

    monkeypatch.setattr(aiohttp.ClientResponse, "read", read_slowly)
    await ann.send("hello")
    await answered.wait()
    drop = asyncio.create_task(bob.drop())
    await turns()
    dropping.set()
    async with asyncio.timeout(PATIENCE):
        await drop
    await bob.reconnect()
    assert await bob.sees(1) == ["hello"]


async def test_answer_to_a_poll_that_breaks_off_is_a_lost_connection(tab, monkeypatch):
    """The connection breaks in the middle of it: the tab comes back and has the message."""
    ann, bob = await tab("ann"), await tab("bob", transports=("polling",))
    broken, read = [], aiohttp.ClientResponse.read

    async def read_half(answer):
        body = await read(answer)
        if b"hello" in body and not broken:
            broken.append(body)
            raise aiohttp.ClientPayloadError("the connection broke")
        return body

    monkeypatch.setattr(aiohttp.ClientResponse, "read", read_half)
    await ann.send("hello")
    assert await bob.sees(1) == ["hello"]
    assert broken


@every_transport
async def test_connection_lost_before_it_is_accepted_is_an_error(tmp_path, transports):
    """The connection breaks while the server thinks: no caller waits for PATIENCE."""
    thinks = Hold()

    def thoughtful(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            await thinks.here()

    async with (
        serving(tmp_path / "chat.db", thoughtful) as served,
        Link(int(served.url.rpartition(":")[2])) as link,
    ):
        history = History()
        ann = ChatClient(link.url, record=history.record, transports=transports)
        opening = asyncio.create_task(ann.open())
        await thinks.reached.wait()
        link.cut()
        link.server_port = 1  # where no server listens: aiohttp may try again
        async with asyncio.timeout(chatlab.client.connection.PATIENCE / 2):
            with pytest.raises(ConnectionError, match="before the server answered"):
                await opening
        thinks.released.set()
    assert [event.kind for event in history] == ["join", "drop"]


@every_transport
async def test_drop_that_is_interrupted_is_finished_by_the_next(tab, transports):
    """The task that hangs up is cancelled at once: the connection ends all the same."""
    bob = await tab("bob", transports=transports)
    session = bob._connector.current.eio.http
    interrupted = asyncio.create_task(bob.drop())
    await asyncio.sleep(0)
    interrupted.cancel()
    await asyncio.wait([interrupted])
    await bob.close()
    assert session.closed


async def test_late_packet_of_a_given_up_connection_is_ignored(tab):
    """It belongs to the page of before; a packet of the connection that stands is shown."""
    ann = await tab()
    given_up = ann._connector.current
    await ann.reload()
    ann._connector._received(given_up, CHAT_MESSAGE, "late", 7)
    assert (ann.messages, ann.offset) == ([], 0)
    ann._connector._received(ann._connector.current, CHAT_MESSAGE, "in time", 8)
    assert (ann.messages, ann.offset) == (["in time"], 8)


async def test_late_loss_of_a_given_up_connection_is_ignored(tab):
    """The tab has a new connection, which is not lost."""
    ann = await tab()
    given_up = ann._connector.current
    await ann.drop()
    await ann.reconnect()
    ann._connector._lost(given_up)
    assert (ann.connected, ann.returning) == (True, False)


@every_transport
async def test_closed_tab_leaves_nothing_behind(far_server, transports):
    """No task and no socket, after a drop, a reconnection and a reload.

    The control: they are there while the tab is open.
    """
    before = left()
    ann = await ChatClient(far_server.url, transports=transports).open()
    assert all(now > then for now, then in zip(left(), before, strict=True))
    await ann.drop()
    await ann.reconnect()
    await ann.reload()
    await ann.close()
    await until(lambda: left() == before)


@pytest.mark.parametrize("turns", range(8))
async def test_tab_that_is_given_up_while_it_opens_leaves_nothing_behind(far_server, turns):
    """Whenever the attempt is cancelled: also before there is a socket that could be closed."""
    before = left()
    ann = ChatClient(far_server.url)
    opening = asyncio.create_task(ann.open())
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not ann.connected
    await until(lambda: left() == before)
