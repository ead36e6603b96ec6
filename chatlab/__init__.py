"""chatlab: how a chat client that was away gets exactly the messages it missed."""

from chatlab.background import BackgroundServer
from chatlab.bars import Bars
from chatlab.checker import Verdict, check
from chatlab.classroom import Classroom
from chatlab.client import ChatClient
from chatlab.delivery import Delivery
from chatlab.diagram import Diagram
from chatlab.evenings import RUNGS, Rung
from chatlab.exercise import judged, should_be_valid, should_go_wrong, should_show
from chatlab.game import Game, find_fault
from chatlab.guess import Guess
from chatlab.history import Event, History
from chatlab.lab import Lab
from chatlab.ladder import Climb, climb
from chatlab.log import MessageLog
from chatlab.messages import CHAT_MESSAGE, Message, Refused, check_text, epoch_of, offset_of
from chatlab.network import Link, bad_day
from chatlab.outbox import Letter, Outbox
from chatlab.recovery import Recovery, recovered
from chatlab.server import chat, create_app
from chatlab.session_store import SessionStore

__all__ = [
    "CHAT_MESSAGE",
    "RUNGS",
    "BackgroundServer",
    "Bars",
    "ChatClient",
    "Classroom",
    "Climb",
    "Delivery",
    "Diagram",
    "Event",
    "Game",
    "Guess",
    "History",
    "Lab",
    "Letter",
    "Link",
    "Message",
    "MessageLog",
    "Outbox",
    "Recovery",
    "Refused",
    "Rung",
    "SessionStore",
    "Verdict",
    "bad_day",
    "chat",
    "check",
    "check_text",
    "climb",
    "create_app",
    "epoch_of",
    "find_fault",
    "judged",
    "offset_of",
    "recovered",
    "should_be_valid",
    "should_go_wrong",
    "should_show",
]
