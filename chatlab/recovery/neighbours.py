"""What other servers do to the sessions of this one, if they share a store.

A client moves from server to server, and its session with it; events come from all servers. It must
not know how a store passes that on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chatlab.messages import MAX_OFFSET
from chatlab.recovery.events import Event, Events
from chatlab.recovery.sessions import Position, hashed

if TYPE_CHECKING:
    from chatlab.recovery.registry import Registry


class Neighbours:
    """The other servers, as the registry of this one knows them."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.hang_up: Callable[[str], None] = lambda eio_sid: None
        """Closes an Engine.IO connection."""

    def take(self, event: Event) -> None:
        """Keep and deliver an event of any server, with the number that the store gave it."""
        registry = self.registry
        registry.events.append(event._replace(time=registry.clock()))
        registry.start_timer()
        registry.deliver(event)

    async def fetch(self, auth: dict[str, Any]) -> None:
        """Get the session of a client that may have moved here."""
        registry, pid = self.registry, auth.get("pid")
        if not registry.store.shared or not isinstance(pid, str) or not pid:
            return
        local = registry.sessions.get(hashed(pid))
        if local is not None and local.sid in registry.connected:
            return
        position = Position.of(auth.get("offset")) or Position(0, 0)
        moved = await registry.store.claim(hashed(pid), position)
        self.give_up(hashed(pid), MAX_OFFSET)
        if moved is not None:
            # What another server has sent to it is not known here: the client says what it has.
            moved.sent = Position(MAX_OFFSET, registry.events.last)
            registry.sessions[moved.pid_hash] = moved
            registry.put_away(moved)

    def give_up(self, pid_hash: str, claim: int) -> None:
        """Let go of a session that was taken by another server, which has counted so many claims.

        If there is a later claim, it was this server's own: the news is late.
        """
        registry = self.registry
        session = registry.sessions.get(pid_hash)
        if session is None or session.claim >= claim:
            return
        del registry.sessions[pid_hash]
        registry.away.pop(session.sid, None)
        if registry.connected.pop(session.sid, None):
            self.hang_up(session.eio_sid)

    def start_anew(self, number: int) -> None:
        """Let go of all sessions: events after a number will have other numbers than they had."""
        for pid_hash in list(self.registry.sessions):
            self.give_up(pid_hash, MAX_OFFSET)
        self.registry.events = Events(number)
