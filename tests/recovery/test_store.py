"""Sessions in a table: a client that comes back after a restart gets everything."""

import asyncio
import contextlib
import json
import sqlite3
from functools import partial

import pytest
import recovering
from recovering import value
from support import asked, here, serving, turns, wired

from chatlab.client.tab import ChatClient
from chatlab.lab.lab import Lab
from chatlab.recovery.events import Event
from chatlab.recovery.recovery import Recovery, recovered
from chatlab.recovery.sessions import Position, Session, hashed
from chatlab.recovery.store import SessionStore
from chatlab.server.app import chat

Tab = partial(ChatClient, recover=True)
life = partial(recovering.life, store=SessionStore)


def rows(db, table):
    with contextlib.closing(sqlite3.connect(db)) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()


@pytest.fixture
def db(tmp_path):
    return tmp_path / "chat.db"


@pytest.fixture
async def tab():
    """A function that opens a tab that asks for recovery; all are closed at the end."""
    tabs = []

    async def open_tab(served):
        tabs.append(Tab(served.url, "ann"))
        return await tabs[-1].open()

    yield open_tab
    for opened in tabs:
        await opened.close()


async def test_session_outlives_the_server(db):
    """Sid, pid, rooms, data, and each missed event once and in order."""
    async with life(db) as served, here(served) as (wire, first):
        sid = first["sid"]
        await served.sio.enter_room(sid, "kitchen")
        await served.sio.save_session(sid, {"name": "Ada", "tags": [1, None]}, "/")
        await served.sio.emit("tick", 0)
        _, offset = await value(wire)
        await served.sio.emit("tick", 1, room="kitchen")
        await served.sio.emit("tick", 2, room="cellar")
        await served.sio.emit("tick", b"bytes", to=sid)
        await served.sio.emit("tick", 3, skip_sid=sid)
    async with life(db) as served, here(served, first | {"offset": offset}) as (wire, second):
        assert second == first and recovered(served.sio, sid)
        assert (await value(wire))[0] == 1
        assert (await wire.packet()).startswith('451-["tick",{"_placeholder":true')
        assert await wire.ws.receive_bytes() == b"bytes"
        await served.sio.emit("tick", 4, room="kitchen")
        assert (await value(wire))[0] == 4
        assert sorted(served.sio.rooms(sid)) == sorted([sid, "kitchen"])
        assert await served.sio.get_session(sid) == {"name": "Ada", "tags": [1, None]}


async def test_store_gives_nobody_a_session(db):
    """A thief of the file finds no pid in it; what is there in its place is refused as a pid."""
    async with life(db) as served, here(served) as (_, first):
        await served.sio.enter_room(first["sid"], "kitchen")
        files = [path.read_bytes() for path in db.parent.iterdir()]
    assert not any(first["pid"].encode() in content for content in files)
    [(sid, found, *_)] = rows(db, "sessions")
    assert (sid, found) == (first["sid"], hashed(first["pid"]))
    async with life(db) as served:
        async with here(served, {"pid": found}) as (_, thief):
            assert thief["sid"] != sid
        async with here(served, first) as (_, honest):
            assert honest == first


async def test_restart_without_a_store_is_a_new_session(db):
    """The control: the sessions were in the server's memory alone."""
    async with life(db, store=None) as served, here(served) as (_, first):
        pass
    async with life(db, store=None) as served, here(served, first) as (_, second):
        assert second["sid"] != first["sid"] and not recovered(served.sio, second["sid"])


async def test_second_restart_is_like_the_first(db):
    """Numbers go on, and nothing is sent twice."""
    async with life(db) as served, here(served) as (wire, first):
        await served.sio.emit("tick", 0)
        offset = (await value(wire))[1]
    for number in range(1, 4):
        async with life(db) as served, here(served, first | {"offset": offset}) as (wire, second):
            assert second == first
            await served.sio.emit("tick", number)
            found, offset = await value(wire)
            assert found == number


async def test_client_that_got_nothing_comes_back_after_a_restart(db):
    """It has no offset, and gets everything since it came."""
    async with life(db) as served, here(served) as (_, first):
        await served.sio.emit("tick", 0)
    async with life(db) as served, here(served, first) as (wire, second):
        assert second == first
        assert (await value(wire))[0] == 0


@pytest.mark.parametrize("how", ["goodbye", "forget", "window"])
async def test_session_that_has_ended_does_not_come_back(db, how):
    """Neither it nor an event for it is in the tables."""
    now = [0.0]
    recovery = Recovery(clock=lambda: now[0], store=SessionStore(db))
    async with serving(db, lambda sio, log: None, recovery=lambda: recovery) as served:
        async with here(served) as (wire, first):
            await served.sio.emit("tick", 0)
            await value(wire)
            if how == "goodbye":
                await wire.ws.send_str("41")
            if how == "forget":
                await recovery.forget(first["sid"])
        while first["sid"] in recovery.registry.connected:
            await turns()
        now[0] += 1000 * (how == "window")
        recovery.registry.purge()
    assert rows(db, "sessions") == rows(db, "events") == []
    async with life(db) as served, here(served, first) as (_, second):
        assert second["sid"] != first["sid"]


async def test_refused_connection_leaves_nothing(db):
    """What the handler stored before it refused is deleted."""

    def refusing(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            await sio.enter_room(sid, "kitchen")
            await sio.save_session(sid, {"name": "Ada"})
            return False

    async with life(db, handlers=refusing) as served, wired(served.url) as wire:
        assert (await wire.connect({"pid": ""})).startswith("44")
    assert rows(db, "sessions") == []


async def test_what_changes_while_the_client_is_away_is_stored(db):
    """The server removes it from a room, and it is not in that room after a restart."""
    async with life(db) as served:
        async with here(served) as (_, first):
            await served.sio.enter_room(first["sid"], "kitchen")
        while first["sid"] in served.sio.manager.registry.connected:
            await turns()
        await served.sio.leave_room(first["sid"], "kitchen")
    async with life(db) as served, here(served, first) as (_, second):
        assert second == first
        assert served.sio.rooms(first["sid"]) == [first["sid"]]


@pytest.mark.parametrize("said", [{"when": object()}, {"where": {1, 2}}, {"pair": (1, 2)}, {1: 2}])
async def test_what_json_cannot_say_is_refused(db, said):
    """The call raises TypeError, and nothing is stored."""
    async with life(db) as served, here(served) as (_, first):
        with pytest.raises(TypeError):
            await served.sio.save_session(first["sid"], said)
        with pytest.raises(TypeError):
            await served.sio.enter_room(first["sid"], ("a", "pair"))
        assert await served.sio.get_session(first["sid"]) == {}
        assert served.sio.rooms(first["sid"]) == [first["sid"]]


async def test_events_are_sent_in_the_order_in_which_they_were_emitted(db):
    """Many at once, one of which is cancelled; then one with a callback."""
    async with life(db) as served, here(served) as (wire, first):
        emits = [asyncio.create_task(served.sio.emit("tick", n)) for n in range(20)]
        await asyncio.sleep(0)
        emits[2].cancel()
        await asyncio.wait(emits)
        await served.sio.emit("tick", 20, to=first["sid"], callback=print)
        packets = [await wire.packet() for _ in range(21)]
    assert [json.loads(packet[packet.index("[") :])[1] for packet in packets] == list(range(21))


async def test_event_is_on_the_disk_before_it_is_sent(db):
    """Otherwise a client could have an event that the next server does not know."""
    async with life(db) as served, here(served):
        seen = []
        served.sio.manager.connections.send = lambda *event: seen.append(len(rows(db, "events")))
        await served.sio.emit("tick", 0)
        assert seen == [1]


async def test_client_that_connects_while_an_event_is_stored_gets_it_once(db):
    """The event is kept, but not sent yet: it comes with what was missed."""
    async with life(db) as served:
        async with here(served) as (_, first):
            pass
        while first["sid"] in served.sio.manager.registry.connected:
            await turns()
        store = served.sio.manager.registry.store
        write, waiting = store._batches._write, asyncio.Event()

        async def held(batch):
            await waiting.wait()
            await write(batch)

        store._batches._write = held
        emit = asyncio.create_task(served.sio.emit("tick", 0))
        async with here(served, first) as (wire, second):
            assert second == first
            waiting.set()
            await emit
            await served.sio.emit("tick", 1)
            assert [(await value(wire))[0] for _ in range(2)] == [0, 1]


async def test_store_that_fails_is_reported_and_the_server_goes_on(db, monkeypatch):
    """Sessions and events are in memory too: only the next server has lost them."""
    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    async with life(db) as served:
        store = served.sio.manager.registry.store
        await asked(store, "PRAGMA query_only = 1")
        async with here(served) as (wire, first):
            await served.sio.emit("tick", 0)
            _, offset = await value(wire)
        while first["sid"] in served.sio.manager.registry.connected:
            await turns()
        async with here(served, first | {"offset": offset}) as (_, second):
            assert second == first
    assert {str(report["exception"]) for report in reports} == {
        "attempt to write a readonly database"
    }


async def test_file_that_is_no_database_is_one_sentence(tmp_path):
    """Like the message log's: one sentence that names the file."""
    (tmp_path / "x").write_text("this is no database, but it is long enough to look at" * 10)
    with pytest.raises(sqlite3.DatabaseError, match=r"cannot keep sessions in .*not a database"):
        await SessionStore(tmp_path / "x").open()


async def test_what_is_stored_comes_back_as_it_was(db):
    """Every field that survives a restart."""
    store = SessionStore(db)
    await store.open()
    session = Session("sid", "/", Position(3, 7), Position(9, 9), rooms={None: 7, "a": 8})
    session.saved = {"name": "Ada"}
    event = Event(8, 1.0, "/", (None, "a"), ["b"], ['2["tick",0]', b"\x00\xff"])
    await store.put_session(session)
    await store.add_event(event, lambda: None)
    await store.close()
    sessions, events, last = await store.open()
    await store.close()
    [found] = sessions
    for field in ("sid", "namespace", "start", "pid_hash", "rooms", "saved"):
        assert getattr(found, field) == getattr(session, field)
    assert found.data == {"name": "Ada"} and found.sent == Position(3, 7)
    assert events == [event._replace(time=0)] and last == 8


@pytest.mark.parametrize("store", [True, False])
async def test_killed_chat_loses_nothing_and_recovers_with_a_store(store):
    """A real `kill -9`: tabs get every message, and recover only if there is a store."""
    async with Lab(chat, process=True, recovery=True, store=store) as lab:
        ann, bob = await lab.join("ann", "bob", tab=Tab)
        await ann.send("before")
        await lab.quiet()
        await bob.drop()
        await ann.send("missed")
        await lab.kill()
        await lab.start()
        await bob.reconnect()
        await ann.send("after")
        verdict = await lab.verdict()
        assert (ann.recovered, bob.recovered) == (store, store)
        assert bob.messages == ["before", "missed", "after"]
        assert verdict.valid


async def test_log_that_was_set_back_recovers_nobody_who_is_ahead(db, tab):
    """An older copy of the sessions may have its pid too: the cursor shows that it is ahead."""
    async with life(db, handlers=chat) as served:
        await served.log.append("one")
        ann = await tab(served)
        await ann.sees(1)
        await served.log.append("two")
        await ann.sees(2)
        await ann.drop()
    with contextlib.closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("DELETE FROM messages WHERE id = 2")
        connection.execute("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'messages'")
    async with life(db, handlers=chat) as served:
        ann.url = served.url
        await ann.reconnect()
        assert not ann.recovered
        await served.log.append("other")
        assert await ann.sees(2) == ["one", "other"]
        await ann.until(lambda: ann.outcome)
        assert ann.outcome["outcome"] == "reset"
        await ann.drop()
