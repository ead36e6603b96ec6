"""Connection state recovery, as the official Socket.IO server speaks it since 4.6.

A client that comes back within the window gets its sid, its rooms and its session again, and the
events that it missed: https://socket.io/docs/v4/connection-state-recovery. It works through what
python-socketio's constructor takes, with names without an underscore; it knows no chat.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Container
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from typing import Any, NamedTuple
from weakref import WeakSet

import socketio
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.packet import CONNECT, EVENT, Packet

WINDOW = 120
"""Seconds for which a session is kept: the official server's default."""
SECRET = 18
"""Random bytes in a pid, which is all that it takes to be given somebody's session."""
FIXED_ARITY = ("Python/", "python-requests")
"""How the User-Agent of a python-socketio client begins. Its handlers take the arguments that they
name: it gets a pid, and offsets, only if it asks for them with `{"pid": ""}` in its auth."""
OFFSET = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)

AUTH: ContextVar[Any] = ContextVar("auth", default=None)
"""The auth of the CONNECT that is being handled: a manager is not told."""


class Position(NamedTuple):
    """What a client has: an application's log up to `cursor`, and the events up to `seq`."""

    cursor: int
    seq: int

    @classmethod
    def of(cls, offset: Any) -> Position | None:
        """Read an offset; None if nobody here has written it."""
        match = OFFSET.fullmatch(offset) if isinstance(offset, str) else None
        return cls(*map(int, match.groups())) if match else None


@dataclass(eq=False)
class Session:
    """What a client finds again."""

    sid: str
    namespace: str
    start: Position
    """What the client had when it came for the first time."""
    sent: Position
    """What has been sent to it; `cursor` is the application's, and 0 where there is none."""
    pid: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET), repr=False)
    rooms: dict[str | None, int] = field(default_factory=dict)
    """Its rooms, None for the namespace, each with the `seq` after which its events are for it."""
    data: Any = None
    """What `save_session` kept, while the client is away."""
    eio_sid: str | None = None
    """The Engine.IO connection that it is on, or was on last."""
    task: asyncio.Task[Any] | None = None
    """What is opening or closing that connection, or did so last."""
    overtaken: WeakSet[asyncio.Task[Any]] = field(default_factory=WeakSet)
    """What was opening or closing a connection when the client came with the next one."""
    live: bool = False
    """Whether CONNECT has been sent. Until then nothing is: it would come before CONNECT."""
    recovered: bool = False
    left: float = 0
    """When the client went away, by the clock."""


class Event(NamedTuple):
    """An event that was emitted, as a client of fixed arity gets it."""

    seq: int
    time: float
    namespace: str
    rooms: tuple[str | None, ...]
    skipped: Container[str | None]
    packets: list[str | bytes]

    def plain(self) -> list[EnginePacket]:
        """Return the event as it is."""
        return [EnginePacket(MESSAGE, packet) for packet in self.packets]

    def with_offset(self, cursor: int) -> list[EnginePacket]:
        """Return the event with an offset as its last argument, where official clients look."""
        text, *attachments = self.packets
        numbered = f'{text.removesuffix("]")},"{cursor}.{self.seq}"]'
        return [EnginePacket(MESSAGE, packet) for packet in (numbered, *attachments)]

    def is_for(self, session: Session) -> bool:
        """Whether the event was emitted to a room in which the session was then."""
        if self.namespace != session.namespace or session.sid in self.skipped:
            return False
        return any(session.rooms.get(room, self.seq) < self.seq for room in self.rooms)


class Recovery:
    """The sessions of one server, which `server` makes.

    A session is kept for `max_disconnection_duration` seconds after its connection broke, and
    dropped at once if the client or the server disconnected on purpose. `clock` counts seconds.
    The events are numbered after `first`: after the microseconds of this moment, if it is None.

    A client may be back before the server has noticed that it was gone. The new connection takes
    the session over then: the old Engine.IO connection is closed, which calls the application's
    `disconnect` handler, and `connect` is called for the new one, with the same sid. If a handler
    of the old connection is still at work, it is not waited for, and what it returns is ignored.
    """

    def __init__(
        self,
        max_disconnection_duration: float = WINDOW,
        clock: Callable[[], float] = time.monotonic,
        first: int | None = None,
    ) -> None:
        # An official client keeps its last offset in a new session, until the first event there.
        # So that it is from before that session, numbers go on where another server was before.
        first = time.time_ns() // 1000 if first is None else first
        self.manager = Manager(max_disconnection_duration, clock, first)

    def server(self, *, serializer: type[Packet] = Packet, **options: Any) -> socketio.AsyncServer:
        """Make a Socket.IO server, with options of python-socketio's."""
        packets = self.serializer(serializer)
        return socketio.AsyncServer(client_manager=self.manager, serializer=packets, **options)

    def serializer(self, base: type[Packet] = Packet) -> type[Packet]:
        """Make the packets of that server out of others."""
        return type("RecoveryPacket", (_Handshake, base), {"manager": self.manager})

    def session(self, sid: str) -> Session | None:
        """Return the session of a client that is here, if it has one."""
        return self.manager.here.get(sid)

    def recovered(self, sid: str) -> bool:
        """Whether a client got all that it missed: if not, the application has to help."""
        session = self.session(sid)
        return session is not None and session.recovered


class _Handshake:
    """What is different in a packet: CONNECT, both ways."""

    manager: Manager

    def decode(self, encoded_packet: Any) -> int:
        """Read a packet, and remember the auth in CONNECT."""
        attachments = super().decode(encoded_packet)
        if self.packet_type == CONNECT:
            AUTH.set(self.data)
        return attachments

    def encode(self) -> Any:
        """Write a packet, and the pid into CONNECT."""
        if self.packet_type == CONNECT and isinstance(self.data, dict):
            session = self.manager.here.get(self.data.get("sid"))
            self.data = self.data | ({"pid": session.pid} if session else {})
        return super().encode()


class Manager(socketio.AsyncManager):
    """python-socketio's clients and rooms, of which the sessions outlive their connections."""

    def __init__(self, window: float, clock: Callable[[], float], first: int) -> None:
        super().__init__()
        self.window, self.clock = window, clock
        self.sessions: dict[str, Session] = {}
        """All of them, by pid."""
        self.here: dict[str, Session] = {}
        """Those that have a connection, by sid."""
        self.away: dict[str, Session] = {}
        """The others by pid, in the order in which they left."""
        self.events: deque[Event] = deque()
        """Those that somebody may have missed: without a gap in their numbers."""
        self.seq = first
        self.breaking: set[str] = set()
        """The Engine.IO connections that are being closed."""
        self.timer: asyncio.TimerHandle | None = None

    def initialize(self) -> None:
        """Listen to Engine.IO too: a manager is not told whether a connection broke."""
        super().initialize()
        eio = self.server.eio
        eio.on("disconnect", partial(self.broken, eio.handlers["disconnect"]))

    # Who is here

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Give a connection its session back, or a new one; return its sid."""
        self.purge()
        auth = AUTH.get() if isinstance(AUTH.get(), dict) else {}
        if self.sid_from_eio_sid(eio_sid, namespace) is None:
            position = await self.claim(eio_sid, namespace, auth)
            if eio_sid not in self.server.environ:
                return None  # gone, while the old connection was closed
            if position and (session := self.sessions.get(auth["pid"])):
                return self.restore(session, eio_sid, position)
        sid = await super().pre_connect(eio_sid, namespace)
        if sid is not None and self.takes_offsets(eio_sid, auth):
            now = Position(0, self.seq)
            rooms = dict.fromkeys((None, sid), self.seq)
            self.begin(Session(sid, namespace, start=now, sent=now, rooms=rooms), eio_sid)
        return sid

    def takes_offsets(self, eio_sid: str, auth: dict[str, Any]) -> bool:
        """Whether a client knows the protocol. Official ones do, and do not say so."""
        agent = self.server.environ[eio_sid].get("HTTP_USER_AGENT", "")
        return isinstance(auth.get("pid"), str) or not agent.startswith(FIXED_ARITY)

    async def claim(self, eio_sid: str, namespace: str, auth: dict[str, Any]) -> Position | None:
        """Return what a client has that may have the session it names, which is free then."""
        pid, offset = auth.get("pid"), auth.get("offset")
        session = self.sessions.get(pid) if isinstance(pid, str) else None
        if session is None or session.namespace != namespace:
            return None
        # Before its first event a client has no offset, or one that an older session has left.
        position = session.start if offset is None else Position.of(offset)
        if position is None or position.seq > self.seq or position.cursor > session.sent.cursor:
            return None
        if session.live:
            await self.close(session.eio_sid)
            if session.sid in self.here and session.task is not asyncio.current_task():
                return None  # the client has come a third time in the meantime
        return Position(*map(max, position, session.start))

    async def close(self, eio_sid: str) -> None:
        """Close an Engine.IO connection, without waiting for a client that may be gone."""
        if socket := self.server.eio.sockets.get(eio_sid):
            await socket.close(wait=False, reason=self.server.reason.TRANSPORT_CLOSE)
            socket.queue.put_nowait(None)  # the end of what is sent: a WebSocket is closed after it

    def restore(self, session: Session, eio_sid: str, position: Position) -> str:
        """Put a session on a new connection, as one that is connecting."""
        sid, namespace = session.sid, session.namespace
        if sid in self.here:  # a handler of the old connection is still at work
            session.overtaken.add(session.task)
            self.leave(session)
        for room in session.rooms:
            self.basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        self.pending_connect.setdefault(namespace, []).append(sid)
        self.server.eio.sockets[eio_sid].session[namespace] = session.data or {}
        session.sent, session.recovered = position, True
        self.away.pop(session.pid, None)
        self.begin(session, eio_sid)
        return sid

    def begin(self, session: Session, eio_sid: str) -> None:
        """Count a session among those that are here."""
        session.eio_sid, session.task = eio_sid, asyncio.current_task()
        session.task.add_done_callback(partial(self.ended, session))
        self.sessions[session.pid] = self.here[session.sid] = session

    def ended(self, session: Session, task: asyncio.Task[Any]) -> None:
        """Keep a session whose `connect` handler failed, like one whose connection broke."""
        if self.here.get(session.sid) is session and session.task is task and not session.live:
            self.leave(session)

    async def connect(self, sid: str, namespace: str) -> str:
        """Let a session go live, after CONNECT and what it missed."""
        session = self.here.get(sid)
        if asyncio.current_task() in getattr(session, "overtaken", ()):
            return sid
        sid = await super().connect(sid, namespace)
        if session is not None:
            self.replay(session)
        return sid

    def replay(self, session: Session) -> None:
        """Send what a session missed. Nothing is awaited: no event can come in between."""
        socket = self.server.eio.sockets.get(session.eio_sid)
        if socket is None or socket.closed or socket.closing:
            self.leave(session)  # gone while its `connect` handler was at work
            return
        session.live = True
        for event in self.after(session.sent.seq):
            if event.is_for(session):
                self.send(session, event.seq, event.with_offset(session.sent.cursor))

    def after(self, seq: int) -> list[Event]:
        """Return the events after a number, of those that are kept."""
        first = self.events[0].seq if self.events else 0
        return list(islice(self.events, max(0, seq + 1 - first), None))

    # Who leaves

    async def broken(self, handle: Callable[..., Any], eio_sid: str, reason: str) -> None:
        """Take note of a connection that ends without a word of Socket.IO's.

        The official server takes all of Engine.IO's reasons but "parse error" for no goodbye
        either: see RECOVERABLE_DISCONNECT_REASONS in its lib/socket.ts. `engine.close()` over
        polling is such an end.
        """
        self.breaking.add(eio_sid)
        task, here = asyncio.current_task(), self.here.values()
        # One whose `connect` handler is at work is dealt with when that is done.
        mine = [session for session in here if session.live and session.eio_sid == eio_sid]
        for session in mine:
            session.task, session.live = task, False
        try:
            await handle(eio_sid, reason)
        finally:
            for session in mine:
                if self.here.get(session.sid) is session and session.task is task:
                    self.leave(session)  # the application's handler failed
            self.breaking.discard(eio_sid)

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Forget a session at once if it ends on purpose."""
        session = self.here.get(sid)
        if session is not None and session.eio_sid not in self.breaking:
            self.drop(session)
        return super().pre_disconnect(sid, namespace)

    async def disconnect(self, sid: str, namespace: str, **options: Any) -> None:
        """Keep a session whose connection has ended; one that was refused is forgotten."""
        session = self.here.get(sid)
        if asyncio.current_task() in getattr(session, "overtaken", ()):
            return
        if session is not None and session.eio_sid in self.breaking:
            self.leave(session)
        else:
            if session is not None:
                self.drop(session)
            await super().disconnect(sid, namespace, **options)

    def leave(self, session: Session) -> None:
        """Keep a session without a connection."""
        rooms, socket = session.rooms, self.server.eio.sockets.get(session.eio_sid)
        if socket is not None:
            session.data = socket.session.get(session.namespace)
        del self.here[session.sid]
        self.basic_disconnect(session.sid, session.namespace)
        session.rooms, session.live, session.left = rooms, False, self.clock()
        self.away[session.pid] = session
        self.watch()

    def drop(self, session: Session) -> None:
        """Forget a session."""
        del self.sessions[session.pid]
        self.here.pop(session.sid, None)
        self.away.pop(session.pid, None)

    def watch(self) -> None:
        """See to it that nothing is kept for longer than it may, if nobody comes."""
        if self.timer is None and (self.away or self.events):
            self.timer = asyncio.get_running_loop().call_later(self.window, self.expire)

    def expire(self) -> None:
        """Purge, and do so again while there is something left."""
        self.timer = None
        self.purge()
        self.watch()

    def purge(self) -> None:
        """Forget the sessions, and the events, that are too old."""
        now, eio = self.clock(), self.server.eio
        while self.away and (oldest := next(iter(self.away.values()))).left + self.window <= now:
            self.drop(oldest)
        # A connection may have been dead for as long as this when the server notices.
        kept = self.window + eio.ping_interval + 2 * eio.ping_timeout
        while self.events and (not self.sessions or self.events[0].time + kept <= now):
            self.events.popleft()

    # Rooms and events

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Enter a room, whose events before this are not for the one who enters."""
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        if session := self.here.get(sid):
            session.rooms.setdefault(room, self.seq)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        """Leave a room."""
        super().basic_leave_room(sid, namespace, room)
        if session := self.here.get(sid):
            session.rooms.pop(room, None)

    async def emit(
        self, event: str, data: Any, namespace: str, room: Any = None, **options: Any
    ) -> None:
        """Emit an event, and keep it for those who are away, if nobody has to acknowledge it."""
        room = options.get("to") or room
        if options.get("callback"):
            await super().emit(event, data, namespace, room, **options)
            return
        skipped = _tuple(options.get("skip_sid"))
        self.purge()
        emitted = self.keep([event, *_arguments(data)], namespace, _tuple(room), skipped)
        plain, numbered = emitted.plain(), cache(emitted.with_offset)
        for sid, eio_sid in self.get_participants(namespace, room):
            session = self.here.get(sid)
            if sid in skipped:
                continue
            if session is None:
                self.put(eio_sid, plain)
            elif session.live:  # otherwise it gets the event after CONNECT
                self.send(session, emitted.seq, numbered(session.sent.cursor))
        await asyncio.sleep(0)  # whoever emits in a loop lets others have their turn

    def keep(
        self, data: list[Any], namespace: str, rooms: tuple[Any, ...], skipped: tuple[Any, ...]
    ) -> Event:
        """Encode an event, and keep it while there is somebody who may miss it."""
        encoded = self.server.packet_class(EVENT, namespace=namespace, data=data).encode()
        packets = encoded if isinstance(encoded, list) else [encoded]
        self.seq += bool(self.sessions)
        event = Event(self.seq, self.clock(), namespace, rooms, skipped, packets)
        if self.sessions:
            self.events.append(event)
            self.watch()
        return event

    def send(self, session: Session, seq: int, packets: list[EnginePacket]) -> None:
        """Send an event to a session."""
        session.sent = session.sent._replace(seq=seq)
        self.put(session.eio_sid, packets)

    def put(self, eio_sid: str, packets: list[EnginePacket]) -> None:
        """Queue packets, at once: if this were awaited, events could overtake each other."""
        socket = self.server.eio.sockets.get(eio_sid)
        if socket is not None and not socket.closed:
            for packet in packets:
                socket.queue.put_nowait(packet)


def _arguments(data: Any) -> list[Any]:
    """Return the arguments of an event, as python-socketio takes them."""
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]


def _tuple(names: Any) -> tuple[Any, ...]:
    """Return one name, or several, as several."""
    return tuple(names) if isinstance(names, list | tuple) else (names,)
