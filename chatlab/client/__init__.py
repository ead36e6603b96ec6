"""A simulated browser tab: its page, its connection and its outbox.

It promises to behave as the chat page does in a browser. It knows the protocol between client and
server, and nothing of what is inside a server.
"""

from chatlab.client.outbox import Letter, Outbox
from chatlab.client.tab import PATIENCE, ChatClient

__all__ = [
    "PATIENCE",
    "ChatClient",
    "Letter",
    "Outbox",
]
