"""Connects python-socketio with `registry`. Only this module knows the inside of python-socketio.

python-socketio does not document most methods of a manager. tests/recovery/test_manager.py checks
the names that this module relies on; none of them begins with an underscore.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import socketio
from socketio.packet import CONNECT, EVENT, Packet

from chatlab.recovery.connections import Connections, hang_up
from chatlab.recovery.registry import Registry
from chatlab.recovery.sessions import Position, Session

Handler = Callable[..., Awaitable[None]]
FIXED_ARITY = ("Python/", "python-requests")
"""How the User-Agent of a python-socketio client begins, if it sends one."""
SECONDS = re.compile(r"(^|&)t=[0-9]+\.[0-9]")
"""The time that a python-socketio client sends in `t`. Official clients send other characters."""
AUTH: ContextVar[dict[str, Any]] = ContextVar("auth")
"""The auth of the CONNECT that the current task handles: a manager does not get it otherwise."""


class Manager(socketio.AsyncManager):
    """python-socketio's manager of clients and rooms, for sessions that outlive connections."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.registry = registry
        self.disconnecting: set[str] = set()
        """The Engine.IO connections that are being closed."""

    def set_server(self, server: socketio.AsyncServer) -> None:
        """Join the server. Also wrap two functions of it that do not call the manager."""
        super().set_server(server)
        eio = server.eio
        eio.on("disconnect", partial(self.connection_lost, eio.handlers["disconnect"]))
        server.save_session = partial(self.save_session, server.save_session)
        self.connections = Connections(eio, self.registry, self.get_participants)
        self.registry.deliver = self.connections.deliver
        self.registry.neighbours.hang_up = self.connections.hang_up_soon
        self.registry.unnoticed = eio.ping_interval + 2 * eio.ping_timeout

    # A client connects

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Give a connection the session that it may take over, or a new one; return its sid."""
        self.registry.purge()
        auth = AUTH.get({})
        await self.registry.neighbours.fetch(auth)
        is_new = self.sid_from_eio_sid(eio_sid, namespace) is None
        if is_new and (allowed := self.registry.may_take_over(auth, namespace)):
            session, position = allowed
            freed = await self.free(session)
            if eio_sid not in self.server.environ:
                return None  # the new connection broke while this closed the old one
            if freed:
                session.pid = auth["pid"]  # the store knows only its hash
                return self.restore(session, position, eio_sid)
        sid = await super().pre_connect(eio_sid, namespace)
        if sid is not None and takes_offsets(self.server.environ[eio_sid], auth):
            self.begin(self.registry.new_session(sid, namespace), eio_sid)
        return sid

    async def free(self, session: Session) -> bool:
        """Close the connection of a session; return whether it can still be taken over."""
        if session.live:
            await hang_up(self.connections.get(session.eio_sid))
            connected = session.sid in self.registry.connected
            if connected and session.task is not asyncio.current_task():
                return False  # a third connection of the client took it over first
        return session.pid_hash in self.registry.sessions

    def restore(self, session: Session, position: Position, eio_sid: str) -> str:
        """Give a session to a new connection that is still connecting; return its sid."""
        sid, namespace = session.sid, session.namespace
        if sid in self.registry.connected:  # a handler of the old connection still runs
            session.overtaken.add(session.task)
            self.leave(session)
        for room in session.rooms:
            self.basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        self.pending_connect.setdefault(namespace, []).append(sid)
        self.connections.get(eio_sid).session[namespace] = session.data or {}
        session.sent = Position(*map(max, position, session.start))
        session.recovered = True
        self.begin(session, eio_sid)
        return sid

    def begin(self, session: Session, eio_sid: str) -> None:
        """Give a session to a connection, until the task that opens it fails."""
        self.registry.connect(session, eio_sid)
        session.task.add_done_callback(partial(self.leave_if_failed, session))

    def leave_if_failed(self, session: Session, task: asyncio.Task[Any]) -> None:
        """Put a session away if the application's handler raised in the task that opens it."""
        connected = self.registry.connected.get(session.sid) is session
        if connected and session.task is task and not session.live:
            self.leave(session)

    async def connect(self, sid: str, namespace: str) -> str:
        """Send CONNECT, and then the events that the client missed."""
        session = self.registry.connected.get(sid)
        if is_overtaken(session):
            return sid
        sid = await super().connect(sid, namespace)
        if session is not None:
            if not self.connections.replay(session):
                self.leave(session)  # its connection broke while its `connect` handler ran
            # Do not await this: over polling, the answer to the client's CONNECT would be late.
            self.server.start_background_task(self.registry.store_session, sid)
        return sid

    # A client disconnects

    async def connection_lost(self, handle: Handler, eio_sid: str, reason: str) -> None:
        """Keep the sessions of an Engine.IO connection that ends without a DISCONNECT packet.

        The official server recovers after all of Engine.IO's reasons except "parse error" too:
        see RECOVERABLE_DISCONNECT_REASONS in its lib/socket.ts.
        """
        self.disconnecting.add(eio_sid)
        connected = self.registry.connected.values()
        # `connect` handles the sessions that are not live: their handlers are still running.
        lost = [session for session in connected if session.live and session.eio_sid == eio_sid]
        for session in lost:
            session.task, session.live = asyncio.current_task(), False
        try:
            await handle(eio_sid, reason)
        finally:
            for session in lost:  # acts only if the application's handler raised
                self.leave_if_failed(session, asyncio.current_task())
            self.disconnecting.discard(eio_sid)

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Forget a session that the client or the server ends on purpose."""
        session = self.registry.connected.get(sid)
        if session is not None and session.eio_sid not in self.disconnecting:
            self.registry.drop(session)
        return super().pre_disconnect(sid, namespace)

    async def disconnect(self, sid: str, namespace: str, **options: Any) -> None:
        """Keep a session whose connection is lost; forget one that the application refused."""
        session = self.registry.connected.get(sid)
        if is_overtaken(session):
            return
        if session is not None and session.eio_sid in self.disconnecting:
            self.leave(session)
            return
        if session is not None:
            self.registry.drop(session)
        await super().disconnect(sid, namespace, **options)

    def leave(self, session: Session) -> None:
        """Disconnect a session, and keep it for the client's return."""
        if socket := self.connections.get(session.eio_sid):
            session.data = socket.session.get(session.namespace)
        del self.registry.connected[session.sid]  # first, so that the session keeps its rooms
        self.basic_disconnect(session.sid, session.namespace)
        self.registry.put_away(session)

    # Rooms, and what `save_session` keeps

    def basic_enter_room(
        self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None
    ) -> None:
        """Enter a room: later events to it are for this client."""
        if room in self.registry.away and room != sid:
            raise ValueError("cannot enter a sid room")  # as if that client were connected
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        if session := self.registry.connected.get(sid):
            session.rooms.setdefault(room, self.registry.events.last)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        """Leave a room. A client that is away leaves it too."""
        super().basic_leave_room(sid, namespace, room)
        if session := self.registry.find(sid):
            session.rooms.pop(room, None)

    async def enter_room(
        self, sid: str, namespace: str, room: str, eio_sid: str | None = None
    ) -> None:
        """Enter a room, and store it. Raises TypeError for a name that the store cannot keep."""
        self.registry.store.storable_copy(room)
        await super().enter_room(sid, namespace, room, eio_sid=eio_sid)
        await self.registry.store_session(sid)

    async def leave_room(self, sid: str, namespace: str, room: str) -> None:
        """Leave a room, and store the change."""
        await super().leave_room(sid, namespace, room)
        await self.registry.store_session(sid)

    async def close_room(self, room: str, namespace: str) -> None:
        """Remove all clients from a room, also those that are away, and store the change."""
        inside = self.registry.sessions_in(room, namespace)
        await super().close_room(room, namespace)
        for session in inside:
            session.rooms.pop(room, None)
        await asyncio.gather(*(self.registry.store_session(session.sid) for session in inside))

    async def save_session(
        self, save: Handler, sid: str, session: Any, namespace: str | None = None
    ) -> None:
        """Keep and store an application's data about a client. Raises TypeError if it cannot."""
        saved = self.registry.store.storable_copy(session)
        await save(sid, session, namespace)
        if sid in self.registry.connected:
            self.registry.connected[sid].saved = saved
            await self.registry.store_session(sid)

    # Events

    async def emit(
        self, event: str, data: Any, namespace: str, room: Any = None, **options: Any
    ) -> None:
        """Emit an event, and keep it for clients that are away, unless it has a callback."""
        room = options.get("to") or room
        if options.get("callback"):
            await super().emit(event, data, namespace, room, **options)
            return
        packets = encode(self.server.packet_class, event, data, namespace)
        rooms, skipped = as_tuple(room), as_tuple(options.get("skip_sid"))
        await self.registry.record(namespace, rooms, skipped, packets)
        await asyncio.sleep(0)  # lets other tasks run, even if a handler emits in a loop


def is_overtaken(session: Session | None) -> bool:
    """Whether a newer connection has taken the session from the current task's connection.

    Then what this task returns or raises must not change the session.
    """
    return session is not None and asyncio.current_task() in session.overtaken


def encode(packet_class: type[Packet], event: str, data: Any, namespace: str) -> list[str | bytes]:
    """Return an event as text, and its binary attachments; `data` is what python-socketio takes."""
    arguments = () if data is None else as_tuple(data, tuple)
    encoded = packet_class(EVENT, namespace=namespace, data=[event, *arguments]).encode()
    return encoded if isinstance(encoded, list) else [encoded]


def as_tuple(value: Any, several: Any = (list, tuple)) -> tuple[Any, ...]:
    """Return one value, or a list or tuple of values, as a tuple."""
    return tuple(value) if isinstance(value, several) else (value,)


def takes_offsets(environ: dict[str, Any], auth: dict[str, Any]) -> bool:
    """Whether a client's handlers accept an offset as one more argument.

    Those of official clients do. In Python, an argument too many is an error: so a python-socketio
    client gets a pid and offsets only if its auth asks for them with `{"pid": ""}`.
    """
    agent, query = environ.get("HTTP_USER_AGENT", ""), environ.get("QUERY_STRING", "")
    python = agent.startswith(FIXED_ARITY) or SECONDS.search(query)
    return isinstance(auth.get("pid"), str) or not python


def packets_of(manager: Manager, serializer: type[Packet]) -> type[Packet]:
    """Return a packet class that reads the auth from CONNECT, and writes the pid into it."""

    class RecoveryPacket(serializer):
        def decode(self, encoded_packet: Any) -> int:
            attachments = super().decode(encoded_packet)
            if self.packet_type == CONNECT:
                AUTH.set(self.data if isinstance(self.data, dict) else {})
            return attachments

        def encode(self) -> Any:
            if self.packet_type == CONNECT and isinstance(self.data, dict):
                session = manager.registry.connected.get(self.data.get("sid"))
                self.data = self.data | ({"pid": session.pid} if session else {})
            return super().encode()

    return RecoveryPacket
