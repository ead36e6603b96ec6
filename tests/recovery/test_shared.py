"""Sessions that every server finds: a client that comes to another one gets everything."""

import asyncio
from functools import partial

import asyncpg
import pytest
import recovering
from databases import url_of
from recovering import value
from support import here, turns

import chatlab.recovery.shared
from chatlab.client import ChatClient
from chatlab.history import History, check
from chatlab.log import LogError
from chatlab.log.schema import EPOCH
from chatlab.recovery import SharedStore, recovered
from chatlab.recovery.shared import SCHEMA
from chatlab.server import chat

PATIENCE = 60
life = partial(recovering.life, store=SharedStore)


@pytest.fixture
def url(tmp_path):
    return url_of(tmp_path)


async def stored(served):
    """Wait until all that a server has to store of its sessions is in the database."""
    await turns()  # the new session is stored right after CONNECT
    await served.sio.manager.registry.store.flush()


async def test_client_comes_to_another_server_when_its_own_is_gone(url):
    """Sid, pid, rooms, data, and each missed event once and in order, of both servers."""
    async with life(url) as two:
        async with life(url) as one, here(one) as (wire, first):
            sid = first["sid"]
            await one.sio.enter_room(sid, "kitchen")
            await one.sio.save_session(sid, {"name": "Ada", "tags": [1, None]}, "/")
            await one.sio.emit("tick", 0)
            _, offset = await value(wire)
            await one.sio.emit("tick", 1, room="kitchen")
            await two.sio.emit("tick", 2, room="kitchen")
            await two.sio.emit("tick", "not for Ada", room="cellar")
            await one.sio.emit("tick", b"bytes", to=sid)
            await two.sio.emit("tick", "not for Ada", skip_sid=sid)
        async with here(two, first | {"offset": offset}) as (wire, second):
            assert second == first and recovered(two.sio, sid)
            assert [(await value(wire))[0] for _ in range(2)] == [1, 2]
            assert (await wire.packet()).startswith('451-["tick",{"_placeholder":true')
            assert await wire.ws.receive_bytes() == b"bytes"
            await two.sio.emit("tick", 4, room="kitchen")
            assert (await value(wire))[0] == 4
            assert sorted(two.sio.rooms(sid)) == sorted([sid, "kitchen"])
            assert (await two.sio.get_session(sid)) == {"name": "Ada", "tags": [1, None]}


async def test_client_is_not_recovered_without_a_shared_store(url):
    """The control: each server keeps its own sessions, and gives the client a new one."""
    async with life(url, store=None) as two:
        async with life(url, store=None) as one, here(one) as (_, first):
            pass
        async with here(two, first) as (_, second):
            assert second["pid"] != first["pid"] and not recovered(two.sio, second["sid"])


async def test_event_reaches_the_clients_of_all_servers_in_one_order(url):
    """Two servers emit at once; two clients, one at each, see the same."""
    async with (
        life(url) as one,
        life(url) as two,
        here(one) as (ann, _),
        here(two) as (bob, _),
    ):
        await asyncio.gather(
            *(server.sio.emit("tick", [n, name]) for n in range(50) for name, server in
              (("one", one), ("two", two)))
        )  # fmt: skip
        seen = [[await value(wire) for _ in range(100)] for wire in (ann, bob)]
        assert seen[0] == seen[1]
        assert sorted(found for found, _ in seen[0]) == sorted(
            [n, name] for n in range(50) for name in ("one", "two")
        )


async def test_client_of_another_server_is_reached_by_its_sid(url):
    """And nobody else is."""
    async with (
        life(url) as one,
        life(url) as two,
        here(one) as (ann, first),
        here(two) as (bob, _),
    ):
        await two.sio.emit("tick", "for Ann", to=first["sid"])
        await two.sio.emit("tick", "for all")
        assert [(await value(ann))[0] for _ in range(2)] == ["for Ann", "for all"]
        assert (await value(bob))[0] == "for all"


async def test_server_lets_go_of_a_session_that_another_has_taken(url):
    """It hangs up, and nothing that it still does changes what the other one stores."""
    async with life(url) as one, life(url) as two, here(one) as (old, first):
        sid = first["sid"]
        await stored(one)
        async with here(two, first) as (new, second):
            assert second == first
            async with asyncio.timeout(PATIENCE):
                while sid in one.sio.manager.registry.connected:
                    await turns()
                assert (await old.ws.receive()).data == "1"  # Engine.IO's CLOSE
            await two.sio.enter_room(sid, "kitchen")
            await one.sio.emit("tick", 1, room="kitchen")
            assert (await value(new))[0] == 1
        await stored(two)
        async with here(one, first) as (_, third):
            assert third == first
            assert "kitchen" in one.sio.rooms(sid)


async def test_claim_that_nobody_hears_changes_no_session(url, monkeypatch):
    """A server that was not told takes the client for its own: what it stores then is void."""
    monkeypatch.setattr(chatlab.recovery.shared.SharedStore, "_heard", lambda store, claim: None)
    async with life(url) as one, life(url) as two, here(one) as (_, first):
        await stored(one)
        async with here(two, first):
            await two.sio.enter_room(first["sid"], "kitchen")
            await one.sio.enter_room(first["sid"], "cellar")
        async with life(url) as three, here(three, first):
            assert sorted(three.sio.rooms(first["sid"])) == sorted([first["sid"], "kitchen"])


async def test_session_is_forgotten_some_time_after_its_client_left(url):
    """In the database too, whichever server does it. The controls are the tests above."""
    store = partial(SharedStore, window=0.4)
    async with life(url, store=store) as one, here(one) as (_, first):
        await stored(one)
    async with life(url, store=store) as two:
        ask = two.sio.manager.registry.store._log.ask
        async with asyncio.timeout(PATIENCE):
            while await ask(lambda db: db.fetchval("SELECT count(*) FROM sessions")):
                await turns()
        async with here(two, first) as (_, second):
            assert second["pid"] != first["pid"]


async def test_session_of_an_earlier_epoch_is_not_recovered(url):
    """Another copy of the database may have given other events the numbers that it knows."""
    async with life(url) as one, here(one) as (_, first):
        await stored(one)
        ask = one.sio.manager.registry.store._log.ask
        await ask(lambda db: db.execute("UPDATE sessions SET epoch = 'another'"))
        assert await ask(lambda db: db.fetchval(EPOCH)) != "another"
    async with life(url) as two, here(two, first) as (_, second):
        assert second["pid"] != first["pid"]


TAKE_OVER = """
DELETE FROM messages WHERE id > 2;
UPDATE head SET last = 2;
ALTER TABLE messages RENAME TO old;
CREATE TABLE messages (LIKE old INCLUDING ALL);
INSERT INTO messages SELECT * FROM old;
DROP TABLE old CASCADE;
"""
"""Another copy of the database, which lacks the newest events."""
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def test_client_is_cut_off_when_another_copy_gives_its_events_other_numbers(url):
    """Otherwise it would get no event until the numbers have passed those that it knows."""
    async with life(url) as one:
        async with here(one) as (wire, first):
            for n in range(5):
                await one.sio.emit("tick", n)
            assert [(await value(wire))[0] for _ in range(5)] == [0, 1, 2, 3, 4]
            await take_over(url)
            await emitted(one, "new")
            assert await wire.packet() == '42["tick","new"]'
            assert (await wire.ws.receive()).data == "1"  # Engine.IO's CLOSE
        async with here(one, first) as (wire, second):
            assert second["pid"] != first["pid"]
            await one.sio.emit("tick", "newer")
            assert (await value(wire))[0] == "newer"


async def take_over(url):
    db = await asyncpg.connect(url, server_settings={"search_path": SCHEMA})
    await db.execute(TAKE_OVER)
    await db.execute(CUT)
    await db.close()


async def emitted(server, text):
    """Emit an event, again and again until the database stores it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await server.sio.emit("tick", text)
            except LogError:
                await turns()


async def test_stranger_with_a_wrong_pid_gets_a_new_session(url):
    """And the session stays where it is."""
    async with life(url) as one, life(url) as two, here(one) as (ann, first):
        await stored(one)
        for pid in ("made up", first["pid"][:-1], first["sid"]):
            async with here(two, {"pid": pid, "sid": first["sid"]}) as (_, answer):
                assert answer["sid"] != first["sid"]
        await one.sio.emit("tick", 1)
        assert (await value(ann))[0] == 1


async def test_tab_that_moves_between_servers_is_recovered_each_time(url):
    """Every message once and in order, and the server reads none of them again for it."""
    history, outcomes = History(), []

    def noting(sio, log):
        chat(sio, log)
        connect = sio.handlers["/"]["connect"]

        @sio.event
        async def connect_and_note(sid, environ, auth):
            outcomes.append(recovered(sio, sid))
            await connect(sid, environ, auth)

        sio.handlers["/"]["connect"] = connect_and_note

    async with life(url, handlers=noting) as one, life(url, handlers=noting) as two:
        ann = ChatClient(one.url, "ann", record=history.record, recover=True)
        await ann.open()
        await stored(one)
        for n in range(20):
            await ann.send(str(n))
            await ann.drop()
            ann.url = (two, one)[n % 2].url
            await ann.reconnect()
        assert await ann.sees(20) == [str(n) for n in range(20)]
        assert check(history).valid
        await ann.close()
    assert outcomes == [False] + [True] * 20


async def test_emit_says_so_when_the_database_cannot_store_it(url, monkeypatch):
    """The caller gets the error, as for a message; and connected clients go on."""
    async with life(url) as one, here(one) as (ann, _):

        async def refuse(store, event):
            raise LogError("not stored", "no database")

        with monkeypatch.context() as patch:
            patch.setattr(SharedStore, "publish", refuse)
            with pytest.raises(LogError):
                await one.sio.emit("tick", 0)
        await one.sio.emit("tick", 1)
        assert (await value(ann))[0] == 1
