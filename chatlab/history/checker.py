"""The verdict on a history: did every client get every message exactly once and in order?

Pure: it judges what was recorded, and does not trust what a server says about itself, as the
checkers of Jepsen and Maelstrom do.

The rule: from the moment a page is loaded, it shows the messages in the order of their offsets,
each once, with no gap. A page that is connected when the history ends shows all messages; any other
page may miss the last ones. No page has to show messages that the log has deleted. After a reset a
page starts again, because the offsets that it had belong to another log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from chatlab.history.events import Event, History, with_offset
from chatlab.history.pages import Page, Shown, message_of, pages_of, times_sent
from chatlab.messages import Message
from chatlab.mistakes import BadArgument, expect

Wrong = Literal["lost", "duplicated", "reordered", "phantom", "missing"]
KINDS: dict[Wrong, str] = {
    "lost": "{who} never shows {message}",
    "duplicated": "{who} shows {message} again",
    "reordered": "{who} shows {message} late",
    "phantom": "{who} shows {message}, which {why}",
    "missing": "{who} was told that {message} is stored, and it is not",
}
NAMED = 8
"""A verdict writes out up to this many faults, and counts the others."""


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
        was_sent = len(self.evidence) > 1
        why = "is not in the log" if was_sent else "nobody sent"
        return f"{self.kind}: {KINDS[self.kind].format(who=self.who, message=named, why=why)}"


@dataclass(frozen=True)
class Verdict:
    """What `check` found: valid, invalid (with the faults), or unknown (with the reason)."""

    faults: tuple[Fault, ...]
    unacknowledged: tuple[Message, ...]
    """Messages that were sent and never answered: each may have been stored, or not."""
    doubt: str = ""
    """Why a history without faults is not "valid"; "" if it is."""
    history: History | None = field(default=None, compare=False)
    """The history that was judged."""
    gaps: int = 0
    """How many times a page was told that messages are deleted that it does not have."""

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

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items() if count)
        reason = counts or self.doubt or "every message once and in order"
        if self.gaps:
            reason += f", and told of {self.gaps} {'gap' if self.gaps == 1 else 'gaps'}"
        more = len(self.faults) - NAMED
        lines = [f"{self.outcome}: {reason}", *map(str, self.faults[:NAMED])]
        return "\n".join(lines + ([f"... and {more} more"] if more > 0 else []))

    __repr__ = __str__


def check_kind(kind: str) -> None:
    """Raise BadArgument unless there is such a kind of fault: a search would never find it."""
    expect(kind in KINDS, f"a kind of fault is {', '.join(KINDS)}", kind)


def check(
    history: History,
    stored: Iterable[Message] | None = None,
    *,
    promised: bool = False,
    trimmed: int = 0,
) -> Verdict:
    """Judge a history in which nothing is under way any more.

    `stored` are the messages in the log at the end, if they are known: then an acknowledged message
    that is not stored is a fault, even if no client is connected. The log has deleted the messages
    up to the offset `trimmed`.

    A message without an acknowledgement may be lost on its way to the server. With `promised` it
    may not: the senders repeat each message until there is an answer, as an outbox does.
    """
    for event in history:
        if with_offset(event) is not event:
            verb = "answered" if event.kind == "acknowledge" else "sent"
            what = f"{event.text!r} was {verb} with {event.offset!r}, which is no offset"
            raise BadArgument(f"{what}: log.append returns the offset, a whole number")
    facts = _Facts(history, None if stored is None else list(stored), trimmed)
    if promised:
        facts.known |= dict.fromkeys(facts.never_arrived())
    faults = [*facts.missing(), *facts.out_of_turn()]
    for fault in faults:
        if fault.kind == "missing":  # report it once, and not again for each page
            facts.known.pop(fault.message, None)
    faults += (fault for page in facts.pages for fault in _faults_of(page, facts))
    faults.sort(key=lambda fault: (fault.message.offset or 0, fault.who, fault.kind))
    gaps = sum(event.kind == "gap" for event in history)
    return Verdict(tuple(faults), tuple(facts.unacknowledged), _doubt(facts), history, gaps)


def _doubt(facts: _Facts) -> str:
    if not facts.sent:
        return "nothing was sent"
    if not any(page.complete for page in facts.pages):
        return "no client is connected at the end"
    if any(show.offset is None for page in facts.pages for show in page.shows):
        return "without offsets the order cannot be judged"
    return ""


class _Facts:
    """The facts of a history that the checks need."""

    def __init__(self, history: History, stored: list[Message] | None, trimmed: int) -> None:
        self.history, self.stored, self.trimmed = history, stored, trimmed
        self.pages = list(pages_of(history))
        sends, self.acknowledged, refusals = (
            [event for event in history if event.kind in kinds]
            for kinds in (("write", "send"), ("acknowledge",), ("refuse",))
        )
        self.sent: dict[str, list[Event]] = {}
        for event in sends:
            self.sent.setdefault(event.text, []).append(event)
        self.times = times_sent(history)
        self.refused = Counter(event.text for event in refusals)
        waiting = Counter((event.who, event.text) for event in sends)
        waiting -= Counter((event.who, event.text) for event in [*self.acknowledged, *refusals])
        self.unacknowledged = [Message(None, text) for _, text in waiting.elements()]
        pages = [page for page in self.pages if not page.other_log]
        self.seen = dict.fromkeys(message_of(show) for page in pages for show in page.shows)
        self.known = self._known()

    def _known(self) -> dict[Message, None]:
        """Return the messages that exist, oldest first: from the log, or else from the clients."""
        reported = [*map(message_of, self.acknowledged), *self.seen]
        if self.stored is not None:
            return dict.fromkeys([*filter(self.is_gone, reported), *self.stored])
        sent = [message for message in reported if message.text in self.sent]
        if all(message.offset is None for message in reported):
            return dict.fromkeys(sent)
        # An offset belongs to the text that had it first.
        texts = {offset: text for offset, text in reversed(sent) if offset is not None}
        return dict.fromkeys(map(Message._make, sorted(texts.items())))

    def missing(self) -> Iterator[Fault]:
        """Find acknowledged messages that are not stored; without a log, those on no page."""
        if self.stored is None and not any(page.complete for page in self.pages):
            return
        there = set(self.seen if self.stored is None else self.stored)
        texts = {message.text for message in there}
        for event in self.acknowledged:
            found = event.text in texts if event.offset is None else message_of(event) in there
            if not found and not self.is_gone(message_of(event)):
                evidence = (*self.sent.get(event.text, [])[:1], event)
                yield Fault("missing", event.who, message_of(event), evidence)

    def never_arrived(self) -> Iterator[Message]:
        """Find the messages that have no answer and do not exist either."""
        there = Counter(message.text for message in self.known)
        for text, sends in self.sent.items():
            if len(sends) - self.refused[text] > there[text]:
                yield Message(None, text)

    def out_of_turn(self) -> Iterator[Fault]:
        """Find messages of one sender that the log holds in another order than they were sent."""
        answers = {(event.who, event.text): event for event in self.acknowledged}
        newest: dict[str, Event] = {}
        for event in self.history:
            if event.kind == "reset":
                newest.pop(event.who, None)
            mine = answers.get((event.who, event.text)) if event.kind == "send" else None
            if mine is None or mine.offset is None or len(self.sent[event.text]) > 1:
                continue
            last = newest.setdefault(event.who, mine)
            if mine.offset < last.offset:
                yield Fault("reordered", event.who, message_of(mine), (last, mine))
            else:
                newest[event.who] = mine

    def is_gone(self, message: Message) -> bool:
        """Return whether the log has deleted a message, which is allowed."""
        return message.offset is not None and message.offset <= self.trimmed


def _faults_of(page: Page, facts: _Facts) -> Iterator[Fault]:
    """Find what is wrong with one page."""
    shown = Shown(facts.times)
    for show in page.shows:
        message = message_of(show)
        exists = page.other_log or show.offset is None or message in facts.known
        wrong, before = shown.add(show)
        if show.text not in facts.sent or not exists:
            sent = facts.sent.get(show.text, [])[:1]
            yield Fault("phantom", page.who, message, (*sent, show))
        elif wrong:
            yield Fault(wrong, page.who, message, (before, show))
    if not page.other_log:
        yield from _lost(page, shown.first, facts)


def _lost(page: Page, shown: dict[Message, Event], facts: _Facts) -> Iterator[Fault]:
    """Find the messages that a page should show and does not."""
    reached = max((message.offset or 0 for message in shown), default=0)
    for message in facts.known:
        due = page.complete or (message.offset or reached) < reached
        due = due and not any(message.offset in gone for gone in page.gone)
        if due and message not in shown:
            later = (m for m in shown if (m.offset or 0) > (message.offset or 0))
            proof = next((shown[m] for m in later), page.opened)
            yield Fault("lost", page.who, message, (*facts.sent.get(message.text, [])[:1], proof))
