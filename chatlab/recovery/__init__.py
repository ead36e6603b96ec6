"""Connection state recovery for any python-socketio server.

It promises a client that comes back in time its sid, its rooms, its session and the events that it
missed, each once and in order. It knows no chat: not what an event means, nor any message log.
"""

from chatlab.recovery.recovery import Recovery, recovered, session_of
from chatlab.recovery.sessions import Position, Session, with_offset
from chatlab.recovery.store import SessionStore

__all__ = [
    "Position",
    "Recovery",
    "Session",
    "SessionStore",
    "recovered",
    "session_of",
    "with_offset",
]
