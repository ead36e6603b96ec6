"""chatlab: how a chat client that was away gets exactly the messages it missed."""

from chatlab.background import BackgroundServer
from chatlab.client import ChatClient
from chatlab.diagram import Diagram
from chatlab.history import Event, History
from chatlab.lab import Lab, should_show
from chatlab.log import MessageLog
from chatlab.messages import CHAT_MESSAGE, Message, Refused, check_text, offset_of
from chatlab.server import chat, create_app

__all__ = [
    "CHAT_MESSAGE",
    "BackgroundServer",
    "ChatClient",
    "Diagram",
    "Event",
    "History",
    "Lab",
    "Message",
    "MessageLog",
    "Refused",
    "chat",
    "check_text",
    "create_app",
    "offset_of",
    "should_show",
]
