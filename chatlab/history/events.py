"""What happened in a lab, event by event.

Pure: no clock, no network, no notebook. Time is logical: an event's place in the list is its time.
The order of one client's own events is always exact; events of two clients stand in the order in
which they reached this process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from chatlab.messages import Message
from chatlab.mistakes import is_count

Kind = Literal[
    "join", "drop", "reconnect", "reload", "close",  # a client's page and its connection
    "reset", "gap",  # what the server tells a page about the log
    "write", "send", "retry", "acknowledge", "refuse", "show",  # messages, seen from the client
    "stop", "kill", "start",  # the server
]  # fmt: skip
CONNECTS: tuple[Kind, ...] = ("join", "reconnect", "reload")
AT_A_SERVER: tuple[Kind, ...] = (*CONNECTS, "stop", "kill", "start")
"""Kinds of events at one of the servers, if there are several: its name is the event's `text`."""
SERVER = "server"
Stored = Collection[Message] | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one client, or to the server.

    `who` is the client's name, or SERVER for "stop", "kill" and "start". "write", "send", "retry"
    and "refuse" have a `text`. "write" puts a message into an outbox where it has to wait, for a
    connection or for others; "retry" is each attempt to send it, and each further one for "send".
    "acknowledge" and "show" have a `text`, and an `offset` if the server gave one. A server may
    answer with anything: what is no whole number is kept for the verdict, which names it.
    "reset" (the page starts again) and "gap" have the `offset` up to which messages are gone.
    """

    kind: Kind
    who: str
    text: str | None = None
    offset: int | None = None


def lane_of(event: Event) -> str:
    """Return who an event is about: a client, or the server, by its name if there are several."""
    return (event.text or SERVER) if event.who == SERVER else event.who


def with_offset(event: Event) -> Event:
    """Return an event without its offset, if that is none: a server may answer "ok"."""
    return event if event.offset is None or is_count(event.offset) else replace(event, offset=None)


class History:
    """An append-only list of events. `stored()` returns what the log holds; None if unknown."""

    def __init__(
        self, events: Iterable[Event] = (), stored: Callable[[], Stored] = lambda: None
    ) -> None:
        self._events, self.stored = list(events), stored

    def record(
        self, kind: Kind, who: str, text: str | None = None, offset: int | None = None
    ) -> None:
        """Add one event at the end. What is no text is written as one: a reader may send it."""
        written = text if isinstance(text, str | None) else repr(text)
        self._events.append(Event(kind, who, written, offset))

    def of(self, who: str) -> list[Event]:
        """Return the events of one client, in its own order."""
        return [event for event in self._events if event.who == who]

    def unanswered(self, who: str) -> int:
        """Return how many messages a client has sent over its connection without an answer yet."""
        count = 0
        for event in self.of(who):
            if event.kind in ("send", "retry"):
                count += 1
            elif event.kind in ("acknowledge", "refuse"):
                count = max(0, count - 1)
            elif event.kind not in ("write", "show", "gap", "reset"):  # the connection has ended
                count = 0
        return count

    def reached(self, who: str) -> int:
        """Return the offset up to which a client's page has messages; 0 before the first."""
        offsets = [e.offset for e in self.of(who) if e.kind in ("show", "gap", "reset")]
        return next((offset for offset in reversed(offsets) if is_count(offset)), 0)

    @property
    def clients(self) -> list[str]:
        """The names of the clients, in the order in which they joined."""
        return list(dict.fromkeys(event.who for event in self._events if event.kind == "join"))

    @property
    def servers(self) -> list[str]:
        """The names of the servers, in the order of their numbers; [SERVER] if it is alone."""
        names = {event.text for event in self._events if event.kind in AT_A_SERVER and event.text}
        return sorted(names, key=lambda name: (len(name), name)) or [SERVER]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)
