"""The page of a tab: what it shows, and where it stands in the server's log.

It does with the server's events what the script of the chat page does. It knows no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from reprlib import repr as shortened
from typing import Any, get_args

from chatlab.messages import CATCHING_UP, CAUGHT_UP, CHAT_MESSAGE, WHERE, Message, Outcome
from chatlab.mistakes import BadArgument, is_count

TAKES = {
    CHAT_MESSAGE: "a text, and after it its offset, a whole number, if it has one",
    CATCHING_UP: '{"outcome": "continued", "gap" or "reset", "after": an offset, "epoch": a text}',
}
"""What a page can take with an event, for the reader whose server sends something else."""


class Page:
    """A page that was just loaded. A reload makes a new one.

    `show` is called with each chat message, and `record(kind, text, offset)` notes what happens.
    With `recover`, the page asks for connection state recovery.
    """

    def __init__(
        self, recover: bool, show: Callable[[Message], None], record: Callable[..., None]
    ) -> None:
        self._show, self._record = show, record
        self.shown: list[Message] = []
        """The messages on the page, from top to bottom."""
        self.offset = 0
        """The offset of the last message delivered to this page; 0 before the first."""
        self.epoch: str | None = None
        """The epoch of the log in which the page counts, if the server has sent one."""
        self.heard: dict[str, Any] = {}
        """The last value of each event other than a chat message, by the name of the event."""
        self.recovered = False
        """Whether the server has recovered the session at the last connection."""
        self.session: dict[str, str] = {"pid": ""} if recover else {}
        """What the server needs to recover the session: the pid, which is a secret, and the
        position in the last event. Any tab that sends it gets the session."""

    @property
    def messages(self) -> list[str]:
        """The texts on the page, from top to bottom."""
        return [message.text for message in self.shown]

    @property
    def outcome(self) -> dict[str, Any] | None:
        """What the server said when this connection had caught up; None before that."""
        return self.heard.get(CAUGHT_UP)

    def connect(self) -> None:
        """Begin a connection, on which the server has sent nothing yet."""
        self._placed = False  # whether it has sent its place in the log
        self.heard.pop(CAUGHT_UP, None)

    def auth(self) -> dict[str, Any]:
        """Return what the page sends with CONNECT."""
        epoch = {} if self.epoch is None else {"epoch": self.epoch}
        return {"serverOffset": self.offset} | epoch | self.session

    def accept(self, welcome: dict[str, Any]) -> None:
        """Take the server's answer to CONNECT: the session is recovered if the pid is the same."""
        if self.session:
            pid = welcome.get("pid", "")
            self.recovered = bool(pid) and pid == self.session["pid"]
            self.session["pid"] = pid

    def add(self, message: Message) -> None:
        """Put a message below the others."""
        self.shown.append(message)
        if message.offset is not None:
            self.offset = message.offset
        self._record("show", message.text, message.offset)

    def receive(self, event: str, *values: Any) -> Any:
        """Do what the page does with an event; return the acknowledgement.

        Raises BadArgument, and does nothing, if the page cannot take what the event carries.
        """
        least = 1 if event == CHAT_MESSAGE else 0  # a text alone is no position
        if self.session and len(values) > least and isinstance(values[-1], str):
            self.session["offset"] = values[-1]  # the position in the session
            values = values[:-1] if event == CHAT_MESSAGE else values
        if event == CHAT_MESSAGE:
            _expect(_is_message(*values[:2]), event, values)
            self._take(*values[:2])
        elif event == CATCHING_UP:
            _expect(_is_place(*values[:1]), event, values)
            self._move(values[0])
        elif event != WHERE:
            self.heard[event] = values[0] if values else None
        return self.offset if event == WHERE else None

    def _take(self, text: str, offset: int | None = None) -> None:
        if not self._placed:  # the server knows no epochs, so the old one means nothing now
            self.epoch = None
        self._show(Message(offset, text))

    def _move(self, place: dict[str, Any]) -> None:
        """Go to the place from which the server is about to continue."""
        self._placed = True
        if place["outcome"] != "continued":
            self._record(place["outcome"], None, place["after"])
        if place["outcome"] == "reset":
            self.shown = []
        self.offset, self.epoch = place["after"], place["epoch"]


def _is_message(text: Any = None, offset: Any = None) -> bool:
    return isinstance(text, str) and (offset is None or is_count(offset))


def _is_place(place: Any = None) -> bool:
    known = isinstance(place, dict) and place.get("outcome") in get_args(Outcome)
    return known and is_count(place.get("after")) and isinstance(place.get("epoch"), str)


def _expect(fits: bool, event: str, values: tuple[Any, ...]) -> None:
    if not fits:
        sent = ", ".join(map(shortened, values)) or "nothing"
        raise BadArgument(f"the server emits {event!r} with {sent}: a page takes {TAKES[event]}")
