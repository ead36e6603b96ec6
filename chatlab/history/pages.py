"""The pages of a history: what a client shows between two loads, and what is wrong with its order.

Pure. The verdict and the picture both judge a page by the rule in `Shown`, so they say the same. It
must not know which messages exist, nor what a page misses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from chatlab.history.events import Event, History
from chatlab.messages import Message

Misplaced = Literal["duplicated", "reordered"]


def message_of(event: Event) -> Message:
    return Message(event.offset, event.text)


def times_sent(history: History) -> Counter[str]:
    """Count how many messages have a text. A retry is no new message."""
    return Counter(event.text for event in history if event.kind in ("write", "send"))


class Shown:
    """What a page has shown so far. `sent` says how many messages with a text were sent.

    A page shows a message again if it has shown the same offset with the same text; or if it has
    shown the text as often as it was sent, because then one of them is stored twice. So equal texts
    that people sent are several messages, and a text that was sent once is one, under any offset.
    """

    def __init__(self, sent: Counter[str]) -> None:
        self._sent = sent
        self._texts: dict[str, list[Event]] = {}
        self.first: dict[Message, Event] = {}
        """Each message on the page, with the event that showed it first."""
        self.newest: Event | None = None
        """The event with the largest offset."""

    def add(self, show: Event) -> tuple[Misplaced, Event] | tuple[None, None]:
        """Add what is shown next; return what is wrong with it, and the event that proves it."""
        same = self._texts.setdefault(show.text, [])
        before = None if show.offset is None else self.first.get(message_of(show))
        if before is None and len(same) >= max(1, self._sent[show.text]):
            before = same[0]
        newest = self.newest
        same.append(show)
        self.first.setdefault(message_of(show), show)
        if show.offset is not None and (newest is None or show.offset > newest.offset):
            self.newest = show
        if before is not None:
            return "duplicated", before
        if newest is not None and show.offset is not None and show.offset < newest.offset:
            return "reordered", newest
        return None, None


@dataclass
class Page:
    """What one client showed between two loads of its page."""

    who: str
    opened: Event
    """The last event that connected it."""
    shows: list[Event] = field(default_factory=list)
    complete: bool = True
    """Whether the page is connected when the history ends: then it must show every message."""
    other_log: bool = False
    """Whether a reset ended the page, because its offsets belonged to another log."""
    gone: list[range] = field(default_factory=list)
    """Offsets of messages that the server told the page not to expect."""

    def skip_to(self, last: int) -> None:
        """Expect no message after the newest on the page, up to and including the offset `last`."""
        newest = max((show.offset or 0 for show in self.shows), default=0)
        self.gone.append(range(newest + 1, last + 1))


def pages_of(history: History) -> Iterator[Page]:
    """Cut a history into pages: from a join, a reload or a reset to the next, or to the end."""
    pages: dict[str, Page] = {}
    for event in history:
        page = pages.get(event.who)
        if event.kind in ("join", "reload", "reset"):
            if page:  # the client has replaced it, so it may miss the last messages
                page.complete, page.other_log = False, event.kind == "reset"
                yield page
            page = pages[event.who] = Page(event.who, event)
            page.skip_to(event.offset or 0)
        elif page and event.kind == "show":
            page.shows.append(event)
        elif page and event.kind == "gap":
            page.skip_to(event.offset)
        elif page and event.kind in ("drop", "close"):
            page.complete = False
        elif page and event.kind == "reconnect":
            page.complete, page.opened = True, event
    yield from pages.values()
