"""Connection state recovery for any python-socketio server.

A client that reconnects in time gets its sid, its rooms, its session, and the events that it
missed, each once and in order. This package knows no chat and no message log.

Who may take over a session: see `registry`. Only `manager` knows the inside of python-socketio.
"""

from chatlab.recovery.connections import hang_up
from chatlab.recovery.recovery import Recovery, cursor_of, recovered, session_of
from chatlab.recovery.sessions import Position, Session, with_offset
from chatlab.recovery.shared import SharedStore, store_at
from chatlab.recovery.store import SessionStore
