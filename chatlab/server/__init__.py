"""The finished chat server.

It promises that each client gets every message once and in order, and that it acknowledges a
message only when the message is stored. It knows the log and recovery. Of a client it must know
only what the client sends.
"""

from chatlab.server.app import Handlers, chat, create_app, drop_key
from chatlab.server.delivery import Delivery
from chatlab.server.origins import check_origin, names_at
