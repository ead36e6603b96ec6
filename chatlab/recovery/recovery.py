"""Connection state recovery, as the official Socket.IO server speaks it since 4.6.

A client that comes back within the window gets its sid, its rooms and its session again, and the
events that it missed: https://socket.io/docs/v4/connection-state-recovery. It works through what
python-socketio's constructor takes, with names without an underscore; it knows no chat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

import socketio
from socketio.packet import CONNECT, Packet

from chatlab.recovery.manager import AUTH, Manager
from chatlab.recovery.sessions import Session
from chatlab.recovery.store import Nowhere, SessionStore

WINDOW = 120
"""Seconds for which a session is kept: the official server's default."""


class Recovery:
    """The sessions of one server, which is made with its `options`. Enter it while that serves.

    A session is kept for `max_disconnection_duration` seconds after its connection broke, and
    dropped at once if the client or the server disconnected on purpose. `clock` counts seconds.
    The events are numbered after `first`: after the microseconds of this moment, if it is None.

    With a `store`, sessions and events outlive the server: `await` of an emit, of a room or of
    `save_session` then ends when the store has it. A new session is stored right after CONNECT: if
    the server is killed within those milliseconds, its client gets a new one.

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

        `cursor` is how far an application's log had come that the earlier server may have sent.
        Raises sqlite3.DatabaseError if it cannot be used.
        """
        await self.manager.load(cursor)
        return self

    async def close(self) -> None:
        """Store what still waits to be stored, and close the store."""
        await self.manager.close()

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
