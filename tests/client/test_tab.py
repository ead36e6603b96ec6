"""The simulated tab: it drops, reconnects, reloads and closes as a tab of a browser does."""

import asyncio
import itertools
from functools import partial

import pytest
import tutorial_tabs
from support import serving, turns
from transports import every_transport

import chatlab.client.connection
from chatlab.client.tab import ChatClient
from chatlab.history.events import History
from chatlab.messages import CHAT_MESSAGE, WHERE, Message, Refused
from chatlab.mistakes import BadArgument
from chatlab.recovery.recovery import Recovery, recovered
from chatlab.server.app import chat

tutorial, server, tab = tutorial_tabs.tutorial, tutorial_tabs.server, tutorial_tabs.tab  # fixtures


@every_transport
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


@every_transport
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


async def test_page_that_reaches_no_server_at_first_is_recorded_as_loaded_when_it_does(tab):
    """It is a new page: what it shows from then on is judged from the first message on."""
    history = History()
    ann = await tab(record=history.record)
    url, ann.url = ann.url, "http://127.0.0.1:9"
    with pytest.raises(ConnectionError):
        await ann.reload()
    ann.url = url
    await ann.reconnect()
    await ann.drop()
    await ann.reconnect()
    assert [event.kind for event in history] == ["join", "reload", "drop", "reconnect"]


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


async def test_event_that_the_page_cannot_take_is_raised_in_the_next_wait(tab, tutorial, server):
    """Once: the tab goes on with what comes after it."""
    ann = await tab()
    server.run(tutorial.sio.emit("chat message"))
    with pytest.raises(BadArgument, match="the server emits 'chat message' with nothing"):
        await ann.sees(1)
    server.run(tutorial.sio.emit("chat message", "hello"))
    assert await ann.sees(1) == ["hello"]


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


@every_transport
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


@every_transport
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
