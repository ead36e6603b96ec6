"""Who may take over a session, and how long sessions and events are kept."""

import pytest
from recovering import come_and_go, event, events, nothing_more
from support import here, turns

import chatlab.recovery.registry
from chatlab.recovery.recovery import WINDOW, Recovery, recovered
from chatlab.recovery.registry import Registry
from chatlab.recovery.sessions import Position, Session
from chatlab.recovery.store import NoStore

GRACE = 25 + 2 * 20
"""Seconds for which a dead connection may go unnoticed, with Engine.IO's own settings."""


@pytest.mark.parametrize(
    ("auth", "namespace", "has"),
    [
        ({}, "/", Position(2, 5)),  # no event yet: what it had at its start
        ({"offset": "2.7"}, "/", Position(2, 7)),
        ({"offset": "0.1"}, "/", Position(0, 1)),  # from before its start
        ({"offset": "2.10"}, "/", None),  # beyond the newest event
        ({"offset": "4.7"}, "/", None),  # beyond what the log sent it
        ({"offset": "x"}, "/", None),
        ({"pid": "another"}, "/", None),
        ({"pid": None}, "/", None),
        ({}, "/other", None),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_rule_who_may_take_over_a_session(auth, namespace, has, live):
    """The rule of `Registry.may_take_over`: pid, namespace, offset, and what it missed."""
    registry = Registry(WINDOW, NoStore(), lambda: 0.0, first=9)
    session = Session("sid", "/", start=Position(2, 5), sent=Position(3, 8), live=live)
    registry.sessions[session.pid_hash] = session
    registry.events.forgotten = 5
    expected = has and (session, has)
    assert registry.may_take_over({"pid": session.pid} | auth, namespace) == expected
    registry.events.forgotten = 9
    assert registry.may_take_over({"pid": session.pid} | auth, namespace) is None


async def test_offset_of_an_older_session_is_no_offset(server):
    """An official client keeps it until its next event, so it says nothing of the new session."""
    async with here(server):  # events are kept only if there is a session
        await server.emit(5)
        first, _ = await come_and_go(server)
        await server.emit(2, first=5)
        async with here(server, {"pid": first["pid"], "offset": "0.2"}) as (wire, second):
            assert second == first
            assert await events(wire, 2) == [5, 6]
            await nothing_more(server, wire)


def test_numbers_of_a_later_server_are_higher():
    """So an offset from an earlier server is from before the session."""
    before, after = Recovery().registry.events.last, Recovery().registry.events.last
    assert before <= after and len(str(after)) <= 18


async def test_idle_client_comes_back(server):
    """The official server would have forgotten the event of its offset."""
    async with here(server) as (wire, first):
        await server.emit(1)
        _, offset = await event(wire)
        for _ in range(10):
            server.clock.now += WINDOW
            await server.emit(1, room="elsewhere")
        assert len(server.registry.events.retained) < 3
    await server.gone(first["sid"])
    await server.emit(2)
    async with here(server, {"pid": first["pid"], "offset": offset}) as (wire, second):
        assert second == first
        assert await events(wire, 2) == [0, 1]


async def test_window_is_for_those_who_are_away(server):
    """A client that came back may stay longer than the window, and come back again."""
    first, _ = await come_and_go(server)
    async with here(server, {"pid": first["pid"]}) as (wire, _):
        server.clock.now += 10 * WINDOW
        await nothing_more(server, wire)
    await server.gone(first["sid"])
    async with here(server, {"pid": first["pid"]}) as (_, second):
        assert second == first


@pytest.mark.parametrize("passed", [WINDOW - 1, WINDOW])
async def test_session_ends_with_the_window(server, passed):
    """Exactly at its end, by the clock."""
    first, _ = await come_and_go(server)
    server.clock.now += passed
    async with here(server, {"pid": first["pid"]}) as (_, second):
        assert (second == first) is (passed < WINDOW)


VALUES = [
    None,
    True,
    0,
    1.5,
    "",
    "x",
    "1",
    "1.",
    ".1",
    "-1.0",
    "0.-1",
    "1.1.1",
    "\u0661.\u0661",
    "0.1 ",
]
VALUES += ["9" * 5000 + ".1", "0.999999", "999.1", [], ["0.1"], {}, {"0": 1}, "\ud800"]


@pytest.mark.parametrize("offset", VALUES[1:], ids=repr)
async def test_offset_that_makes_no_sense_is_not_recovered(server, offset):
    """The client gets a new session, and there is no error."""
    first, _ = await come_and_go(server, count=1)
    async with here(server, {"pid": first["pid"], "offset": offset}) as (wire, second):
        assert second["pid"] != first["pid"]
        assert not recovered(server.sio, second["sid"])
        await nothing_more(server, wire)


@pytest.mark.parametrize("pid", VALUES, ids=repr)
async def test_pid_that_makes_no_sense_is_not_recovered(server, pid):
    """The same for any JSON value."""
    async with here(server, {"pid": pid, "offset": "0.0"}) as (_, answer):
        assert not recovered(server.sio, answer["sid"])


async def test_too_many_who_are_away_are_forgotten_by_age(server, monkeypatch):
    """The client that left first gets a new session; those that left later get theirs back."""
    monkeypatch.setattr(chatlab.recovery.registry, "MOST_AWAY", 2)
    first, second, third = [(await come_and_go(server))[0] for _ in range(3)]
    for left, kept in ((second, True), (third, True), (first, False)):
        async with here(server, {"pid": left["pid"]}) as (_, answer):
            assert (answer == left) is kept


async def test_too_many_bytes_of_events_are_forgotten_by_age(server, monkeypatch):
    """A client that missed a forgotten event is not recovered; one that missed none is."""
    early, _ = await come_and_go(server)
    await server.emit(3)
    late, _ = await come_and_go(server)
    monkeypatch.setattr(
        chatlab.recovery.registry, "MOST_BYTES", 2 * server.registry.events.size // 3 + 1
    )
    await server.emit(1, first=3)
    await server.emit(1, first=4)
    events_now = server.registry.events
    assert events_now.size == sum(event.size for event in events_now.retained)
    assert [event.number for event in events_now.retained] == [3, 4, 5]
    async with here(server, {"pid": early["pid"]}) as (_, answer):
        assert answer != early
    async with here(server, {"pid": late["pid"]}) as (wire, answer):
        assert answer == late
        assert await events(wire, 2) == [3, 4]


@pytest.mark.parametrize("away", [True, False])
async def test_forgotten_client_comes_back_as_a_new_one(server, away):
    """It may be away or connected; a connection goes on without its session."""
    async with here(server) as (wire, first):
        if not away:
            await server.recovery.forget(first["sid"])
            await server.sio.emit("tick", 1)
            assert await wire.packet() == '42["tick",1]'
    while server.sio.manager.is_connected(first["sid"], "/"):
        await turns()
    await server.recovery.forget(first["sid"])
    async with here(server, {"pid": first["pid"]}) as (_, second):
        assert second["sid"] != first["sid"] and second["pid"] != first["pid"]
    await server.recovery.forget("nobody")


async def test_crowd_that_vanishes_leaves_nothing(server):
    """Of ten thousand sessions and a hundred events, nothing is kept after the window."""
    manager, registry, count = server.manager, server.registry, 10_000
    server.sio.handlers["/"].clear()
    for number in range(count):
        eio_sid = f"eio{number}"
        server.sio.environ[eio_sid] = {}
        sid = await manager.pre_connect(eio_sid, "/")
        manager.leave(registry.connected[sid])
        del server.sio.environ[eio_sid]
    await server.emit(100)
    assert len(registry.sessions) == len(registry.away) == count
    assert len(registry.events.retained) == 100
    server.clock.now += WINDOW
    registry.expire()
    kept = registry.sessions, registry.connected, registry.away, registry.events.retained
    assert not any(kept) and not manager.disconnecting
    assert not manager.rooms and not manager.pending_connect
    assert registry.timer is None


async def test_events_are_kept_for_as_long_as_a_dead_connection_may_go_unnoticed(server):
    """For the window and a heartbeat; not at all if there is no session."""
    await server.emit(1)
    assert not server.registry.events.retained
    async with here(server):
        await server.emit(1)
        server.clock.now += WINDOW + GRACE - 1
        server.registry.expire()
        assert len(server.registry.events.retained) == 1
        server.clock.now += 1
        server.registry.expire()
        assert not server.registry.events.retained
