"""A history put into logical steps: an action, and the arrivals of messages that follow from it.

Pure. Stored outputs are compared to the letter, so two runs of a chapter must give the same steps,
although messages reach different tabs in another order each time. Therefore only the order of
actions counts (join, send, drop ...) and each tab's own order of messages; where two tabs show a
message at the same time, neither is first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chatlab.history.events import Event, History

Fate = Literal["arrived", "known", "refused", "waits", "lost", "under way"]
"""What became of a message that was sent: "known" if the server had it already, "waits" if there
was no connection. "under way" is for who looks while it happens: a history alone cannot tell what
is under way from what is lost."""
How = Literal["live", "catch-up", "again", "late", "lost"]
SENDS = ("send", "retry")
TOGETHER = ("drop", "reconnect", "close")
"""Actions that happen to several tabs at once when a server stops or starts: one step for all."""


@dataclass
class Arrival:
    """A message at a tab, or missing there ("lost")."""

    who: str
    text: str
    offset: int | None
    how: How


@dataclass
class Step:
    """One logical step: an action, or several of a kind at once, and the arrivals after it."""

    actions: list[Event]
    offset: int | None = None
    fate: Fate = "arrived"
    again: bool = False
    """Whether the message was sent before."""
    arrivals: dict[str, list[Arrival]] = field(default_factory=dict)

    @property
    def is_send(self) -> bool:
        return self.actions[0].kind in SENDS


def steps_of(history: History) -> list[Step]:
    """Return the steps of a history, each with the arrivals that it leads to."""
    steps: list[Step] = []
    of_event: dict[int, int] = {}  # the place of an action in the history -> its step
    for place, event in enumerate(history):
        if event.kind in ("show", "acknowledge", "refuse"):
            continue
        together = steps and event.kind in TOGETHER and steps[-1].actions[0].kind == event.kind
        if together:
            steps[-1].actions.append(event)
        else:
            steps.append(Step([event]))
        of_event[place] = len(steps) - 1
    for step in steps:
        step.actions.sort(key=lambda event: event.who)
    _follow_attempts(history, steps, of_event)
    _ask_pages(history, steps)
    for who in history.clients:
        _place_arrivals(who, history, steps, of_event)
    return steps


def _follow_attempts(history: History, steps: list[Step], of_event: dict[int, int]) -> None:
    """Find out what became of each attempt to send a message, from its answer, if there is one."""
    first_shown = _first_shown(history)
    away: set[str] = set()
    waiting: dict[tuple[str, str], list[list[int]]] = {}  # each message's places in the history
    for place, event in enumerate(history):
        messages = waiting.setdefault((event.who, event.text), [])
        if event.kind in SENDS:
            step = steps[of_event[place]]
            step.fate = "waits" if event.who in away else "lost"
            if event.kind == "send" or not messages:  # an outbox may repeat what was answered
                messages.append([])
            message = messages[-1 if event.kind == "send" else 0]
            step.again = any(steps[of_event[before]].fate == "lost" for before in message)
            message.append(place)
        elif event.kind in ("acknowledge", "refuse"):
            shown = first_shown.get((event.text, event.offset), place)
            attempts = messages.pop(0)
            early = [steps[of_event[one]] for one in attempts if one < shown]
            _answer(event, steps[of_event[attempts[-1]]], early)
        elif event.kind in ("drop", "close"):
            away.add(event.who)
        elif event.kind in ("join", "reconnect", "reload"):
            away.discard(event.who)


def _answer(event: Event, last: Step, early: list[Step]) -> None:
    """Note an answer to the last attempt; `early` were made before the message was shown."""
    last.fate = "arrived" if event.kind == "acknowledge" else "refused"
    last.offset = event.offset
    if early and early[-1] is not last and early[-1].fate == "lost":  # it did arrive then
        early[-1].fate, early[-1].offset, last.fate = "arrived", event.offset, "known"


def _ask_pages(history: History, steps: list[Step]) -> None:
    """Let the pages tell where an acknowledgement carries no offset, or is missing."""
    shown = _first_shown(history)
    taken = {step.offset for step in steps}
    for step in steps:
        if step.is_send and step.fate in ("arrived", "lost") and step.offset is None:
            text = step.actions[0].text
            offsets = {o for t, o in shown if t == text and (o is None or o not in taken)}
            if offsets:
                step.fate = "arrived"
                step.offset = min(offsets, key=lambda offset: offset or 0)
                taken.add(step.offset)


def _first_shown(history: History) -> dict[tuple[str, int | None], int]:
    """Return the place in the history at which each message was first shown on a page."""
    return {
        (event.text, event.offset): place
        for place, event in reversed(list(enumerate(history)))
        if event.kind == "show"
    }


def _place_arrivals(
    who: str, history: History, steps: list[Step], of_event: dict[int, int]
) -> None:
    """Put what a tab was shown, and what it missed, into the steps where it belongs."""
    sources = _sources(who, history, steps, of_event)
    here: int | None = None  # the step at which this tab's time has arrived
    page: list[tuple[int, Event]] = []
    present = set()
    for place, event in enumerate(history):
        if event.kind in SENDS and here is not None:
            present.add(of_event[place])
        if event.who != who:
            continue
        if event.kind == "show":
            source = sources[place]
            here = max(here or 0, source)
            how = _how(source, event, page, live=here == source)
            steps[here].arrivals.setdefault(who, []).append(
                Arrival(who, event.text, event.offset, how)
            )
            page.append((source, event))
        elif event.kind in ("join", "reconnect", "reload", "reset", "gap"):
            here = max(here or 0, of_event[place])
            page = page if event.kind in ("reconnect", "gap") else []
        elif event.kind == "close":
            here = None
    for number in present - set(sources.values()):
        step = steps[number]
        if step.fate == "arrived":
            lost = Arrival(who, step.actions[0].text, step.offset, "lost")
            step.arrivals.setdefault(who, []).insert(0, lost)


def _sources(
    who: str, history: History, steps: list[Step], of_event: dict[int, int]
) -> dict[int, int]:
    """Find the step in which each message that a tab shows was sent.

    The offset tells. Without one, a text that is sent twice while the tab is connected, and shown
    twice, is two messages and not one message shown again.
    """
    sent_in = {
        (step.actions[0].text, step.offset): number
        for number, step in reversed(list(enumerate(steps)))
        if step.is_send and step.fate == "arrived"
    }
    sources: dict[int, int] = {}
    due: dict[str | None, list[int]] = {}  # sent without an offset to this connection, not shown
    connected = False
    for place, event in enumerate(history):
        if event.kind == "send" and connected and steps[of_event[place]].offset is None:
            due.setdefault(event.text, []).append(of_event[place])
        if event.who != who:
            continue
        if event.kind == "show":
            if event.offset is None and due.get(event.text):
                sources[place] = due[event.text].pop(0)
            else:
                sources[place] = sent_in.get((event.text, event.offset), 0)
        elif event.kind in ("join", "reconnect", "reload", "drop", "close"):
            connected = event.kind not in ("drop", "close")
            due.clear()
    return sources


def _how(source: int, event: Event, page: list[tuple[int, Event]], *, live: bool) -> How:
    if (source, event) in page:
        return "again"
    if event.offset and any(old.offset and old.offset > event.offset for _, old in page):
        return "late"
    return "live" if live else "catch-up"
