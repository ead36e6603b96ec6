"""The finished chat server.

It promises each client every message once and in order, and to acknowledge only what is stored. It
knows the log and recovery, and nothing of clients beyond what they send.
"""

from chatlab.server.app import Handlers, chat, create_app, drop_key
from chatlab.server.delivery import Delivery

__all__ = [
    "Delivery",
    "Handlers",
    "chat",
    "create_app",
    "drop_key",
]
