"""The steps of a history in words: a table, and a sentence that sums them up.

It must not know where anything stands in the picture.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, groupby
from math import ceil
from unicodedata import category, east_asian_width

from chatlab.history.events import CONNECTS, SERVER, Event, lane_of
from chatlab.history.step import ARRIVE, NEVER, Arrival, Step

DOES = {
    "join": "joins",
    "drop": "drops",
    "reconnect": "reconnects",
    "reload": "reloads",
    "reset": "begins anew",
    "gap": "is told of a gap",
    "close": "closes",
    "stop": "stops",
    "kill": "is killed",
    "start": "starts",
}
GETS = {
    "catch-up": "catches up on {}",
    "lost": "never gets {}",
    "deleted": "is told that these are deleted: {}",
    "unanswered": "gets no answer to {}",
    "again": "gets {} again",
    "late": "gets {} late",
}
NAMED = 3
"""A summary names up to this many messages of a kind one by one; it counts more than that."""
ROOM = 24
"""How many narrow characters of a text fit beside a lane."""
FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that SVG does not allow, or that are invisible: control characters, surrogates."""


def table(lanes: list[str], steps: list[Step], part: range) -> str:
    """Write a part of the steps as a table: one row for each step, one column for each lane."""
    rows = [["", *map(short, lanes)]]
    for number in part:
        rows.append([str(number + 1), *(_cell(lane, steps[number]) for lane in lanes)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, *left_out(steps, part)])


def left_out(steps: list[Step], part: range) -> list[str]:
    """Say how much is not shown of a history, and how to see it."""
    said = []
    if len(part) < len(steps):
        said.append(f"{len(steps) - len(part)} of {len(steps)} steps")
    if count := sum(sum(steps[number].more.values()) for number in part):
        said.append(f"{count} messages to tabs")
    return [f"{' and '.join(said)} are left out: diagram().whole() has all"] if said else []


def summary(lanes: list[str], servers: list[str], steps: list[Step]) -> str:
    """Return the most important facts in one sentence: the alternative text of the picture."""
    tabs = ", ".join(short(lane) for lane in lanes if lane not in servers) or "nobody"
    whose = "the server" if len(servers) == 1 else f"{len(servers)} servers"
    sent = sum(step.actions[0].kind in ("write", "send") for step in steps)
    facts = [f"{sent} {'message' if sent == 1 else 'messages'} sent"]
    for lane in lanes:
        name = "the server" if lane == SERVER else short(lane)
        facts += [f"{name} {fact}" for fact in _facts(lane, steps)]
    return f"Space-time diagram of {tabs} and {whose}: {'; '.join(facts)}."


def short(text: object, room: int = ROOM) -> str:
    """Return a text on one line that SVG allows, cut where it would not fit."""
    line = FORBIDDEN.sub("\ufffd", " ".join(str(text).split()))
    reach = list(accumulate(map(_breadth, line[: room + 1])))
    if not reach or reach[-1] <= room:
        return line
    return line[: bisect(reach, room - 1)].rstrip() + "…"


def breadth(words: str) -> int:
    """Estimate how wide words are, in narrow characters."""
    return ceil(sum(map(_breadth, words)))


def _breadth(character: str) -> float:
    """Estimate how wide a character is, in narrow ones."""
    if category(character) == "So":  # emoji
        return 3
    if east_asian_width(character) in "WF" or character in "MW@%mw":
        return 2
    return 1.4 if character.isupper() else 1


def did(event: Event) -> str:
    """Say what a client or a server does; of several servers, to which one a client connects."""
    where = event.text if event.kind in CONNECTS else None
    return DOES[event.kind] + (f" ({where})" if where else "")


def sends(step: Step) -> str:
    """Say that a message is sent, or only written while there is no connection."""
    verb = "writes" if step.fate == "waits" else "sends"
    return f"{verb} {_quoted(step.actions[0])}{' again' if step.again else ''}"


def offset_of(step: Step) -> str:
    """Say which offset the server gave a message, or had given it before; "" if none."""
    return "" if step.offset is None else f"{step.offset}{' again' if step.fate == 'known' else ''}"


def stored(step: Step) -> str:
    """Say that a message is not in the log, although the server gave it an offset."""
    return "" if step.stored else "not in the log"


def more_of(step: Step, lane: str) -> list[str]:
    """Say how many messages to a tab are left out of a step."""
    return [f"and {step.more[lane]} more"] if lane in step.more else []


def name_of(arrival: Arrival) -> str:
    """Name a message by its offset, or by its text if it has no offset."""
    return _quoted(arrival) if arrival.offset is None else str(arrival.offset)


def _cell(lane: str, step: Step) -> str:
    does = [event for event in step.actions if lane_of(event) == lane]
    words = [did(event) for event in does if event.kind in DOES]
    if step.is_send and does:
        told = step.fate not in ("arrived", "known")
        words.append(sends(step) + (f" ({step.fate})" if told else ""))
    if step.is_at_server and lane == step.server:
        if step.actions[0].kind == ARRIVE:
            words.append(f"gets {_quoted(step.actions[0])}")
        words.append("passes it on" if step.offset is None else f"offset {offset_of(step)}")
        words += filter(None, [stored(step)])
    elif lane in step.others:
        words.append("passes it on")
    for how, arrivals in groupby(step.arrivals.get(lane, []), lambda arrival: arrival.how):
        if how in ("live", *NEVER):
            words.append("shows it" if how == "live" else f"({how})")
        else:
            words.append(f"{how}: {', '.join(map(name_of, arrivals))}")
    return "; ".join([*words, *more_of(step, lane)])


def _facts(lane: str, steps: list[Step]) -> Iterator[str]:
    """Say how often a lane was interrupted, which messages failed, and which came in the end."""
    kinds = Counter(
        event.kind for step in steps for event in step.actions if lane_of(event) == lane
    )
    for kind in ("drop", "reload", "reset", "gap", "stop", "kill"):
        if count := kinds[kind]:
            yield f"{DOES[kind]} {'once' if count == 1 else f'{count} times'}"
    for fate in ("refused", "lost"):
        failed = [step for step in steps if step.actions[0].who == lane and step.fate == fate]
        yield from (f"{sends(step)}, which is {fate}" for step in failed[:NAMED])
        if len(failed) > NAMED:
            yield f"sends {len(failed) - NAMED} more times what is {fate}"
    absent = [step for step in steps if lane == step.server and not step.stored]
    for step in absent[:NAMED]:
        yield f"has {step.offset} {_quoted(step.actions[0])} not in its log"
    if len(absent) > NAMED:
        yield f"has {len(absent) - NAMED} more not in its log"
    arrivals = [arrival for step in steps for arrival in step.arrivals.get(lane, [])]
    for how, gets in GETS.items():
        if which := [arrival for arrival in arrivals if arrival.how == how]:
            named = ", ".join(map(_offset_and_text, which))
            yield gets.format(named if len(which) <= NAMED else f"{len(which)} messages")


def _offset_and_text(arrival: Arrival) -> str:
    return f"{'' if arrival.offset is None else arrival.offset} {_quoted(arrival)}".lstrip()


def _quoted(message: Event | Arrival) -> str:
    return f'"{short(message.text)}"'
