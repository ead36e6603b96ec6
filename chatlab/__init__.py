"""chatlab: how a chat client that was away gets exactly the messages it missed."""

from chatlab.classroom import Classroom
from chatlab.client import ChatClient, Outbox, OutgoingMessage
from chatlab.course import (
    RUNGS,
    RUNGS_OF_TWO,
    Bars,
    Climb,
    Game,
    Guess,
    Rung,
    climb,
    find_fault,
    judged,
    should_be_valid,
    should_show,
)
from chatlab.harness import BackgroundServer, Link, bad_day, held_up, run
from chatlab.history import Diagram, Event, History, Verdict, check
from chatlab.lab import Lab
from chatlab.log import MessageLog
from chatlab.messages import CHAT_MESSAGE, Message, Refused, check_text, epoch_of, offset_of
from chatlab.recovery import Recovery, SessionStore, recovered
from chatlab.server import Delivery, chat, create_app

__all__ = [
    "CHAT_MESSAGE",
    "RUNGS",
    "RUNGS_OF_TWO",
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
    "Link",
    "Message",
    "MessageLog",
    "Outbox",
    "OutgoingMessage",
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
    "held_up",
    "judged",
    "offset_of",
    "recovered",
    "run",
    "should_be_valid",
    "should_show",
]
