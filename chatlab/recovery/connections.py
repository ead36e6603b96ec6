"""The Engine.IO connections of a server: send events to them, and close them.

Only this module uses Engine.IO's sockets. It must not know python-socketio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from engineio import AsyncServer
from engineio.async_socket import AsyncSocket
from engineio.packet import Packet as EnginePacket

from chatlab.recovery.events import Event, Rooms
from chatlab.recovery.registry import Registry
from chatlab.recovery.sessions import Session


async def hang_up(socket: AsyncSocket | None) -> None:
    """Close a connection, if it is there, without waiting for the client, which may not answer.

    For the client that is a loss: it comes again.
    """
    if socket is not None:
        await socket.close(wait=False, reason=socket.server.reason.TRANSPORT_CLOSE)
        socket.queue.put_nowait(None)  # Engine.IO closes a WebSocket when it reads None


class Connections:
    """The connections of `server`. Sending an event awaits nothing, so events stay in order.

    `participants(namespace, rooms)` gives the sid and the eio_sid of each client in the rooms.
    """

    def __init__(
        self,
        server: AsyncServer,
        registry: Registry,
        participants: Callable[[str, Rooms], Iterable[tuple[str, str]]],
    ) -> None:
        self.server, self.registry, self.participants = server, registry, participants

    def get(self, eio_sid: str) -> AsyncSocket | None:
        """Return an Engine.IO connection; None if it has ended."""
        return self.server.sockets.get(eio_sid)

    def hang_up_soon(self, eio_sid: str) -> None:
        """Close a connection in a task of its own."""
        self.server.start_background_task(hang_up, self.get(eio_sid))

    def replay(self, session: Session) -> bool:
        """Send the events that a session missed; return False if its connection has ended."""
        socket = self.get(session.eio_sid)
        if socket is None or socket.closed or socket.closing:
            return False
        session.live = True
        for event in self.registry.events.after(session.sent.number):
            if event.is_for(session):
                self.send(session, event.number, event.with_offset(session.sent.cursor))
        return True

    def deliver(self, event: Event) -> None:
        """Send an event to the connected clients in its rooms, with or without a session."""
        self.registry.events.delivered = event.number
        plain, numbered = event.plain(), cache(event.with_offset)
        connected = self.registry.connected
        for sid, eio_sid in self.participants(event.namespace, event.rooms):
            session = connected.get(sid)
            if session is None:
                if sid not in event.skipped:
                    self.put(eio_sid, plain)
            # `replay` sends the event to a session that is not live, and may have sent it already.
            elif session.live and event.number > session.sent.number and event.is_for(session):
                self.send(session, event.number, numbered(session.sent.cursor))

    def send(self, session: Session, number: int, packets: list[EnginePacket]) -> None:
        """Send an event to a session, and note that."""
        session.sent = session.sent._replace(number=number)
        self.put(session.eio_sid, packets)

    def put(self, eio_sid: str, packets: list[EnginePacket]) -> None:
        """Queue packets for a connection."""
        socket = self.server.sockets.get(eio_sid)
        if socket is not None and not socket.closed:
            for packet in packets:
                socket.queue.put_nowait(packet)
