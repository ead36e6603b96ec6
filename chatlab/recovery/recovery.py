"""Connection state recovery, as the official Socket.IO server has had it since 4.6.

The protocol: https://socket.io/docs/v4/connection-state-recovery. This works through two options of
python-socketio's constructor, and must not know the chat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

import socketio
from socketio.packet import Packet

from chatlab.recovery.manager import Manager, packets_of
from chatlab.recovery.registry import Registry
from chatlab.recovery.sessions import WINDOW, Session
from chatlab.recovery.store import NoStore


class Recovery:
    """The sessions of one server. Make the server with the `options` of this object.

    A session is kept for `max_disconnection_duration` seconds after its connection broke. It is
    dropped at once if the client or the server disconnected on purpose. `clock` returns seconds.
    The numbers of events begin after `first`, by default the current time in microseconds.

    With a `store`, sessions and events survive a restart: an emit, a change of rooms and
    `save_session` return when the store has them. A new session is stored right after CONNECT: if
    the server is killed within those milliseconds, the client gets a new session.

    A client may reconnect before the server has noticed that the old connection is dead. Then the
    new connection takes the session over. The server closes the old Engine.IO connection, which
    calls the application's `disconnect` handler, and calls `connect` for the new one, with the same
    sid. It does not wait for a handler of the old connection, and ignores what that returns. So a
    client that knows the pid gets the session, even one in use: see `Registry.may_take_over`.
    """

    def __init__(
        self,
        max_disconnection_duration: float = WINDOW,
        *,
        store: NoStore | None = None,
        clock: Callable[[], float] = time.monotonic,
        first: int | None = None,
    ) -> None:
        # An official client keeps its old offset in a new session, until the first event there.
        # A later server begins with higher numbers, so it sees that this offset is too old.
        store = store or NoStore()
        if first is None:
            first = 0 if store.shared else time.time_ns() // 1000
        self.registry = Registry(max_disconnection_duration, store, clock, first)
        self.manager = Manager(self.registry)

    def options(self, serializer: type[Packet] = Packet) -> dict[str, Any]:
        """Return python-socketio's options for a server with these sessions.

        `serializer` is the class of its packets.
        """
        packets = packets_of(self.manager, serializer)
        return {"client_manager": self.manager, "serializer": packets}

    async def open(self, cursor: int = 0) -> Self:
        """Open the store, and load the sessions that an earlier server stored.

        `cursor` is the newest position in the application's log that the earlier server may have
        sent to a client. Raises sqlite3.DatabaseError if the store cannot be used.
        """
        await self.registry.load(cursor)
        return self

    async def close(self) -> None:
        """Store what still waits to be stored, and close the store."""
        await self.registry.close()

    async def forget(self, sid: str) -> None:
        """Forget a client's session, connected or away, for example after a logout."""
        await self.registry.forget(sid)


def session_of(sio: socketio.AsyncServer, sid: str) -> Session | None:
    """Return the session of a connected client, or None without recovery."""
    manager = sio.manager
    return manager.registry.connected.get(sid) if isinstance(manager, Manager) else None


def cursor_of(sio: socketio.AsyncServer, sid: str) -> int:
    """Return the position in the application's log up to which a recovered client has it."""
    return session_of(sio, sid).sent.cursor


def recovered(sio: socketio.AsyncServer, sid: str) -> bool:
    """Whether a client has its old session again, and gets the events that it missed.

    Call this in the `connect` handler. If it is False, the application must send what is missing.
    """
    session = session_of(sio, sid)
    return session is not None and session.recovered
