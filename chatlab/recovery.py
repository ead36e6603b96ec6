"""Connection state recovery, as the official Socket.IO server speaks it since 4.6.

A client that comes back within the window gets its sid, its rooms and its session again, and the
events that it missed: https://socket.io/docs/v4/connection-state-recovery. It works through what
python-socketio's constructor takes, with names without an underscore; it knows no chat.
"""

from __future__ import annotations

import asyncio
import re
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import cache, partial
from itertools import islice
from operator import attrgetter
from typing import Any, Self

import socketio
from engineio.packet import Packet as EnginePacket
from socketio.packet import CONNECT, EVENT, Packet

from chatlab.session_store import Nowhere, SessionStore
from chatlab.sessions import Event, Position, Session

WINDOW = 120
"""Seconds for which a session is kept: the official server's default."""
MOST_AWAY = 10_000
"""Sessions without a connection that are kept: those that left first are forgotten first."""
MOST_BYTES = 16_000_000
"""Bytes of events that are kept, about: the oldest are forgotten first."""
FIXED_ARITY = ("Python/", "python-requests")
"""How the User-Agent of a python-socketio client begins, if it sends one."""
SECONDS = re.compile(r"(^|&)t=[0-9]+\.[0-9]")
"""How it marks its requests with the time, where an official client has letters."""
AUTH: ContextVar[Any] = ContextVar("auth", default=None)
"""The auth of the CONNECT that is being handled: a manager is not told."""


class Recovery:
    """The sessions of one server, which is made with its `options`. Enter it while that serves.

    A session is kept for `max_disconnection_duration` seconds after its connection broke, and
    dropped at once if the client or the server disconnected on purpose. `clock` counts seconds.
    The events are numbered after `first`: after the microseconds of this moment, if it is None.

    With a `store`, sessions and events outlive the server: `await` of an emit, of a room or of
    `save_session` then ends when the store has it. `cursor` is how far an application's log had
    come that the last server may have sent.

    A client may be back before the server has noticed that it was gone. The new connection takes
    the session over then: the old Engine.IO connection is closed, which calls the application's
    `disconnect` handler, and `connect` is called for the new one, with the same sid. If a handler
    of the old connection is still at work, it is not waited for, and what it returns is ignored.
    So whoever has a pid has the session, even while it is in use: a pid is told to its own client,
    and to nobody else.
    """

    def __init__(
        self,
        max_disconnection_duration: float = WINDOW,
        *,
        store: SessionStore | None = None,
        clock: Callable[[], float] = time.monotonic,
        first: int | None = None,
    ) -> None:
        # An official client keeps its last offset in a new session, until the first event there.
        # So that it is from before that session, numbers go on where another server was before.
        first = time.time_ns() // 1000 if first is None else first
        self.manager = Manager(max_disconnection_duration, store or Nowhere(), clock, first)

    def options(self, serializer: type[Packet] = Packet) -> dict[str, Any]:
        """Return the options of python-socketio's that make a server with these sessions.

        `serializer` is what else its packets should be made of.
        """
        packets = type("RecoveryPacket", (_Handshake, serializer), {"manager": self.manager})
        return {"client_manager": self.manager, "serializer": packets}

    async def open(self, cursor: int = 0) -> Self:
        """Open the store, and let those come back whom an earlier server has left in it.

        Raises sqlite3.DatabaseError if it cannot be used.
        """
        await self.manager.load(cursor)
        return self

    async def close(self) -> None:
        """Store what still waits to be stored, and close the store."""
        await self.manager.store.close()

    async def forget(self, sid: str) -> None:
        """Let a client come back as a new one, whether it is here or away: after a logout, say."""
        await self.manager.forget(sid)


def session_of(sio: socketio.AsyncServer, sid: str) -> Session | None:
    """Return the session of a client that is here; None if it, or the server, has no recovery."""
    return sio.manager.here.get(sid) if isinstance(sio.manager, Manager) else None


def recovered(sio: socketio.AsyncServer, sid: str) -> bool:
    """Whether a client has its session again, and gets what it missed.

    If not, the application has to help: ask this in its `connect` handler.
    """
    session = session_of(sio, sid)
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

    def __init__(
        self, window: float, store: Nowhere, clock: Callable[[], float], first: int
    ) -> None:
        super().__init__()
        self.window, self.store, self.clock = window, store, clock
        self.sessions: dict[str, Session] = {}
        """All of them, by pid."""
        self.here: dict[str, Session] = {}
        """Those that have a connection, by sid."""
        self.away: dict[str, Session] = {}
        """The others by sid, in the order in which they left."""
        self.events: deque[Event] = deque()
        """Those that somebody may have missed, in the order of their numbers."""
        self.bytes = 0
        """What these take."""
        self.number = self.forgotten = first
        """The number of the newest event, and of the newest that is not kept any more."""
        self.breaking: set[str] = set()
        """The Engine.IO connections that are being closed."""
        self.timer: asyncio.TimerHandle | None = None

    def initialize(self) -> None:
        """Listen to Engine.IO too: a manager is not told whether a connection broke."""
        super().initialize()
        eio = self.server.eio
        eio.on("disconnect", partial(self.broken, eio.handlers["disconnect"]))
        self.server.save_session = partial(self.save_session, self.server.save_session)

    async def load(self, cursor: int) -> None:
        """Take what the store has from an earlier server."""
        sessions, events, last = await self.store.open()
        self.number = max(self.number, last)
        self.forgotten = events[0].number - 1 if events else last
        for event in events:
            self.remember(event._replace(time=self.clock()))
        for session in sessions:
            session.sent = Position(cursor, last)
            self.sessions[session.pid] = session
            self.put_away(session)

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
            now = Position(0, self.number)
            rooms = dict.fromkeys((None, sid), self.number)
            self.begin(Session(sid, namespace, start=now, sent=now, rooms=rooms), eio_sid)
        return sid

    def takes_offsets(self, eio_sid: str, auth: dict[str, Any]) -> bool:
        """Whether a client knows the protocol. Official ones do, and do not say so.

        The handlers of a python-socketio client take the arguments that they name: it gets a pid,
        and offsets, only if it asks for them with `{"pid": ""}` in its auth.
        """
        environ = self.server.environ[eio_sid]
        agent, query = environ.get("HTTP_USER_AGENT", ""), environ.get("QUERY_STRING", "")
        python = agent.startswith(FIXED_ARITY) or SECONDS.search(query)
        return isinstance(auth.get("pid"), str) or not python

    async def claim(self, eio_sid: str, namespace: str, auth: dict[str, Any]) -> Position | None:
        """Return what a client has that may have the session it names, which is free then."""
        pid, offset = auth.get("pid"), auth.get("offset")
        session = self.sessions.get(pid) if isinstance(pid, str) else None
        if session is None or session.namespace != namespace:
            return None
        # Before its first event a client has no offset, or one that an older session has left.
        position = session.start if offset is None else Position.of(offset)
        if position is None or not self.can_go_on(session, position):
            return None
        if session.live:
            await self.hang_up(session.eio_sid)
            if session.sid in self.here and session.task is not asyncio.current_task():
                return None  # the client has come a third time in the meantime
        return Position(*map(max, position, session.start))

    def can_go_on(self, session: Session, position: Position) -> bool:
        """Whether a client can have come so far, and all that came after it is still here."""
        if position.number > self.number or position.cursor > session.sent.cursor:
            return False
        missed_from = max(position.number, session.start.number)
        if missed_from == session.sent.number:  # nothing was for it until it went away
            missed_from = self.number if session.live else session.left_at
        return missed_from >= self.forgotten

    async def hang_up(self, eio_sid: str) -> None:
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
        self.away.pop(sid, None)
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
        if session is not None and not session.recovered:
            await self.store.put(session)
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
        for event in self.after(session.sent.number):
            if event.is_for(session):
                self.send(session, event.number, event.with_offset(session.sent.cursor))

    def after(self, number: int) -> list[Event]:
        """Return the events after a number, of those that are kept."""
        first = bisect_right(self.events, number, key=attrgetter("number"))
        return list(islice(self.events, first, None))

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
        session.rooms = rooms
        self.put_away(session)

    def put_away(self, session: Session) -> None:
        """Begin to wait for a client; for those who are gone longest, if there are too many."""
        session.live, session.left, session.left_at = False, self.clock(), self.number
        self.away[session.sid] = session
        if len(self.away) > MOST_AWAY:
            self.drop(next(iter(self.away.values())))
        self.watch()

    def drop(self, session: Session) -> None:
        """Forget a session."""
        del self.sessions[session.pid]
        self.here.pop(session.sid, None)
        self.away.pop(session.sid, None)
        self.store.forget(session)

    async def forget(self, sid: str) -> None:
        """Forget a session, and return when the store has forgotten it too."""
        if session := self.here.get(sid) or self.away.get(sid):
            self.drop(session)
            await self.store.settled()

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
        """Forget the sessions, and the events, that are too old, and events that are too many."""
        now, eio, forgotten = self.clock(), self.server.eio, self.forgotten
        while self.away and (oldest := next(iter(self.away.values()))).left + self.window <= now:
            self.drop(oldest)
        # A connection may have been dead for as long as this when the server notices.
        kept = self.window + eio.ping_interval + 2 * eio.ping_timeout
        while self.events and (
            not self.sessions or self.events[0].time + kept <= now or self.bytes > MOST_BYTES
        ):
            event = self.events.popleft()
            self.bytes -= event.size
            self.forgotten = event.number
        if self.forgotten != forgotten:
            self.store.trim(self.forgotten)

    # Rooms and what `save_session` keeps

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Enter a room, whose events before this are not for the one who enters."""
        if room in self.away and room != sid:
            raise ValueError("cannot enter a sid room")  # as for those who are here
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        if session := self.here.get(sid):
            session.rooms.setdefault(room, self.number)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        """Leave a room. A client that is away leaves it too."""
        super().basic_leave_room(sid, namespace, room)
        if session := self.here.get(sid) or self.away.get(sid):
            session.rooms.pop(room, None)

    async def enter_room(
        self, sid: str, namespace: str, room: str, eio_sid: str | None = None
    ) -> None:
        """Enter a room, and store that."""
        self.store.sayable(room)
        await super().enter_room(sid, namespace, room, eio_sid=eio_sid)
        await self.keep_up(sid)

    async def leave_room(self, sid: str, namespace: str, room: str) -> None:
        """Leave a room, and store that."""
        await super().leave_room(sid, namespace, room)
        await self.keep_up(sid)

    async def close_room(self, room: str, namespace: str) -> None:
        """Let everybody leave a room, those who are away too, and store that."""
        everybody = self.sessions.values()
        inside = [one for one in everybody if one.namespace == namespace and room in one.rooms]
        await super().close_room(room, namespace)
        for session in inside:
            session.rooms.pop(room, None)
        await asyncio.gather(*(self.keep_up(session.sid) for session in inside))

    async def save_session(
        self, save: Callable[..., Awaitable[None]], sid: str, session: Any, **options: Any
    ) -> None:
        """Keep what an application has to remember of a client, and store it."""
        saved = self.store.sayable(session)
        await save(sid, session, **options)
        if sid in self.here:
            self.here[sid].saved = saved
            await self.keep_up(sid)

    async def keep_up(self, sid: str) -> None:
        """Store what has changed in a session, if there is one."""
        if session := self.here.get(sid) or self.away.get(sid):
            await self.store.put(session)

    # Events

    async def emit(
        self, event: str, data: Any, namespace: str, room: Any = None, **options: Any
    ) -> None:
        """Emit an event, and keep it for those who are away, if nobody has to acknowledge it."""
        room = options.get("to") or room
        if options.get("callback"):
            await self.store.settled()  # so that it comes after the events before it
            await super().emit(event, data, namespace, room, **options)
            return
        skipped = _tuple(options.get("skip_sid"))
        emitted = self.encoded([event, *_arguments(data)], namespace, _tuple(room), skipped)
        deliver = partial(self.deliver, emitted)
        if self.sessions:
            self.remember(emitted)
            await self.store.add(emitted, deliver)
        else:
            await self.store.settled(deliver)
        await asyncio.sleep(0)  # whoever emits in a loop lets others have their turn

    def encoded(
        self, data: list[Any], namespace: str, rooms: tuple[Any, ...], skipped: tuple[Any, ...]
    ) -> Event:
        """Encode an event once for everybody, and number it if somebody may miss it."""
        encoded = self.server.packet_class(EVENT, namespace=namespace, data=data).encode()
        packets = encoded if isinstance(encoded, list) else [encoded]
        self.purge()
        self.number += bool(self.sessions)
        return Event(self.number, self.clock(), namespace, rooms, skipped, packets)

    def remember(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)
        self.bytes += event.size
        self.watch()

    def deliver(self, event: Event) -> None:
        """Send an event to those who are here: at once, so that no event overtakes another."""
        plain, numbered = event.plain(), cache(event.with_offset)
        for sid, eio_sid in self.get_participants(event.namespace, event.rooms):
            session = self.here.get(sid)
            if session is None:
                if sid not in event.skipped:
                    self.put(eio_sid, plain)
            # One that is not live gets the event after CONNECT; one may have it since then.
            elif session.live and event.number > session.sent.number and event.is_for(session):
                self.send(session, event.number, numbered(session.sent.cursor))

    def send(self, session: Session, number: int, packets: list[EnginePacket]) -> None:
        """Send an event to a session."""
        session.sent = session.sent._replace(number=number)
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
