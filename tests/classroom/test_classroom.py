"""A class as a whole: the chat behind its line and its door, and the instructor's console."""

import asyncio
import contextlib
import json
import re
from functools import partial

import aiohttp
import pytest
from support import stored

from chatlab.classroom.classroom import DROP, FREE, FREEZE, THAW, Classroom
from chatlab.classroom.door import WRONG_CODES
from chatlab.client.tab import ChatClient
from chatlab.history.checker import check
from chatlab.history.events import History
from chatlab.log.sqlite import MessageLog
from chatlab.messages import CHAT_MESSAGE

CODE = "K7PQ2M"
STUDENTS = 200
PATIENCE = 60


@pytest.fixture
def db(tmp_path):
    return tmp_path / "class.db"


@pytest.fixture
async def room(db):
    async with Classroom(db=db, code=CODE) as room:
        yield room


def said(name, code=CODE):
    return {"code": code, "name": name, "badge": name.ljust(16, "x")}


def student(room, name, **options):
    """Make the tab of a student, as it is before it opens."""
    return ChatClient(f"http://127.0.0.1:{room.port}", name, auth=said(name), **options)


@contextlib.asynccontextmanager
async def joined(room, *names, **options):
    """The tabs of students who have joined; they are closed at the end."""
    tabs = [student(room, name, **options) for name in names]
    try:
        await asyncio.gather(*(tab.open() for tab in tabs))
        yield tabs
    finally:
        await asyncio.gather(*(tab.close() for tab in tabs))


def look(room):
    """Return what the console shows, as the server's own loop sees it."""

    async def looked():
        return room.look()

    return room.server.run(looked())


async def shown(room, condition):
    """Look at the console until it shows something; return what it shows."""
    async with asyncio.timeout(PATIENCE):
        while not condition(picture := look(room)):  # noqa: ASYNC110 - nobody tells a console
            await asyncio.sleep(0.05)
    return picture


async def press(room, button, student=None):
    """Press a button of the console, as its page does; return the status of the answer."""
    asked = {"button": button, "client": student}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{room.console}press", json=asked) as answer,
    ):
        return answer.status


async def test_class_is_joined_with_the_code_and_by_nobody_else(room, db):
    """A wrong or missing code is refused; a student with the code writes, and others read it."""
    for code in ("222222", ""):
        outside = ChatClient(f"http://127.0.0.1:{room.port}", auth=said("Eve", code))
        with pytest.raises(ConnectionRefusedError):
            await outside.open()
        await outside.close()
    async with joined(room, "Ann", "Bob") as (ann, bob):
        await ann.send("hello")
        assert await bob.sees(1) == ["Ann: hello"]
    assert stored(db) == ["Ann: hello"]


async def test_frozen_class_gets_nothing_until_it_thaws(room):
    """Nobody is told, and nothing is lost: what was written meanwhile arrives in the end."""
    async with joined(room, "Ann", "Bob") as (ann, bob):
        assert await press(room, FREEZE) == 200
        assert await press(room, FREEZE) == 409  # it is frozen already
        ann.post("hello")
        frozen = await shown(
            room, lambda now: any("silent" in one.values[0] for one in now.clients)
        )
        assert frozen.facts["line"] == "frozen"
        assert frozen.buttons == [DROP, THAW]
        assert (bob.messages, bob.connected) == ([], True)
        assert await press(room, THAW) == 200
        assert await bob.sees(1) == ["Ann: hello"]
        await shown(room, lambda now: now.facts["caught up"] == 2)


async def test_dropped_class_comes_back_and_catches_up(room):
    """Everybody notices; then everybody is there again, and has what was written."""
    async with joined(room, "Ann", "Bob", recover=True) as (ann, bob):
        await ann.send("one")
        await bob.sees(1)
        assert await press(room, FREEZE) == 200
        assert await press(room, DROP) == 200
        for tab in (ann, bob):
            await tab.until(lambda tab=tab: not tab.connected, "be dropped")
        ann.post("two")
        away = await shown(room, lambda now: {one.values[0] for one in now.clients} == {"away"})
        assert [client.healthy for client in away.clients] == [False, False]
        assert await press(room, THAW) == 200
        assert await bob.sees(2) == ["Ann: one", "Ann: two"]
        await shown(room, lambda now: now.facts["caught up"] == 2)


async def test_name_is_freed_by_the_button_in_its_row(room):
    """Its student is out until somebody reconnects; the name is for who comes first."""
    async with joined(room, "Ann", "Bob") as (ann, bob):
        await shown(room, lambda now: {tuple(one.buttons) for one in now.clients} == {(FREE,)})
        assert await press(room, FREE, "Carol") == 404
        assert await press(room, FREE, "Ann") == 200
        await ann.until(lambda: not ann.connected)
        assert [client.name for client in look(room).clients] == ["Bob"]
        await ann.reconnect()
        room.free("Ann")  # as a plain call
        await ann.until(lambda: not ann.connected)
        assert await bob.send("still here") == 1


async def test_console_says_where_too_many_names_come_from(room, monkeypatch):
    """From what number on one address is conspicuous, and what the instructor can do."""
    monkeypatch.setattr("chatlab.classroom.classroom.NEW_NAMES", 2)
    async with joined(room, "Ann"):
        assert "names" not in look(room).note
        async with joined(room, "Bob"):
            assert "2 names were taken from 127.0.0.1." in look(room).note


async def test_buttons_can_be_pressed_from_a_cell(room):
    """The same three, as plain calls."""
    async with joined(room, "Ann") as (ann,):
        room.freeze()
        assert look(room).facts["line"] == "frozen"
        room.cut()
        await ann.until(lambda: not ann.connected)
        room.thaw()
        await ann.until(lambda: ann.connected)


async def test_console_tells_the_class_in_numbers(room):
    """Who is there, how far, and what to say to the class."""
    async with joined(room, "Ann", "bob") as (ann, bob):
        await ann.send("hello")
        await bob.sees(1)
        picture = await shown(room, lambda now: {one.values[1] for one in now.clients} == {1})
        await bob.close()
        alone = await shown(room, lambda now: now.facts["caught up"] == 1)
    assert picture.facts == {
        "join code": CODE,
        "students": 2,
        "caught up": 2,
        "messages": 1,
        "line": "open",
    }
    assert [(client.name, *client.values) for client in picture.clients] == [
        ("Ann", "caught up", 1, 0),
        ("bob", "caught up", 1, 0),
    ]
    assert [client.values[0] for client in alone.clients] == ["caught up", "away"]


async def test_console_is_for_this_machine_and_for_who_knows_its_key(db):
    """The class reaches the chat on every address, and the console on none of them."""
    async with Classroom(db=db, host="0.0.0.0") as room, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.2:{room.port}/") as page:
            assert page.status == 200
        console = f"http://127.0.0.1:{room.server.port}"
        for path, status in ((room.panel.path, 200), ("", 404), ("x" * 32 + "/", 404)):
            async with session.get(f"{console}/{path}") as answer:
                assert answer.status == status
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"http://127.0.0.2:{room.server.port}/{room.panel.path}")
        async with session.get(f"http://127.0.0.2:{room.port}/{room.panel.path}") as answer:
            assert answer.status == 404  # what the class reaches has no console in it


async def connect_from(room, place, auth):
    """Connect from an address of this machine; return the answer to CONNECT."""
    url = f"http://127.0.0.1:{room.port}/socket.io/?EIO=4&transport=polling"
    connector = aiohttp.TCPConnector(local_addr=(place, 0))
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(url) as answer:
            sid = re.search(r'"sid":"([^"]+)"', await answer.text())[1]
        packet = "40" + json.dumps(auth)
        async with session.post(f"{url}&sid={sid}", data=packet) as answer:
            assert answer.status == 200
        async with session.get(f"{url}&sid={sid}") as answer:
            return await answer.text()


async def test_one_who_guesses_keeps_nobody_else_out(db):
    """The door knows addresses although everybody comes through one line."""
    async with Classroom(db=db, host="0.0.0.0", code=CODE) as room:
        for _ in range(WRONG_CODES):
            assert "not the join code" in await connect_from(room, "127.0.0.5", said("E", "222222"))
        assert "too many wrong codes" in await connect_from(room, "127.0.0.5", said("Eve"))
        assert '"sid"' in await connect_from(room, "127.0.0.6", said("Ann"))


async def test_second_class_takes_the_place_of_the_first(db):
    """A cell can be run again: the port is free for it, and the old class is over."""
    first = await Classroom(db=db)
    port = first.port
    second = await Classroom(db=db, port=port)
    assert not first.server.running
    assert second.port == port
    assert second.code != first.code
    await second.close()
    await first.close()


async def test_taken_port_is_an_error(room, db):
    """And nothing is left of the class that could not begin."""
    with pytest.raises(OSError, match="in use"):
        await Classroom(db=db.with_name("other.db"), port=room.port, name="other")
    async with joined(room, "Ann") as (ann,):
        assert await ann.send("still here") == 1


@pytest.mark.parametrize(
    ("host", "found", "note"),
    [
        ("127.0.0.1", "192.0.2.7", "Only this machine reaches it"),
        ("0.0.0.0", "192.0.2.7", ""),
        ("0.0.0.0", None, "This machine is in no network"),
    ],
)
async def test_notebook_shows_how_to_join(db, monkeypatch, host, found, note):
    """A picture, the code, the console, and what keeps phones out, if anything does."""
    monkeypatch.setattr("chatlab.harness.addresses.network_address", lambda host: found)
    async with Classroom(db=db, host=host, code=CODE) as room:
        shown, port = room._repr_mimebundle_(), room.port
        url = f"http://{found if not note else 'localhost'}:{port}"
        console = room.console
    assert shown["text/plain"].startswith(f"Join at {url} with the code {CODE}\n")
    for text in shown.values():
        assert console in text
        assert note in text
        assert ("machine" in text) is bool(note)
    assert 'alt="QR code: the address ' + url in shown["text/html"]


@pytest.mark.parametrize("code", ["", "K7PQ2", "K7PQ20"])
def test_code_that_is_none_is_an_error(code):
    """Before anything is started."""
    with pytest.raises(ValueError, match="a join code has 6 characters"):
        Classroom(code=code)


def live_only(sio, log):
    """A server that stores messages and sends them to who is there, and later to nobody."""

    @sio.event
    async def connect(sid, environ, auth):
        await sio.enter_room(sid, "class")

    @sio.event
    async def disconnect(sid, reason):
        """There is nothing to forget."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, key=None):
        offset = await log.append(text, key)
        await sio.emit(CHAT_MESSAGE, (text, offset), to="class")
        return offset


async def whole_class(db, students=STUDENTS, **options):
    """Let a class live through a scenario; return the verdict, and what the console shows then.

    First one half has no line of its own, and of both halves every second one writes; then all are
    frozen, the others write, and all are dropped before they thaw.
    """
    history, names = History(), [f"student {number:03}" for number in range(students)]

    def record(kind, who, text=None, offset=None):
        own = text is not None and kind != "show"  # a page shows its name in front
        history.record(kind, who, f"{who}: {text}" if own else text, offset)

    async with (
        Classroom(db=db, code=CODE, **options) as room,
        joined(room, *names, record=record) as tabs,
    ):
        here, away = tabs[::2], tabs[1::2]
        await asyncio.gather(*(tab.drop() for tab in away))
        for tab in here[::2] + away[::2]:
            tab.post("one")
        await all_are(here, "done", lambda tab: not tab.pending)
        await asyncio.gather(*(tab.reconnect() for tab in away))
        await all_are(tabs, "done", lambda tab: not tab.pending)
        assert await press(room, FREEZE) == 200
        for tab in here[1::2] + away[1::2]:
            tab.post("two")
        assert await press(room, DROP) == 200
        await all_are(tabs, "dropped", lambda tab: not tab.connected)
        assert await press(room, THAW) == 200
        await all_are(tabs, "back, and done", lambda tab: tab.connected and not tab.pending)
        async with MessageLog(db) as log:
            messages = await log.after(0)
        row = ("caught up", len(messages), 0)
        picture = await shown(room, lambda now: {tuple(one.values) for one in now.clients} == {row})
        return check(history, messages, promised=True), picture


async def all_are(tabs, wish, condition):
    """Wait until a condition holds for every tab."""
    await asyncio.gather(*(tab.until(partial(condition, tab), wish, PATIENCE) for tab in tabs))


@pytest.mark.slow
async def test_class_of_two_hundred_catches_up(db):
    """All of them join, are dropped and frozen, and have every message once and in order."""
    verdict, picture = await whole_class(db)
    assert str(verdict) == "valid: every message once and in order"
    assert picture.facts["students"] == picture.facts["caught up"] == STUDENTS
    assert picture.facts["messages"] == STUDENTS
    assert len(set(stored(db))) == STUDENTS


async def test_class_on_a_server_without_catch_up_is_not_valid(db):
    """The control: who was away never gets what it missed. A console cannot see that: an offset is
    no proof that the messages before it are there. The verdict does."""
    verdict, _ = await whole_class(db, students=20, handlers=live_only)
    assert verdict.counts["lost"] >= 10 * 5
