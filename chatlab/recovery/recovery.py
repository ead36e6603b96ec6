"""Connection state recovery, as the official Socket.IO server has had it since 4.6.

The protocol: https://socket.io/docs/v4/connection-state-recovery. It works through two options of
python-socketio's constructor, and knows nothing of the chat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

import socketio
from socketio.packet import Packet

from chatlab.recovery.manager import Manager, packets_of
from chatlab.recovery.registry import Registry
from chatlab.recovery.sessions import Session
from chatlab.recovery.store import NoStore, SessionStore

WINDOW = 120
"""Seconds for which a session is kept: the official server's default."""


class Recovery:
    """The sessions of one server, which has to be made with these `options`.

    A session is kept for `max_disconnection_duration` seconds after its connection broke, and
    dropped at once if the client or the server disconnected on purpose. `clock` counts seconds.
    Events are numbered after `first`, by default the current time in microseconds.

    With a `store`, sessions and events survive a restart: an emit, a change of rooms and
    `save_session` return when the store has them. A new session is stored right after CONNECT: if
    the server is killed within those milliseconds, its client gets a new one.

    A client may be back before the server has noticed that its connection is dead. Then the new
    connection takes the session over: the old Engine.IO connection is closed, which calls the
    application's `disconnect` handler, and `connect` is called for the new one, with the same sid.
    If a handler of the old connection still runs, the new one does not wait for it, and what it
    returns is ignored. So a client that has the pid has the session, even while it is in use.
    The exact rule is `Registry.may_take_over`.
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
        # The numbers of a later server are higher, so that this offset is from before the session.
        first = time.time_ns() // 1000 if first is None else first
        self.registry = Registry(max_disconnection_duration, store or NoStore(), clock, first)
        self.manager = Manager(self.registry)

    def options(self, serializer: type[Packet] = Packet) -> dict[str, Any]:
        """Return python-socketio's options for a server with these sessions.

        Its packets are made of the class `serializer`.
        """
        packets = packets_of(self.manager, serializer)
        return {"client_manager": self.manager, "serializer": packets}

    async def open(self, cursor: int = 0) -> Self:
        """Open the store, and load the sessions that an earlier server stored.

        `cursor` is the newest position in an application's log that the earlier server may have
        sent. Raises sqlite3.DatabaseError if the store cannot be used.
        """
        await self.registry.load(cursor)
        return self

    async def close(self) -> None:
        """Store what still waits to be stored, and close the store."""
        await self.registry.close()

    async def forget(self, sid: str) -> None:
        """Let a client come back only as a new one, whether it is away or not: after a logout."""
        await self.registry.forget(sid)


def session_of(sio: socketio.AsyncServer, sid: str) -> Session | None:
    """Return the session of a connected client, or None without recovery."""
    manager = sio.manager
    return manager.registry.connected.get(sid) if isinstance(manager, Manager) else None


def recovered(sio: socketio.AsyncServer, sid: str) -> bool:
    """Whether a client has its session again, and gets what it missed.

    If not, the application has to send it what it missed: ask this in its `connect` handler.
    """
    session = session_of(sio, sid)
    return session is not None and session.recovered
