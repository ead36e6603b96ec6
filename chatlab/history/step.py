"""One logical step of a history: what happens, on which server, and what arrives after it.

Pure. It must not know how a history is cut into steps, nor how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chatlab.history.events import SERVER, Event

Fate = Literal["arrived", "known", "refused", "waits", "held up", "lost", "under way"]
"""What became of a message: "known" if the server had it already, "waits" if it was not sent yet,
"held up" if it arrives in a later step, as its offset shows. A history alone cannot tell "under
way" from "lost": a live view sets it itself."""
How = Literal["live", "catch-up", "again", "late", "lost", "deleted", "unanswered"]
NEVER: tuple[How, ...] = ("lost", "deleted", "unanswered")
"""What becomes of a message or an answer that does not arrive."""
SENDS = ("write", "send", "retry")
ARRIVE = "arrive"
"""The action of a step in which a message arrives at the server that was held up."""


@dataclass
class Arrival:
    """A message that a tab shows, or an answer that its sender gets; or why not.

    "lost": the tab never shows it. "deleted": the tab was told that the log does not have it any
    more. "unanswered": the sender did not get the answer, and sent the message again.
    """

    who: str
    text: str
    offset: int | None
    how: How

    @property
    def faulty(self) -> bool:
        return self.how in ("lost", "again", "late")


@dataclass(eq=False)  # two steps in which the same happens are two
class Step:
    """One logical step: an action, or several of a kind at once, and the arrivals after it."""

    actions: list[Event]
    offset: int | None = None
    fate: Fate = "arrived"
    again: bool = False
    """Whether the message was sent before."""
    stored: bool = True
    """False if the server gave the message an offset that is not in the log."""
    arrivals: dict[str, list[Arrival]] = field(default_factory=dict)
    server: str = SERVER
    """The server at which a message arrives, if it does."""
    servers: dict[str, str] = field(default_factory=dict)
    """The server of each tab: the one to which it is connected, or was last."""
    more: dict[str, int] = field(default_factory=dict)
    """How many arrivals at a tab a picture leaves out."""

    @property
    def is_send(self) -> bool:
        """Whether a client sends a message, or writes it, to send it later."""
        return self.actions[0].kind in SENDS

    @property
    def faulty(self) -> bool:
        """Whether a message went wrong here for good, and not only for an attempt to send it."""
        return not self.stored or any(one.faulty for ones in self.arrivals.values() for one in ones)

    @property
    def brings(self) -> bool:
        """Whether a message may arrive at the server."""
        return self.is_send or self.actions[0].kind == ARRIVE

    @property
    def is_at_server(self) -> bool:
        """Whether a message arrives at the server."""
        return self.brings and self.fate in ("arrived", "known")

    @property
    def others(self) -> list[str]:
        """The other servers that pass the message on: those whose tabs show it."""
        if not self.is_at_server:
            return []
        tabs = [who for who, ones in self.arrivals.items() if any(map(self._is, ones))]
        return sorted({self.servers[who] for who in tabs} - {self.server})

    def _is(self, arrival: Arrival) -> bool:
        """Whether it is the message of this step that a tab shows."""
        same = (arrival.text, arrival.offset) == (self.actions[0].text, self.offset)
        return same and arrival.how not in NEVER
