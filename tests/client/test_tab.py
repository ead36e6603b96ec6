"""The simulated tab: it drops, reconnects, reloads and closes as a tab of a browser does."""

import asyncio
import itertools
import os
import socket
from functools import partial

import aiohttp
import pytest
from socketio.exceptions import ConnectionRefusedError as Refusal
from support import Hold, serving, turns

import chatlab.client.connection
from chatlab.client.tab import ChatClient
from chatlab.harness.background import BackgroundServer
from chatlab.harness.network import Link
from chatlab.history.events import History
from chatlab.messages import CHAT_MESSAGE, WHERE, Message, Refused
from chatlab.recovery.recovery import Recovery, recovered
from chatlab.server.app import chat, create_app

PATIENCE = 20
EVERY_TRANSPORT = [("websocket",), ("polling",), ("polling", "websocket")]


class Tutorial:
    """The server of the tutorial, which also records who connects, and can be held."""

    def __init__(self):
        self.auths = []
        self.sids = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def __call__(self, sio, log):
        self.sio = sio

        @sio.event
        async def connect(sid, environ, auth):
            self.auths.append(auth)
            self.sids.append(sid)
            for message in await log.after(auth["serverOffset"]):
                await sio.emit("chat message", (message.text, message.offset), to=sid)

        @sio.on("chat message")
        async def chat_message(sid, text):
            if text == "bad words":
                return {"error": "bad text", "message": "no bad words"}
            await self.may_answer.wait()
            offset = await log.append(text)
            await sio.emit("chat message", (text, offset))
            return offset

        @sio.on("double")
        async def double(sid, number):
            return 2 * number


@pytest.fixture
def tutorial():
    return Tutorial()


@pytest.fixture
def server(tmp_path, tutorial):
    with BackgroundServer(partial(create_app, tutorial, db=tmp_path / "chat.db")) as server:
        yield server
    server.check()


@pytest.fixture
async def tab(server):
    """A function that opens a tab; all tabs are closed at the end."""
    tabs = []

    async def open_tab(name="ann", **options):
        tabs.append(ChatClient(server.url, name, **options))
        return await tabs[-1].open()

    yield open_tab
    for opened in tabs:
        await opened.close()


@pytest.fixture
def impatient(monkeypatch):
    """Waiting in vain takes no time."""
    monkeypatch.setattr(chatlab.client.connection, "PATIENCE", 0.05)


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
async def test_message_is_acknowledged_and_shown(tab, transports):
    """send returns what the server answered, and every page shows the message, on any transport."""
    ann, bob = await tab("ann", transports=transports), await tab("bob")
    assert await ann.send("hello") == 1
    assert await ann.send("again") == 2
    for page in (ann, bob):
        assert await page.sees(2) == ["hello", "again"]
        assert page.shown == [Message(1, "hello"), Message(2, "again")]
        assert page.offset == 2


async def test_tab_says_what_else_it_is_told_to_say(tab, tutorial):
    """With every connection, beside its offset, which `auth` cannot replace."""
    auth = {"code": "K7PQ2M", "serverOffset": 99}
    ann = await tab("ann", auth=auth)
    await ann.send("hello")
    await ann.sees(1)
    await ann.drop()
    await ann.reconnect()
    said = [(auth["code"], auth["serverOffset"]) for auth in tutorial.auths]
    assert said == [("K7PQ2M", 0), ("K7PQ2M", 1)]


async def test_tab_that_is_asked_says_how_far_it_has_come(tab, server, tutorial):
    """The answer comes after all that was sent to the tab before the question."""
    ann = await tab()
    await ann.send("one")

    async def asked():
        for offset, text in ((7, "two"), (8, "three")):
            await tutorial.sio.emit(CHAT_MESSAGE, (text, offset))
        return await tutorial.sio.call(WHERE, to=tutorial.sids[-1])

    assert await asyncio.to_thread(server.run, asked()) == 8
    assert ann.messages == ["one", "two", "three"]


async def test_refused_message_raises_the_refusal(tab):
    """An answer with an error is an exception with its name; the next message goes through."""
    ann = await tab()
    with pytest.raises(Refused, match="no bad words") as refusal:
        await ann.send("bad words")
    assert refusal.value.name == "bad text"
    assert await ann.send("good words") == 1


async def test_call_returns_the_answer_of_another_event(tab):
    """Not only chat messages have answers."""
    assert await (await tab()).call("double", 21) == 42


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
async def test_dropped_tab_stays_away_and_keeps_its_page(tab, transports):
    """It sees nothing, sends nothing, and reconnects with the offset that it had reached."""
    ann, bob = await tab("ann"), await tab("bob", transports=transports)
    await ann.send("before")
    await bob.sees(1)
    await bob.drop()
    assert (bob.connected, bob.returning) == (False, False)
    await ann.send("meanwhile")
    assert (bob.messages, bob.offset) == (["before"], 1)
    await bob.reconnect()
    assert await bob.sees(2) == ["before", "meanwhile"]


async def test_tab_sends_the_offset_it_has_reached(tab, tutorial):
    """0 at first and after a reload, and the last one delivered after a drop."""
    ann = await tab()
    await ann.send("hello")
    await ann.sees(1)
    await ann.drop()
    await ann.reconnect()
    await ann.reload()
    assert [auth["serverOffset"] for auth in tutorial.auths] == [0, 1, 0]


async def test_reloaded_tab_begins_with_an_empty_page(tab):
    """It forgets everything, and shows what the server sends it."""
    ann = await tab()
    await ann.send("hello")
    await ann.sees(1)
    ann.show(Message(7, "only here"))
    await ann.reload()
    assert await ann.sees(1) == ["hello"]
    assert ann.offset == 1


async def test_reconnecting_a_connected_tab_changes_nothing(tab, tutorial):
    """There is nothing to do: the server sees one connection."""
    ann = await tab()
    await ann.reconnect()
    assert len(tutorial.auths) == 1


async def test_drop_and_close_may_be_said_twice(tab):
    """And each is recorded once."""
    history = History()
    ann = await tab(record=history.record)
    for action in (ann.drop, ann.drop, ann.reconnect, ann.close, ann.close):
        await action()
    assert [event.kind for event in history] == ["join", "drop", "reconnect", "close"]


async def test_everything_is_recorded_in_order(tab):
    """Joined, sent, shown and acknowledged, refused, dropped: each with what belongs to it."""
    history = History()
    ann = await tab(record=history.record)
    await ann.send("hello")
    await ann.sees(1)
    with pytest.raises(Refused):
        await ann.send("bad words")
    await ann.drop()
    recorded = [(event.kind, event.text, event.offset) for event in history]
    assert recorded[:2] == [("join", None, None), ("send", "hello", None)]
    assert sorted(recorded[2:4]) == [("acknowledge", "hello", 1), ("show", "hello", 1)]
    assert recorded[4:] == [
        ("send", "bad words", None), ("refuse", "bad words", None), ("drop", None, None)
    ]  # fmt: skip


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
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


def refusing(sio, log):
    @sio.event
    async def connect(sid, environ, auth):
        raise Refusal("we are closed", {"error": "closed", "message": "we are closed"})


def failing(sio, log):
    @sio.event
    async def connect(sid, environ, auth):
        raise KeyError("a bug")


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
async def test_refused_connection_is_an_error(tmp_path, transports):
    """It says what the server said, and the tab has no connection."""
    build = partial(create_app, refusing, db=tmp_path / "chat.db")
    with BackgroundServer(build) as server:
        ann = ChatClient(server.url, transports=transports)
        with pytest.raises(ConnectionRefusedError, match="we are closed"):
            await ann.open()
        assert (ann.connected, ann.returning) == (False, False)
        server.run(asyncio.sleep(0))


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
async def test_no_server_is_a_connection_error(transports):
    """No server listens on the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ann = ChatClient(f"http://127.0.0.1:{port}", transports=transports)
    with pytest.raises(ConnectionError, match="cannot be reached"):
        await ann.open()
    assert not ann.connected


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
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


async def test_sending_without_a_connection_is_an_error(tab):
    """Before the tab is open, after a drop, and after it is closed: nothing is sent or recorded."""
    history = History()
    ann = await tab(record=history.record)
    never_open = ChatClient(ann.url, record=history.record)
    await ann.drop()
    for action in (ann.send, never_open.send, partial(ann.call, "chat message")):
        with pytest.raises(ConnectionError, match="no connection"):
            await action("hello")
    assert [event.kind for event in history] == ["join", "drop"]


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
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


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
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


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
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


async def test_error_given_to_a_waiting_tab_is_raised_there(tab, tutorial):
    """`fail` says whether a caller gets the error: one may wait for an answer, or none."""
    tutorial.may_answer.clear()
    ann = await tab()
    assert not ann.fail(KeyError("a bug"))
    sending = asyncio.create_task(ann.send("hello"))
    await asyncio.sleep(0)
    assert ann.fail(KeyError("a bug"))
    with pytest.raises(KeyError):
        await sending


async def test_event_without_a_handler_is_an_error_in_the_end(tab, monkeypatch):
    """A mistyped name is never answered: the sentence names it."""
    ann = await tab()
    monkeypatch.setattr(chatlab.client.connection, "PATIENCE", 0.05)
    with pytest.raises(TimeoutError, match="no answer to 'chat mesage'"):
        await ann.call("chat mesage", "hello")


async def test_waiting_in_vain_says_for_what(tab, monkeypatch):
    """sees and until name the wish and the page; what holds already is not waited for."""
    ann = await tab()
    monkeypatch.setattr(chatlab.client.connection, "PATIENCE", 0.05)
    ann.show(Message(1, "hello"))
    assert await ann.sees(1) == ["hello"]
    with pytest.raises(TimeoutError, match=r"ann .*shows 2 messages.*\['hello'\]"):
        await ann.sees(2)
    with pytest.raises(TimeoutError, match=r"ann .*see the sun"):
        await ann.until(lambda: False, "see the sun")


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


@pytest.fixture
def far_server(tmp_path):
    """A server in another process, so that the files of this one are the tabs' alone."""
    with BackgroundServer(partial(create_app, db=tmp_path / "chat.db"), process=True) as server:
        yield server
    server.check()


def left():
    """What a tab may leave behind: tasks, and open files and sockets."""
    return len(asyncio.all_tasks()), len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
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


async def until(condition):
    """Wait until a condition holds that nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def recovering(tmp_path):
    """A server with connection state recovery, on this loop."""
    async with serving(tmp_path / "chat.db", tutorial_again, recovery=Recovery) as served:
        yield served


def tutorial_again(sio, log):
    """The tutorial's server with its branch: catch-up only for clients that are not recovered."""

    @sio.event
    async def connect(sid, environ, auth):
        if not recovered(sio, sid):
            for message in await log.after(auth["serverOffset"]):
                await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
async def test_tab_that_asks_recovers_four_thousand_events_over_sixty_drops(recovering, transports):
    """Each exactly once and in order, with one sid."""
    tab = await ChatClient(recovering.url, transports=transports, recover=True).open()
    sids, emitted = set(), itertools.count(1)

    async def emit(count):
        for number in itertools.islice(emitted, count):
            await recovering.sio.emit(CHAT_MESSAGE, (f"message {number}", number))

    for _ in range(60):
        sids |= {sid for sid, _ in recovering.sio.manager.get_participants("/", None)}
        await emit(35)
        await tab.sees(len(tab.shown) + 1)  # the others are on their way
        await tab.drop()
        await emit(35)
        await tab.reconnect()
        assert tab.recovered
    await tab.sees(60 * 70)
    assert [message.offset for message in tab.shown] == list(range(1, 60 * 70 + 1))
    assert len(sids) == 1
    await tab.close()


async def test_tab_that_says_goodbye_or_reloads_does_not_recover(recovering):
    """It gets what it missed by its offset; and one that only drops recovers."""
    tab = await ChatClient(recovering.url, recover=True).open()
    for leave, again, is_recovered in (
        (tab.drop, tab.reconnect, True),
        (tab.disconnect, tab.reconnect, False),
        (tab.drop, tab.reload, False),
    ):
        await leave()
        assert not tab.connected
        offset = await recovering.log.append("missed")
        await recovering.sio.emit(CHAT_MESSAGE, ("missed", offset))
        await again()
        await tab.until(lambda offset=offset: tab.offset == offset)
        assert tab.recovered is is_recovered
    assert tab.messages == ["missed"] * 3
    await tab.close()


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
async def test_goodbye_ends_the_session_on_the_server(recovering, transports):
    """The server gets the goodbye before the connection is cut."""
    tab = await ChatClient(recovering.url, transports=transports, recover=True).open()
    assert recovering.sio.manager.registry.sessions
    await tab.disconnect()
    async with asyncio.timeout(5):
        while recovering.sio.manager.registry.sessions:
            await turns()
    await tab.disconnect()  # once more is nothing
    await tab.close()


async def test_tab_that_does_not_ask_is_never_recovered(recovering):
    """And the server sends it the text and the offset, as before."""
    tab = await ChatClient(recovering.url).open()
    await tab.drop()
    await tab.reconnect()
    assert not tab.recovered and not recovering.sio.manager.registry.sessions
    await tab.close()


async def test_tab_keeps_the_epoch_and_begins_anew_in_another(tmp_path):
    """Another log, longer than what the page has: only the epoch can tell."""
    history = History()
    async with serving(tmp_path / "one.db") as served:
        await served.log.append("one")
        ann = await ChatClient(served.url, "ann", record=history.record).open()
        await ann.sees(1)
        await ann.until(lambda: ann.outcome)
        assert ann.outcome == {
            "epoch": served.log.epoch, "offset": 1, "outcome": "continued", "sent": 1,
        }  # fmt: skip
        await ann.drop()
    async with serving(tmp_path / "other.db") as served:
        for text in ("uno", "dos"):
            await served.log.append(text)
        ann.url = served.url
        await ann.reconnect()
        await ann.until(lambda: ann.outcome)
        assert ann.messages == ["uno", "dos"]
        assert (ann.outcome["outcome"], ann.epoch) == ("reset", served.log.epoch)
        await ann.reload()
        await ann.until(lambda: ann.outcome)
        assert ann.messages == ["uno", "dos"] and ann.outcome["outcome"] == "continued"
        await ann.close()
    assert [event.kind for event in history].count("reset") == 1


async def test_tab_is_told_of_a_gap_and_goes_on(tmp_path):
    """Its page stays as it is, and the rest follows."""
    history = History()
    async with serving(tmp_path / "chat.db", keep=2) as served:
        await served.log.append("1")
        ann = await ChatClient(served.url, "ann", record=history.record).open()
        await ann.sees(1)
        await ann.drop()
        for number in range(2, 6):
            await served.log.append(str(number))
        await ann.reconnect()
        assert await ann.sees(3) == ["1", "4", "5"]
        await ann.close()
    [gap] = [event for event in history if event.kind == "gap"]
    assert gap.offset == 3


async def test_tab_forgets_the_epoch_where_a_server_tells_none(tmp_path):
    """Else the next server that tells one would take it for a tab that is ahead of its epoch."""
    db = tmp_path / "chat.db"
    for number, handlers in enumerate((chat, tutorial_again, chat), 1):
        async with serving(db, handlers) as served:
            if number == 1:
                ann = await ChatClient(served.url, "ann").open()
            ann.url = served.url
            await ann.reconnect()
            offset = await served.log.append(str(number))
            if handlers is tutorial_again:
                await served.sio.emit(CHAT_MESSAGE, (str(number), offset))
            assert await ann.sees(number) == [str(n) for n in range(1, number + 1)]
            assert (ann.epoch is None) is (handlers is tutorial_again)
            if handlers is chat:
                await ann.until(lambda ann=ann: ann.outcome)
            await ann.drop()
    assert ann.outcome["outcome"] == "continued"
    await ann.close()
