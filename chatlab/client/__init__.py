"""A simulated browser tab: its page, its connections and its outbox.

It promises to behave as the chat page does in a browser. It knows the protocol between client and
server, and nothing of what is inside a server.
"""

from chatlab.client.connection import PATIENCE
from chatlab.client.outbox import Outbox, OutgoingMessage
from chatlab.client.tab import ChatClient
