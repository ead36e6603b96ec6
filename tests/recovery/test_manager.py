"""What the manager makes of the calls of python-socketio, and what it relies on there."""

import asyncio
import json

import engineio
import pytest
import socketio
from recovering import come_and_go, events, nothing_more
from socketio.packet import CONNECT, Packet
from support import Hold, here, turns, wired

from chatlab.recovery.connections import hang_up
from chatlab.recovery.manager import Manager
from chatlab.recovery.recovery import WINDOW, recovered, session_of


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
    """Its `connect` handler ends after that of the next connection, and its result is ignored."""
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
    """It comes between the missed events and the later ones."""
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


async def test_refused_connection_has_no_session(server):
    """It gets no new session, and the one that it came back for is dropped."""
    first, _ = await come_and_go(server)
    async with wired(server.url) as wire:
        answer = await wire.connect({"pid": first["pid"], "refuse": True})
        assert answer.startswith("44")
    assert not server.registry.sessions


async def test_client_that_leaves_during_the_connect_handler_is_not_kept_as_here(server):
    """Plain python-socketio would count it as connected for ever."""
    server.hold = hold = Hold()
    async with wired(server.url) as wire:
        await wire.ws.send_str('40{"pid":""}')
        await hold.reached.wait()
        await hang_up(next(iter(server.sio.eio.sockets.values())))
        assert await wire.packet() == "1"
        hold.released.set()
        await turns()
    assert not server.registry.connected and len(server.registry.away) == 1
    assert not server.manager.rooms


async def test_client_that_comes_a_third_time_has_the_session(server):
    """The second connection still waits for the `disconnect` handler of the first."""
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
    """The session is kept for the window, as after a lost connection, and then dropped."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: complaints.append(told))
    async with wired(server.url) as wire:
        await wire.ws.send_str('40{"pid":"","fail":true}')
        while not complaints:
            await turns()
    while server.registry.connected:
        await turns()
    assert len(server.registry.away) == 1 and not server.manager.rooms
    assert server.registry.timer.when() <= asyncio.get_running_loop().time() + WINDOW
    server.clock.now += WINDOW
    server.registry.expire()
    assert not server.registry.sessions and server.registry.timer is None


async def test_goodbye_is_taken_before_the_handler_has_seen_it(server):
    """The session is dropped before the `disconnect` handler runs: no client can take it over."""
    hold = Hold()

    @server.sio.event
    async def disconnect(sid, reason):
        await hold.here()

    async with here(server) as (_, first), asyncio.TaskGroup() as group:
        group.create_task(server.sio.disconnect(first["sid"]))
        await hold.reached.wait()
        assert not server.registry.sessions
        hold.released.set()


async def test_disconnect_handler_that_fails_does_no_harm(server):
    """The session is kept; plain python-socketio would count the client as connected for ever."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: complaints.append(told))

    @server.sio.event
    async def disconnect(sid, reason):
        raise LookupError("the handler fails")

    first, _ = await come_and_go(server)
    assert complaints and not server.manager.rooms
    async with here(server, {"pid": first["pid"]}) as (_, second):
        assert second == first
        # A task closes it that does not end then, like the task that checks the heartbeats.
        await hang_up(server.manager.connections.get(session_of(server.sio, first["sid"]).eio_sid))
        assert not server.registry.connected and not server.manager.rooms


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
    assert answers == [("yes",)] and not server.registry.events.retained


async def test_room_is_left_by_those_who_are_away(server):
    """By one client with `leave_room`, and by all with `close_room`."""
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
    """Events to a sid are for its client alone, connected or away."""
    first, _ = await come_and_go(server)
    async with here(server) as (_, second):
        with pytest.raises(ValueError, match="sid room"):
            await server.sio.enter_room(second["sid"], first["sid"])


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
    """All clients except those of python-socketio, which their requests give away."""
    named = {} if agent is None else {"HTTP_USER_AGENT": agent}
    server.sio.environ["E"] = {"QUERY_STRING": query} | named
    sid = await server.manager.pre_connect("E", "/")
    assert (sid in server.registry.connected) is takes
    del server.sio.environ["E"]


# Contract tests: they fail if an upgrade changes undocumented behaviour that recovery needs.


async def test_contract_of_the_manager(server):
    """The methods that python-socketio calls, and those that the manager calls."""
    manager = socketio.AsyncManager()
    names = "set_server pre_connect connect pre_disconnect disconnect emit basic_enter_room"
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
    assert issubclass(server.sio.packet_class, Packet)
    assert (eio.ping_interval, eio.ping_timeout) == (25, 20)
    assert eio.reason.TRANSPORT_CLOSE
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
