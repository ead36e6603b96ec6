"""A history as logical steps: each is an action, with the arrivals of messages that follow from it.

Pure. Tests compare stored outputs exactly, so two runs of a chapter must give the same steps,
although messages reach the tabs in a different order each time. So only two orders count: that of
the actions (join, send, drop ...), and that of the messages within each tab.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

from chatlab.history.events import CONNECTS, Event, History, with_offset
from chatlab.history.pages import Misplaced, Shown, times_sent
from chatlab.history.step import ARRIVE, SENDS, Arrival, How, Step

MISPLACED: dict[Misplaced, How] = {"duplicated": "again", "reordered": "late"}
TOGETHER = ("drop", "reconnect", "close")
"""Actions that happen to several tabs at once when a server stops or starts: one step for all."""
Numbered = list[tuple[int, Event]]
"""Events, each with the number of its step, or of the step before it if it is no action."""


def steps_of(history: History) -> list[Step]:
    """Return the steps of a history, each with the arrivals that follow from it.

    If it is known what the log holds, a message without an answer that is there has arrived, and a
    message with an offset that is not there is not stored.
    """
    stored = history.stored()
    steps: list[Step] = []
    events: Numbered = []
    first_shown: dict[tuple[str | None, int | None], int] = {}
    for event in map(with_offset, history):
        if event.kind == "show":
            first_shown.setdefault((event.text, event.offset), len(steps) - 1)
        elif event.kind not in ("acknowledge", "refuse"):
            if steps and event.kind in TOGETHER and steps[-1].actions[0].kind == event.kind:
                others = [one for one in steps[-1].actions if one.who != event.who]
                steps[-1].actions = [*others, event]  # of a tab's attempts, the last one counts
            else:
                steps.append(Step([event]))
        events.append((len(steps) - 1, event))
    for step in steps:
        step.actions.sort(key=lambda event: event.who)
    one_log = not any(event.kind == "reset" for event in history)
    _follow_attempts(events, steps, first_shown)
    known = [(message.text, message.offset) for message in stored or () if one_log]
    _find_offsets(steps, [*first_shown, *known])
    if one_log:
        if stored is not None:
            _find_not_stored(steps, known)
        events = _in_order_of_offsets(steps, events)
    sent = times_sent(history)
    for who in history.clients:
        _Tab(who, steps, sent).follow(events)
    _find_servers(steps, history)
    return steps


def _find_servers(steps: list[Step], history: History) -> None:
    """Note in each step at which server a message arrives, and which server each tab is at."""
    at = dict.fromkeys(history.clients, history.servers[0])
    held_up: dict[Event, str] = {}
    for step in steps:
        for event in step.actions:
            if event.kind in CONNECTS and event.text:
                at[event.who] = event.text
        first = replace(step.actions[0], kind=ARRIVE)
        step.servers, step.server = dict(at), at.get(first.who, history.servers[0])
        if step.fate == "held up":
            held_up[first] = step.server
        elif step.actions[0] == first:  # its sender may be at another server by now
            step.server = held_up[first]


def _follow_attempts(
    events: Numbered, steps: list[Step], first_shown: dict[tuple[str | None, int | None], int]
) -> None:
    """Find out from the answers what became of each attempt to send a message."""
    offline: set[str] = set()
    waiting = defaultdict(list)  # sender and text -> for each message, the steps that sent it
    for number, event in events:
        messages = waiting[event.who, event.text]
        if event.kind in SENDS:
            if event.kind != "retry" or not messages:  # an outbox may repeat an answered message
                messages.append([])
            message = messages[0 if event.kind == "retry" else -1]
            waits = event.kind == "write" or event.who in offline
            steps[number].fate = "waits" if waits else "lost"
            steps[number].again = any(steps[before].fate == "lost" for before in message)
            message.append(number)
        elif event.kind in ("acknowledge", "refuse"):
            attempts = messages.pop(0)
            shown = first_shown.get((event.text, event.offset), number)
            early = [steps[one] for one in attempts if one <= shown]
            _answer(event, steps[attempts[-1]], early)
        elif event.kind in ("drop", "close"):
            offline.add(event.who)
        elif event.kind in ("join", "reconnect", "reload"):
            offline.discard(event.who)


def _answer(event: Event, last: Step, early: list[Step]) -> None:
    """Note an answer to the last attempt; a page showed the message after those in `early`."""
    last.fate = "arrived" if event.kind == "acknowledge" else "refused"
    last.offset = event.offset
    if early and early[-1] is not last and early[-1].fate == "lost":  # it had arrived
        early[-1].fate, early[-1].offset, last.fate = "arrived", last.offset, "known"
        _lose_answer(early[-1])


def _lose_answer(step: Step) -> None:
    [event] = step.actions
    lost = Arrival(event.who, event.text, step.offset, "unanswered")
    step.arrivals.setdefault(event.who, []).append(lost)


def _find_offsets(steps: list[Step], shown: list[tuple[str | None, int | None]]) -> None:
    """Take a message's offset from the pages if no acknowledgement has it."""
    taken = {(step.actions[0].text, step.offset) for step in steps}
    for step in steps:
        if step.is_send and step.fate in ("arrived", "lost") and step.offset is None:
            text = step.actions[0].text
            offsets = {o for t, o in shown if t == text and (o is None or (t, o) not in taken)}
            if offsets:
                unanswered = step.fate == "lost" and _is_sent_again(step, steps)
                step.fate = "arrived"
                step.offset = min(offsets, key=lambda offset: offset or 0)
                taken.add((text, step.offset))
                if unanswered:
                    _lose_answer(step)


def _is_sent_again(step: Step, steps: list[Step]) -> bool:
    [first] = step.actions
    later = steps[steps.index(step) + 1 :]
    return any(
        one.again and (one.actions[0].who, one.actions[0].text) == (first.who, first.text)
        for one in later
    )


def _find_not_stored(steps: list[Step], stored: list[tuple[str, int]]) -> None:
    """Mark the messages with an offset that the log does not have, and has not deleted either."""
    begin = min((offset for _, offset in stored), default=1)
    for step in steps:
        if step.fate == "arrived" and step.offset is not None:
            there = (step.actions[0].text, step.offset) in stored
            step.stored = there or step.offset < begin


def _in_order_of_offsets(steps: list[Step], events: Numbered) -> Numbered:
    """Add steps, so that messages arrive at the server in the order of their offsets.

    A message that has a larger offset than one that was sent later was held up on its way. Return
    the events with the numbers of their steps, which have changed.
    """
    before, newest_first = list(steps), list(reversed(steps))
    for step in sorted(filter(_has_arrived, before), key=lambda step: step.offset):
        smaller = (one for one in newest_first if _has_arrived(one) and one.offset < step.offset)
        last = next(smaller, step)
        if steps.index(last) > steps.index(step):
            action = replace(step.actions[0], kind=ARRIVE)
            arrives = Step([action], step.offset, stored=step.stored)
            step.fate, step.offset = "held up", None
            steps.insert(steps.index(last) + 1, arrives)
            newest_first = list(reversed(steps))
    return [(steps.index(before[number]) if number >= 0 else -1, event) for number, event in events]


def _has_arrived(step: Step) -> bool:
    return step.fate == "arrived" and step.stored and step.offset is not None


class _Tab:
    """Adds to the steps what one tab shows, and what it misses."""

    def __init__(self, who: str, steps: list[Step], sent: Counter[str]) -> None:
        self._who, self._steps = who, steps
        self._sent_in = {
            (step.actions[0].text, step.offset): number
            for number, step in reversed(list(enumerate(steps)))
            if step.brings and step.fate == "arrived"
        }
        self._reached: int | None = None  # the step at which this tab is; None if it is closed
        self._connected = False
        self._due = defaultdict(list)  # text -> steps that sent it while this tab was connected
        self._sent, self._page = sent, Shown(sent)
        self._sent_meanwhile: set[int] = set()
        self._shown: set[int] = set()
        self._gone: set[int] = set()  # offsets of messages that it was told are deleted

    def follow(self, events: Numbered) -> None:
        for number, event in events:
            if event.kind in SENDS:
                self._note_send(number, event)
            elif event.who == self._who and event.kind == "show":
                self._show(event)
            elif event.who == self._who:
                self._act(number, event)
        for number in self._sent_meanwhile - self._shown:
            step = self._steps[number]
            if step.fate == "arrived":
                how = "deleted" if step.offset in self._gone else "lost"
                lost = Arrival(self._who, step.actions[0].text, step.offset, how)
                step.arrivals.setdefault(self._who, []).insert(0, lost)

    def _note_send(self, number: int, event: Event) -> None:
        step = self._steps[number]
        if step.fate == "held up":
            number = self._sent_in_later(number, event)
        if self._reached is not None:
            self._sent_meanwhile.add(number)
        first = step.fate != "waits" and not step.again
        if self._connected and first and self._steps[number].offset is None:
            self._due[event.text].append(number)

    def _sent_in_later(self, number: int, event: Event) -> int:
        """Return the step in which a message arrives that is held up in this one."""
        return next(
            later
            for later in range(number, len(self._steps))
            if self._steps[later].actions[0] == replace(event, kind=ARRIVE)
        )

    def _show(self, event: Event) -> None:
        """Find the step in which a message was sent: by its offset, if it has one.

        Without offsets, a text that is sent twice over one connection and shown twice is two
        messages, and not one message shown again.
        """
        if event.offset is None and self._due[event.text]:
            source = self._due[event.text].pop(0)
        else:
            source = self._sent_in.get((event.text, event.offset), 0)
        self._reached = max(self._reached or 0, source)
        arrival = Arrival(self._who, event.text, event.offset, self._how(source, event))
        self._steps[self._reached].arrivals.setdefault(self._who, []).append(arrival)
        self._shown.add(source)

    def _how(self, source: int, event: Event) -> How:
        wrong, _ = self._page.add(event)
        return MISPLACED.get(wrong, "live" if self._reached == source else "catch-up")

    def _act(self, number: int, event: Event) -> None:
        if event.kind == "gap":
            begin = self._page.newest.offset + 1 if self._page.newest else 1
            self._gone.update(range(begin, (event.offset or 0) + 1))
        if event.kind in ("join", "reconnect", "reload", "reset", "gap"):
            self._reached = max(self._reached or 0, number)
            if event.kind not in ("reconnect", "gap"):
                self._page = Shown(self._sent)
        elif event.kind == "close":
            self._reached = None
        if event.kind in ("join", "reconnect", "reload", "drop", "close"):
            self._connected = event.kind not in ("drop", "close")
            self._due.clear()
