"""The verdict on a history: did every client get every message exactly once and in order?

Pure: it judges what was recorded, and trusts nothing that a server says about itself. The idea
comes from the checkers of Jepsen and Maelstrom, which look at a system from outside in this way.

The promise it holds a history to: on each page, from the moment it was loaded, messages stand in
the order of their offsets, each once, with no gap; and a page that is connected when the history
ends has them all. A page that was away at the end may have stopped early. What is gone from the log
nobody can get any more: a page that is told so does without it, and one that is told that it counts
in another log begins anew, and is not measured by this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from chatlab.history.events import Event, History
from chatlab.messages import Message

Wrong = Literal["lost", "duplicated", "reordered", "phantom", "missing"]
KINDS: dict[Wrong, str] = {
    "lost": "{who} never shows {message}",
    "duplicated": "{who} shows {message} again",
    "reordered": "{who} shows {message} late",
    "phantom": "{who} shows {message}, which nobody sent",
    "missing": "{who} was told that {message} is stored, and it is not",
}
NAMED = 8
"""So many faults are written out one by one; the others are counted."""


@dataclass(frozen=True)
class Fault:
    """One message that went wrong for one client, and the fewest events that show it."""

    kind: Wrong
    who: str
    message: Message
    evidence: tuple[Event, ...]

    def __str__(self) -> str:
        offset = "" if self.message.offset is None else f"{self.message.offset} "
        named = f'{offset}"{self.message.text}"'
        return f"{self.kind}: {KINDS[self.kind].format(who=self.who, message=named)}"


@dataclass(frozen=True)
class Verdict:
    """What `check` found: valid, invalid (with the faults), or unknown (with the reason)."""

    faults: tuple[Fault, ...]
    unacknowledged: tuple[Message, ...]
    """Messages that were sent and never answered: each may have been stored, or not."""
    doubt: str = ""
    """Why nothing can be said, although no fault was found."""
    history: History | None = field(default=None, compare=False)
    """What was judged."""

    @property
    def outcome(self) -> Literal["valid", "invalid", "unknown"]:
        return "invalid" if self.faults else "unknown" if self.doubt else "valid"

    @property
    def valid(self) -> bool:
        return self.outcome == "valid"

    @property
    def counts(self) -> dict[Wrong, int]:
        """How many faults there are of each kind."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind: found[kind] for kind in KINDS}

    @property
    def excerpt(self) -> tuple[Event, ...]:
        """The fewest events that show the first fault; none if there is no fault."""
        return self.faults[0].evidence if self.faults else ()

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items() if count)
        reason = counts or self.doubt or "every message once and in order"
        more = len(self.faults) - NAMED
        lines = [f"{self.outcome}: {reason}", *map(str, self.faults[:NAMED])]
        return "\n".join(lines + ([f"... and {more} more"] if more > 0 else []))

    __repr__ = __str__


@dataclass
class _Page:
    """What one client showed between two loads of its page."""

    who: str
    opened: Event
    """The event that connected it last."""
    shows: list[Event]
    complete: bool
    """Whether it is connected when the history ends, so that nothing may be missing."""
    elsewhere: bool = False
    """Whether it turned out that it counted in another log."""
    gone: list[range] = field(default_factory=list)
    """The offsets that it was told not to wait for."""

    def do_without(self, last: int) -> None:
        """Note that the messages up to an offset are gone, but for those that are shown."""
        shown = max((show.offset or 0 for show in self.shows), default=0)
        self.gone.append(range(shown + 1, last + 1))


def check(
    history: History,
    stored: Iterable[Message] | None = None,
    *,
    promised: bool = False,
    trimmed: int = 0,
) -> Verdict:
    """Judge a history that has come to rest.

    `stored` is what the log holds at the end, if it can be looked at: then an acknowledged message
    that is not in it is found even when no client was there to miss it. What it held up to the
    offset `trimmed` is gone.

    A message that was never acknowledged may have got lost on its way to the server, unless the
    senders have `promised` that it arrives, as a tab with an outbox does.
    """
    facts = _Facts(history, None if stored is None else list(stored), trimmed)
    if promised:
        facts.known |= dict.fromkeys(facts.never_arrived())
    faults = [*facts.missing(), *facts.out_of_turn()]
    for fault in faults:
        if fault.kind == "missing":  # one fault of the log, and not one of every page
            facts.known.pop(fault.message, None)
    faults += (fault for page in facts.pages for fault in _faults_of(page, facts))
    faults.sort(key=lambda fault: (fault.message.offset or 0, fault.who, fault.kind))
    return Verdict(tuple(faults), tuple(facts.unacknowledged), _doubt(facts), history)


def _doubt(facts: _Facts) -> str:
    if not facts.sent:
        return "nothing was sent"
    if not any(page.complete for page in facts.pages):
        return "no client is connected at the end"
    if any(show.offset is None for page in facts.pages for show in page.shows):
        return "without offsets the order cannot be judged"
    return ""


class _Facts:
    """What a history says, sorted by what the checks ask for."""

    def __init__(self, history: History, stored: list[Message] | None, trimmed: int) -> None:
        self.history, self.stored, self.trimmed = history, stored, trimmed
        self.pages = list(_pages(history))
        self.sent: dict[str, list[Event]] = {}
        self.acknowledged: list[Event] = []
        self.unacknowledged: list[Message] = []
        self.refused: Counter[str] = Counter()
        self._answers(history)
        here = [page for page in self.pages if not page.elsewhere]
        self.seen = dict.fromkeys(_message(show) for page in here for show in page.shows)
        self.known = self._known()

    def _answers(self, history: History) -> None:
        waiting: Counter[tuple[str, str]] = Counter()
        for event in history:
            if event.kind == "send":
                self.sent.setdefault(event.text, []).append(event)
                waiting[event.who, event.text] += 1
            elif event.kind in ("acknowledge", "refuse"):
                waiting[event.who, event.text] -= 1
                if event.kind == "acknowledge":
                    self.acknowledged.append(event)
                else:
                    self.refused[event.text] += 1
        self.unacknowledged = [Message(None, text) for _, text in waiting.elements()]

    def _known(self) -> dict[Message, None]:
        """The messages that exist, oldest first: those in the log, or else those one hears of."""
        heard = [*map(_message, self.acknowledged), *self.seen]
        if self.stored is not None:
            return dict.fromkeys([*filter(self.is_gone, heard), *self.stored])
        if all(message.offset is None for message in heard):
            return dict.fromkeys(message for message in heard if message.text in self.sent)
        texts: dict[int, str] = {}  # an offset belongs to the text that was heard of first
        for offset, text in heard:
            if offset is not None and text in self.sent:
                texts.setdefault(offset, text)
        return dict.fromkeys(Message(offset, texts[offset]) for offset in sorted(texts))

    def missing(self) -> Iterator[Fault]:
        """Find what was acknowledged and is not there: not stored, or shown to nobody."""
        if self.stored is None and not any(page.complete for page in self.pages):
            return
        there = set(self.seen if self.stored is None else self.stored)
        texts = {message.text for message in there}
        for event in self.acknowledged:
            found = event.text in texts if event.offset is None else _message(event) in there
            if not found and not self.is_gone(_message(event)):
                evidence = (*self.sending(event.text), event)
                yield Fault("missing", event.who, _message(event), evidence)

    def never_arrived(self) -> Iterator[Message]:
        """Find the messages without an answer that do not exist either."""
        here = Counter(message.text for message in self.known)
        for text, sends in self.sent.items():
            if len(sends) - self.refused[text] > here[text]:
                yield Message(None, text)

    def out_of_turn(self) -> Iterator[Fault]:
        """Find messages of one sender that the log holds in another order than they were sent."""
        offsets = {(event.who, event.text): event for event in self.acknowledged}
        newest: dict[str, Event] = {}
        for event in self.history:
            if event.kind == "reset":
                newest.pop(event.who, None)
            mine = offsets.get((event.who, event.text)) if event.kind == "send" else None
            if mine is None or mine.offset is None or len(self.sent[event.text]) > 1:
                continue
            last = newest.setdefault(event.who, mine)
            if mine.offset < last.offset:
                yield Fault("reordered", event.who, _message(mine), (last, mine))
            else:
                newest[event.who] = mine

    def is_gone(self, message: Message) -> bool:
        """Whether the log has let go of a message, as it may."""
        return message.offset is not None and message.offset <= self.trimmed

    def exists(self, message: Message) -> bool:
        return message.offset is None or message in self.known

    def sending(self, text: str) -> list[Event]:
        return self.sent.get(text, [])[:1]


def _pages(history: History) -> Iterator[_Page]:
    """Cut a history into pages: from a join, a reload or a reset to the next, or to the end."""
    pages: dict[str, _Page] = {}
    for event in history:
        if event.kind in ("join", "reload", "reset"):
            if event.who in pages:  # thrown away: nobody can expect anything of it any more
                pages[event.who].complete = False
                pages[event.who].elsewhere = event.kind == "reset"
                yield pages[event.who]
            pages[event.who] = _Page(event.who, event, [], complete=True)
            pages[event.who].do_without(event.offset or 0)
        elif event.who in pages:
            page = pages[event.who]
            if event.kind == "show":
                page.shows.append(event)
            elif event.kind == "gap":
                page.do_without(event.offset)
            elif event.kind in ("drop", "close"):
                page.complete = False
            elif event.kind == "reconnect":
                page.complete, page.opened = True, event
    yield from pages.values()


def _faults_of(page: _Page, facts: _Facts) -> Iterator[Fault]:
    """Find what is wrong with one page."""
    first: dict[Message, Event] = {}
    texts: Counter[str] = Counter()
    newest: Event | None = None
    for show in page.shows:
        message = _message(show)
        texts[show.text] += 1
        if show.text not in facts.sent or not (page.elsewhere or facts.exists(message)):
            yield Fault("phantom", page.who, message, (show,))
        elif show.offset is not None and message in first:
            yield Fault("duplicated", page.who, message, (first[message], show))
        elif texts[show.text] > len(facts.sent[show.text]):
            before = next(event for event in page.shows if event.text == show.text)
            yield Fault("duplicated", page.who, message, (before, show))
        elif newest and show.offset is not None and show.offset < newest.offset:
            yield Fault("reordered", page.who, message, (newest, show))
        first.setdefault(message, show)
        if show.offset is not None and (newest is None or show.offset > newest.offset):
            newest = show
    yield from _lost(page, first, facts)


def _lost(page: _Page, shown: dict[Message, Event], facts: _Facts) -> Iterator[Fault]:
    reached = max((message.offset or 0 for message in shown), default=0)
    for message in facts.known if not page.elsewhere else ():
        due = page.complete or (message.offset or reached) < reached
        due = due and not any(message.offset in gone for gone in page.gone)
        if due and message not in shown:
            later = (m for m in shown if (m.offset or 0) > (message.offset or 0))
            proof = next((shown[m] for m in later), page.opened)
            yield Fault("lost", page.who, message, (*facts.sending(message.text), proof))


def _message(event: Event) -> Message:
    return Message(event.offset, event.text)
