"""Connection state recovery: who comes back finds everything, once and in order."""

import asyncio
import contextlib
import json

import engineio
import pytest
import socketio
from socketio.packet import CONNECT, Packet
from support import Hold, here, serving, turns, wired

import chatlab.recovery.manager
from chatlab.recovery.manager import Manager
from chatlab.recovery.recovery import WINDOW, Recovery, recovered, session_of
from chatlab.recovery.sessions import Position, Session

GRACE = 25 + 2 * 20
"""Seconds for which a dead connection may go unnoticed, with Engine.IO's own settings."""


class Clock:
    """A clock that a test moves by hand."""

    now = 1000.0

    def __call__(self):
        return self.now


class Bench:
    """A server with recovery, and what its handlers saw."""

    def __init__(self, served, recovery, clock, handlers):
        self.url, self.sio, self.recovery, self.clock = served.url, served.sio, recovery, clock
        self.manager, self.seen = recovery.manager, handlers
        self.hold = None

    async def emit(self, count, first=0, **options):
        for number in range(first, first + count):
            await self.sio.emit("tick", number, **options)

    async def gone(self, sid):
        """Wait until the server has noticed that a client is gone."""
        async with asyncio.timeout(5):
            while sid in self.manager.here:
                await turns()


@contextlib.asynccontextmanager
async def bench(tmp_path, **options):
    clock, seen, made = Clock(), [], []
    recovery = Recovery(clock=clock, first=0)

    def handlers(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            seen.append(("connect", sid, recovered(sio, sid)))
            if made[0].hold:
                await made[0].hold.here()
            if auth and auth.get("refuse"):
                return False
            if auth and auth.get("fail"):
                raise LookupError("the handler fails")

        @sio.event
        async def disconnect(sid, reason):
            seen.append(("disconnect", sid))

        @sio.event
        async def join(sid, room):
            await sio.enter_room(sid, room)
            await sio.save_session(sid, {"room": room})

        made.append(None)

    async with serving(
        tmp_path / "chat.db", handlers, recovery=lambda: recovery, **options
    ) as served:
        made[0] = Bench(served, recovery, clock, seen)
        yield made[0]


@pytest.fixture
async def server(tmp_path):
    async with bench(tmp_path) as made:
        yield made


async def come_and_go(server, auth=None, count=0):
    """Connect, be sent `count` events, and break off; return the answer and the last offset."""
    async with here(server, auth) as (wire, answer):
        await server.emit(count)
        offset = [(await event(wire))[1] for _ in range(count)][-1:]
        wire.ws._response.connection.transport.abort()
    await server.gone(answer["sid"])
    return answer, offset[0] if offset else None


async def event(wire):
    """Return the next event's value and its offset."""
    name, value, offset = json.loads((await wire.packet()).removeprefix("42"))
    assert name == "tick"
    return value, offset


async def events(wire, count):
    return [(await event(wire))[0] for _ in range(count)]


async def nothing_more(server, wire):
    """Assert that nothing waits: the next event is one that is emitted now."""
    await server.sio.emit("tick", "last")
    assert (await event(wire))[0] == "last"


async def test_comes_back_to_everything(server):
    """Sid, pid, rooms, session, and each missed event once, in order."""
    async with here(server) as (wire, first):
        await wire.ws.send_str('42["join","kitchen"]')
        while not await server.sio.get_session(first["sid"]):
            await turns()
        await server.emit(3)
        offset = [await event(wire) for _ in range(3)][-1][1]
        wire.ws._response.connection.transport.abort()
    await server.gone(first["sid"])
    await server.emit(2, first=3)
    await server.emit(2, first=5, room="kitchen")
    await server.emit(1, first=97, room="cellar")
    await server.emit(1, first=98, skip_sid=first["sid"])
    await server.emit(1, first=99, namespace="/other")
    await server.emit(1, first=7, to=first["sid"])
    await server.emit(1, first=8, to=["cellar", "kitchen"])
    async with here(server, {"pid": first["pid"], "offset": offset}) as (wire, second):
        assert second == first
        assert await events(wire, 6) == [3, 4, 5, 6, 7, 8]
        await nothing_more(server, wire)
        assert sorted(server.sio.rooms(first["sid"])) == sorted([first["sid"], "kitchen"])
        assert await server.sio.get_session(first["sid"]) == {"room": "kitchen"}
    sid = first["sid"]
    assert server.seen[:3] == [("connect", sid, False), ("disconnect", sid), ("connect", sid, True)]


async def test_events_before_a_room_was_entered_are_not_for_it(server):
    """They are not sent afterwards, though they are newer than the last offset."""
    async with here(server) as (wire, first):
        await server.emit(3, room="kitchen")
        await server.sio.enter_room(first["sid"], "kitchen")
    await server.gone(first["sid"])
    await server.emit(1, first=3, room="kitchen")
    async with here(server, {"pid": first["pid"]}) as (wire, second):
        assert second == first
        assert await events(wire, 1) == [3]
        await nothing_more(server, wire)


async def test_comes_back_without_having_got_an_event(server):
    """The official server needs an offset, and has none to go by."""
    first, _ = await come_and_go(server)
    await server.emit(2)
    async with here(server, {"pid": first["pid"]}) as (wire, second):
        assert second == first
        assert await events(wire, 2) == [0, 1]


async def test_offset_of_an_older_session_is_no_offset(server):
    """An official client keeps it until its next event: it does not say what the new one got."""
    async with here(server):  # somebody for whom events are kept
        await server.emit(5)
        first, _ = await come_and_go(server)
        await server.emit(2, first=5)
        async with here(server, {"pid": first["pid"], "offset": "0.2"}) as (wire, second):
            assert second == first
            assert await events(wire, 2) == [5, 6]
            await nothing_more(server, wire)


def test_numbers_of_a_later_server_are_higher():
    """So an offset that another server has left is one of an older session too."""
    before, after = Recovery().manager.events.last, Recovery().manager.events.last
    assert before <= after and len(str(after)) <= 18


async def test_callback_is_called_and_its_event_has_no_offset(server):
    """As with the official server: what has to be acknowledged is not recovered."""
    answers = []
    async with here(server) as (wire, first):
        options = {"to": first["sid"], "callback": lambda *values: answers.append(values)}
        await server.sio.emit("tick", 1, **options)
        assert await wire.packet() == '421["tick",1]'
        await wire.ws.send_str('431["yes"]')
        while not answers:
            await turns()
    assert answers == [("yes",)] and not server.manager.events.kept


async def test_idle_client_comes_back(server):
    """The official server has forgotten the packet whose offset it names."""
    async with here(server) as (wire, first):
        await server.emit(1)
        _, offset = await event(wire)
        for _ in range(10):
            server.clock.now += WINDOW
            await server.emit(1, room="elsewhere")
        assert len(server.manager.events.kept) < 3
    await server.gone(first["sid"])
    await server.emit(2)
    async with here(server, {"pid": first["pid"], "offset": offset}) as (wire, second):
        assert second == first
        assert await events(wire, 2) == [0, 1]


async def test_half_open_connection_is_taken_over(server):
    """The client is back before its old connection is known to be dead."""
    async with here(server) as (old, first):
        await server.emit(2)
        async with here(server, {"pid": first["pid"]}) as (wire, second):
            assert second == first
            assert await events(wire, 2) == [0, 1]
            assert (await events(old, 2)) == [0, 1]
            assert await old.packet() == "1"
            await old.ws.close()
            await turns()
            assert len(server.sio.eio.sockets) == 1
            await nothing_more(server, wire)
            kinds = [kind for kind, *_ in server.seen]
            assert kinds == ["connect", "disconnect", "connect"]


async def test_connection_that_is_connecting_is_taken_over(server):
    """Its handler ends later than that of the next one, and does no harm."""
    first, _ = await come_and_go(server)
    server.hold = hold = Hold()
    async with wired(server.url) as slow, asyncio.TaskGroup() as group:
        held = group.create_task(slow.connect({"pid": first["pid"], "refuse": True}))
        await hold.reached.wait()
        async with here(server, {"pid": first["pid"]}) as (wire, second):
            assert second == first
            hold.released.set()
            assert (await held).startswith("44")
            await server.emit(1)
            assert await events(wire, 1) == [0]
            assert recovered(server.sio, first["sid"])


@pytest.mark.parametrize("came_before", [True, False])
async def test_event_during_the_connect_handler_comes_once_after_connect(server, came_before):
    """Between what was missed and what comes afterwards."""
    first, _ = await come_and_go(server)
    await server.emit(1)
    server.hold = hold = Hold()
    async with wired(server.url) as wire, asyncio.TaskGroup() as group:
        pid = first["pid"] if came_before else ""
        connecting = group.create_task(wire.connect({"pid": pid}))
        await hold.reached.wait()
        await server.emit(2, first=1)
        hold.released.set()
        assert (json.loads((await connecting)[2:]) == first) is came_before
        await server.emit(1, first=3)
        assert await events(wire, 3 + came_before) == list(range(not came_before, 4))


@pytest.mark.parametrize("told", ["41", "server"])
async def test_goodbye_ends_the_session(server, told):
    """Whichever side says it."""
    async with here(server) as (wire, first):
        if told == "server":
            await server.sio.disconnect(first["sid"])
        else:
            await wire.ws.send_str(told)
        await server.gone(first["sid"])
    assert not server.manager.sessions
    async with here(server, {"pid": first["pid"]}) as (_, second):
        assert second["pid"] != first["pid"] and second["sid"] != first["sid"]


async def test_refused_connection_has_no_session(server):
    """Neither a new one nor the old one that it came back for."""
    first, _ = await come_and_go(server)
    async with wired(server.url) as wire:
        answer = await wire.connect({"pid": first["pid"], "refuse": True})
        assert answer.startswith("44")
    assert not server.manager.sessions


async def test_client_that_leaves_during_the_connect_handler_is_not_kept_as_here(server):
    """python-socketio would take it for connected for ever."""
    server.hold = hold = Hold()
    async with wired(server.url) as wire:
        await wire.ws.send_str('40{"pid":""}')
        await hold.reached.wait()
        await server.manager.hang_up(next(iter(server.sio.eio.sockets)))
        assert await wire.packet() == "1"
        hold.released.set()
        await turns()
    assert not server.manager.here and len(server.manager.away) == 1
    assert not server.manager.rooms


async def test_client_that_comes_a_third_time_has_the_session(server):
    """While the second, which took it over, is held by the old one's `disconnect` handler."""
    hold = Hold()

    @server.sio.event
    async def disconnect(sid, reason):
        await hold.here()

    async with (
        here(server) as (_, first),
        wired(server.url) as second,
        asyncio.TaskGroup() as group,
    ):
        held = group.create_task(second.connect({"pid": first["pid"]}))
        await hold.reached.wait()
        async with here(server, {"pid": first["pid"]}) as (wire, third):
            assert third == first
            hold.released.set()
            assert json.loads((await held)[2:])["pid"] != first["pid"]
            await server.emit(1)
            assert await events(wire, 1) == [0]
            await nothing_more(server, wire)


async def test_handler_that_fails_leaves_nothing_behind(server):
    """The session is kept for the window, as one whose connection broke, and then gone."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: complaints.append(told))
    async with wired(server.url) as wire:
        await wire.ws.send_str('40{"pid":"","fail":true}')
        while not complaints:
            await turns()
    while server.manager.here:
        await turns()
    assert len(server.manager.away) == 1 and not server.manager.rooms
    assert server.manager.timer.when() <= asyncio.get_running_loop().time() + WINDOW
    server.clock.now += WINDOW
    server.manager.expire()
    assert not server.manager.sessions and server.manager.timer is None


async def test_window_is_for_those_who_are_away(server):
    """Who has come back may stay for longer, and come back again."""
    first, _ = await come_and_go(server)
    async with here(server, {"pid": first["pid"]}) as (wire, _):
        server.clock.now += 10 * WINDOW
        await nothing_more(server, wire)
    await server.gone(first["sid"])
    async with here(server, {"pid": first["pid"]}) as (_, second):
        assert second == first


async def test_goodbye_is_taken_before_the_handler_has_seen_it(server):
    """Nobody gets the session while `disconnect` is being handled."""
    hold = Hold()

    @server.sio.event
    async def disconnect(sid, reason):
        await hold.here()

    async with here(server) as (_, first), asyncio.TaskGroup() as group:
        group.create_task(server.sio.disconnect(first["sid"]))
        await hold.reached.wait()
        assert not server.manager.sessions
        hold.released.set()


async def test_disconnect_handler_that_fails_does_no_harm(server):
    """The session is kept as if it had not; python-socketio would keep the client for ever."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: complaints.append(told))

    @server.sio.event
    async def disconnect(sid, reason):
        raise LookupError("the handler fails")

    first, _ = await come_and_go(server)
    assert complaints and not server.manager.rooms
    async with here(server, {"pid": first["pid"]}) as (_, second):
        assert second == first
        # Closed by a task that goes on, as the one is that looks after the heartbeats.
        await server.manager.hang_up(session_of(server.sio, first["sid"]).eio_sid)
        assert not server.manager.here and not server.manager.rooms


@pytest.mark.parametrize("passed", [WINDOW - 1, WINDOW])
async def test_session_ends_with_the_window(server, passed):
    """At that very second, by the clock, and not before."""
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
    """The client gets a new session, and nobody an error."""
    first, _ = await come_and_go(server, count=1)
    async with here(server, {"pid": first["pid"], "offset": offset}) as (wire, second):
        assert second["pid"] != first["pid"]
        assert not recovered(server.sio, second["sid"])
        await nothing_more(server, wire)


@pytest.mark.parametrize("pid", VALUES, ids=repr)
async def test_pid_that_makes_no_sense_is_not_recovered(server, pid):
    """The same, for any value of JSON's."""
    async with here(server, {"pid": pid, "offset": "0.0"}) as (_, answer):
        assert not recovered(server.sio, answer["sid"])


async def test_pid_is_secret_and_long():
    """128 bits at least; and none of it is in what a session prints."""
    session = Session("sid", "/", Position(0, 0), Position(0, 0))
    assert len(session.pid) * 6 >= 128
    assert session.pid not in repr(session)


async def test_too_many_who_are_away_are_forgotten_by_age(server, monkeypatch):
    """The one who left first has to begin anew, and the one who left last has not."""
    monkeypatch.setattr(chatlab.recovery.manager, "MOST_AWAY", 2)
    first, second, third = [(await come_and_go(server))[0] for _ in range(3)]
    for left, kept in ((second, True), (third, True), (first, False)):
        async with here(server, {"pid": left["pid"]}) as (_, answer):
            assert (answer == left) is kept


async def test_too_many_bytes_of_events_are_forgotten_by_age(server, monkeypatch):
    """Who missed one that is gone is not recovered; who missed none of those is."""
    early, _ = await come_and_go(server)
    await server.emit(3)
    late, _ = await come_and_go(server)
    monkeypatch.setattr(
        chatlab.recovery.manager, "MOST_BYTES", 2 * server.manager.events.size // 3 + 1
    )
    await server.emit(1, first=3)
    await server.emit(1, first=4)
    assert server.manager.events.size == sum(event.size for event in server.manager.events.kept)
    assert [event.number for event in server.manager.events.kept] == [3, 4, 5]
    async with here(server, {"pid": early["pid"]}) as (_, answer):
        assert answer != early
    async with here(server, {"pid": late["pid"]}) as (wire, answer):
        assert answer == late
        assert await events(wire, 2) == [3, 4]


@pytest.mark.parametrize("away", [True, False])
async def test_forgotten_client_comes_back_as_a_new_one(server, away):
    """Whether it was away at that moment or not, and its connection goes on."""
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


async def test_room_is_left_by_those_who_are_away(server):
    """By one who is put out of it, and by all when it is closed."""
    async with here(server) as (_, first):
        for room in ("kitchen", "cellar", "garden"):
            await server.sio.enter_room(first["sid"], room)
    await server.gone(first["sid"])
    await server.sio.leave_room(first["sid"], "kitchen")
    await server.sio.close_room("cellar")
    for number, room in enumerate(("kitchen", "cellar", "garden")):
        await server.emit(1, first=number, room=room)
    async with here(server, {"pid": first["pid"]}) as (wire, _):
        assert await events(wire, 1) == [2]
        assert sorted(server.sio.rooms(first["sid"])) == sorted([first["sid"], "garden"])
        await nothing_more(server, wire)


async def test_room_of_somebody_who_is_away_cannot_be_entered(server):
    """What is sent to a sid is for its client, as while that is here."""
    first, _ = await come_and_go(server)
    async with here(server) as (_, second):
        with pytest.raises(ValueError, match="sid room"):
            await server.sio.enter_room(second["sid"], first["sid"])


async def test_crowd_that_vanishes_leaves_nothing(server):
    """Ten thousand sessions, a hundred events, and after the window nothing of them."""
    manager, count = server.manager, 10_000
    server.sio.handlers["/"].clear()
    for number in range(count):
        eio_sid = f"eio{number}"
        server.sio.environ[eio_sid] = {}
        sid = await manager.pre_connect(eio_sid, "/")
        manager.leave(manager.here[sid])
        del server.sio.environ[eio_sid]
    await server.emit(100)
    assert len(manager.sessions) == len(manager.away) == count
    assert len(manager.events.kept) == 100
    server.clock.now += WINDOW
    manager.expire()
    kept = manager.sessions, manager.here, manager.away, manager.events.kept, manager.breaking
    assert not any(kept) and not manager.rooms and not manager.pending_connect
    assert manager.timer is None


async def test_events_are_kept_for_as_long_as_a_dead_connection_may_go_unnoticed(server):
    """The window and a heartbeat; and not at all if there is nobody to keep them for."""
    await server.emit(1)
    assert not server.manager.events.kept
    async with here(server):
        await server.emit(1)
        server.clock.now += WINDOW + GRACE - 1
        server.manager.expire()
        assert len(server.manager.events.kept) == 1
        server.clock.now += 1
        server.manager.expire()
        assert not server.manager.events.kept


async def test_binary_event_is_recovered(server):
    """With its attachments after it."""
    first, _ = await come_and_go(server)
    await server.sio.emit("tick", b"bytes")
    async with here(server, {"pid": first["pid"]}) as (wire, _):
        assert await wire.packet() == '451-["tick",{"_placeholder":true,"num":0},"0.1"]'
        assert await wire.ws.receive_bytes() == b"bytes"


async def test_cursor_of_an_application_is_in_the_offset(server):
    """It is the session's, and comes back with the client."""
    async with here(server) as (wire, first):
        session = session_of(server.sio, first["sid"])
        session.sent = session.sent._replace(cursor=7)
        await server.emit(1)
        assert await event(wire) == (0, "7.1")
        session.sent = session.sent._replace(cursor=9)
    await server.gone(first["sid"])
    async with here(server, {"pid": first["pid"], "offset": "7.1"}) as (_, second):
        assert second == first
        assert session.sent == Position(7, 1)


class Memory:
    """What a python-socketio client remembers that knows the protocol."""

    def __init__(self):
        self.auth, self.got, self.sids, self.news = {"pid": ""}, [], [], asyncio.Event()

    @contextlib.asynccontextmanager
    async def online(self, url, transports):
        """Connect; break off without a word at the end."""
        memory = self

        class Remembered(Packet):
            def decode(self, encoded_packet):
                attachments = super().decode(encoded_packet)
                if self.packet_type == CONNECT:
                    memory.auth["pid"] = self.data["pid"]
                return attachments

        client = socketio.AsyncClient(reconnection=False, serializer=Remembered)
        client.on("tick", self.tick)
        await client.connect(url, auth=self.auth, transports=transports)
        self.sids.append(client.get_sid())
        yield client
        await client.eio.disconnect(abort=True)

    async def tick(self, value, offset):
        self.got.append(value)
        self.auth["offset"] = offset
        self.news.set()

    async def has(self, count):
        async with asyncio.timeout(5):
            while len(self.got) < count:
                self.news.clear()
                await self.news.wait()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_python_client_that_asks_for_it_recovers(server, transports):
    """Four drops in a row: the same sid, and every event once and in order."""
    memory = Memory()
    for drop in range(4):
        async with memory.online(server.url, transports):
            await server.emit(5, first=10 * drop)
            await memory.has(10 * drop + 5)
        await server.emit(5, first=10 * drop + 5)
    async with memory.online(server.url, transports):
        await memory.has(40)
    assert memory.got == list(range(40))
    assert len(memory.sids) == 5 and len(set(memory.sids)) == 1


@pytest.mark.parametrize("headers", [{}, {"User-Agent": ""}], ids=["named", "nameless"])
@pytest.mark.parametrize(
    "transport",
    ["websocket", pytest.param("polling", marks=pytest.mark.slow)],  # its end takes 30 s
)
async def test_python_client_that_does_not_ask_gets_no_argument_more(server, transport, headers):
    """Its handlers take what they name, and it is not given a pid."""
    client, got = socketio.AsyncClient(), asyncio.Queue()
    client.on("tick", lambda value: got.put_nowait(value))
    await client.connect(server.url, headers, transports=[transport])
    await server.emit(2)
    async with asyncio.timeout(5):
        assert [await got.get(), await got.get()] == [0, 1]
    assert not server.manager.sessions
    await client.disconnect()


@pytest.mark.parametrize(
    ("agent", "query", "takes"),
    [
        ("Python/3.12 aiohttp/3.12", "", False),
        ("python-requests/2.32", "", False),
        (None, "transport=websocket&EIO=4&t=1795595947.36", False),
        (None, "EIO=4&transport=websocket", True),
        ("node-XMLHttpRequest", "EIO=4&transport=polling&t=0z3kq1fe", True),
    ],
)
async def test_who_gets_offsets(server, agent, query, takes):
    """All but the clients of python-socketio, which can be told by their requests."""
    named = {} if agent is None else {"HTTP_USER_AGENT": agent}
    server.sio.environ["E"] = {"QUERY_STRING": query} | named
    sid = await server.manager.pre_connect("E", "/")
    assert (sid in server.manager.here) is takes
    del server.sio.environ["E"]


# What is not documented, and relied on: an upgrade that takes it away must not go unnoticed.


async def test_contract_of_the_manager(server):
    """What python-socketio calls, and what a manager has."""
    manager = socketio.AsyncManager()
    names = "initialize pre_connect connect pre_disconnect disconnect emit basic_enter_room"
    names += " basic_leave_room basic_disconnect get_participants sid_from_eio_sid"
    names += " enter_room leave_room close_room"
    for name in names.split():
        assert callable(getattr(manager, name)), name
        assert hasattr(Manager, name)
    assert manager.pending_connect == {}
    manager.basic_enter_room("sid", "/", None, eio_sid="eio")
    manager.basic_enter_room("sid", "/", "room")
    assert manager.sid_from_eio_sid("eio", "/") == "sid"
    assert list(manager.get_participants("/", "room")) == [("sid", "eio")]
    manager.pending_connect["/"] = ["sid"]
    assert await manager.connect("sid", "/") == "sid"
    assert manager.is_connected("sid", "/")
    manager.basic_disconnect("sid", "/")
    assert manager.rooms == {}


async def test_contract_of_the_packets():
    """A packet is decoded and encoded by its own class, and an event is a text that ends in ]."""
    seen = []

    class Spy(Packet):
        def decode(self, encoded_packet):
            seen.append(encoded_packet)
            return super().decode(encoded_packet)

    packet = Spy(encoded_packet='0{"pid":"x"}')
    assert seen and packet.packet_type == CONNECT and packet.data == {"pid": "x"}
    assert Packet(data=["tick", {"a": [1]}]).encode() == '2["tick",{"a":[1]}]'
    text, attachment = Packet(data=["tick", b"x"], namespace="/a").encode()
    assert text.startswith("51-/a,[") and text.endswith("]") and attachment == b"x"


async def test_contract_of_engineio(server):
    """Its sockets, with their queues and sessions; its handlers; its heartbeat."""
    eio = server.sio.eio
    assert isinstance(eio, engineio.AsyncServer)
    assert (eio.ping_interval, eio.ping_timeout) == (25, 20)
    assert server.sio.reason.TRANSPORT_CLOSE
    async with here(server) as (_, answer):
        eio_sid = server.manager.eio_sid_from_sid(answer["sid"], "/")
        socket = eio.sockets[eio_sid]
        assert not socket.closed and not socket.closing
        await server.sio.save_session(answer["sid"], {"a": 1})
        assert socket.session["/"] == {"a": 1}
        assert socket.queue.empty()
        assert "HTTP_USER_AGENT" in server.sio.environ[eio_sid]
        assert "disconnect" in eio.handlers
        assert "QUERY_STRING" in server.sio.environ[eio_sid]
