"""The manager of python-socketio's clients and rooms that recovery needs.

It is told who comes, who leaves and what is emitted. Everything here uses names without an
underscore, and knows no chat.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import socketio
from engineio.packet import Packet as EnginePacket
from socketio.packet import EVENT

from chatlab.recovery.sessions import Event, Events, Position, Session
from chatlab.recovery.store import Nowhere

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
        self.events = Events(first)
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
        self.events.take(events, last, self.clock())
        for session in sessions:
            session.sent = Position(cursor, last)
            self.sessions[session.pid] = session
            self.put_away(session)

    async def close(self) -> None:
        """Store what still waits to be stored, and close the store."""
        if self.timer is not None:
            self.timer.cancel()
        await self.store.close()

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
            now = Position(0, self.events.last)
            rooms = dict.fromkeys((None, sid), self.events.last)
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
        if position.number > self.events.last or position.cursor > session.sent.cursor:
            return False
        missed_from = max(position.number, session.start.number)
        if missed_from == session.sent.number:  # nothing was for it until it went away
            missed_from = self.events.last if session.live else session.left_at
        return missed_from >= self.events.forgotten

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
        if asyncio.current_task() in getattr(session, "overtaken", ()):
            return sid
        sid = await super().connect(sid, namespace)
        if session is not None:
            self.replay(session)
            # Not awaited: over polling, the answer to the client's CONNECT would be late.
            self.server.start_background_task(self.keep_up, sid)
        return sid

    def replay(self, session: Session) -> None:
        """Send what a session missed. Nothing is awaited: no event can come in between."""
        socket = self.server.eio.sockets.get(session.eio_sid)
        if socket is None or socket.closed or socket.closing:
            self.leave(session)  # gone while its `connect` handler was at work
            return
        session.live = True
        for event in self.events.after(session.sent.number):
            if event.is_for(session):
                self.send(session, event.number, event.with_offset(session.sent.cursor))

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
        session.live, session.left, session.left_at = False, self.clock(), self.events.last
        session.task = None  # it holds everything that its connection was
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
        if self.timer is None and (self.away or self.events.kept):
            self.timer = asyncio.get_running_loop().call_later(self.window, self.expire)

    def expire(self) -> None:
        """Purge, and do so again while there is something left."""
        self.timer = None
        self.purge()
        self.watch()

    def purge(self) -> None:
        """Forget the sessions, and the events, that are too old, and events that are too many."""
        now, eio = self.clock(), self.server.eio
        while self.away and (oldest := next(iter(self.away.values()))).left + self.window <= now:
            self.drop(oldest)
        # A connection may have been dead for as long as this when the server notices.
        kept = self.window + eio.ping_interval + 2 * eio.ping_timeout
        if self.events.trim(now - kept if self.sessions else now, MOST_BYTES):
            self.store.trim(self.events.forgotten)

    # Rooms and what `save_session` keeps

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Enter a room, whose events before this are not for the one who enters."""
        if room in self.away and room != sid:
            raise ValueError("cannot enter a sid room")  # as for those who are here
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        if session := self.here.get(sid):
            session.rooms.setdefault(room, self.events.last)

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
        self,
        save: Callable[..., Awaitable[None]],
        sid: str,
        session: Any,
        namespace: str | None = None,
    ) -> None:
        """Keep what an application has to remember of a client, and store it."""
        saved = self.store.sayable(session)
        await save(sid, session, namespace)
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
            await super().emit(event, data, namespace, room, **options)
            return
        skipped = _tuple(options.get("skip_sid"))
        emitted = self.encoded([event, *_arguments(data)], namespace, _tuple(room), skipped)
        deliver = partial(self.deliver, emitted)
        if self.sessions:
            self.events.append(emitted)
            self.watch()
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
        number = self.events.last + bool(self.sessions)
        return Event(number, self.clock(), namespace, rooms, skipped, packets)

    def deliver(self, event: Event) -> None:
        """Send an event to those who are here: at once, so that no event overtakes another."""
        self.events.delivered = event.number
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
