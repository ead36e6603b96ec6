"""Connection state recovery for any python-socketio server.

A client that comes back in time gets its sid, its rooms, its session, and the events that it
missed, each once and in order. Nothing here knows the chat: what an event means, or a message log.

`registry` holds the rule who may take over a session. `manager` is all that knows python-socketio.
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
