"""A history drawn as a space-time diagram: who did what, and when each message was where.

Pure: the drawing follows from the history alone. It comes twice, as a picture and as a table that
says the same in words, for those who do not see the picture.
"""

from __future__ import annotations

from base64 import b64encode
from bisect import bisect
from collections.abc import Iterator
from html import escape
from itertools import accumulate, groupby
from typing import Any
from unicodedata import category, east_asian_width

from chatlab.history.events import SERVER, Event, History
from chatlab.history.steps import SENDS, Arrival, Step, steps_of


class Diagram:
    """A picture of a history, and a table that says the same in words."""

    def __init__(self, history: History) -> None:
        self.steps = steps_of(history)
        first, others = history.clients[:1], history.clients[1:]
        self.lanes = [*first, SERVER, *others]

    def __str__(self) -> str:
        return table(self.lanes, self.steps)

    __repr__ = __str__

    @property
    def svg(self) -> str:
        """The picture, as the text of an SVG file."""
        return draw(self.lanes, self.steps)

    @property
    def summary(self) -> str:
        """What matters in the picture, in a sentence."""
        return summary(self.lanes, self.steps)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        source = b64encode(self.svg.encode()).decode()
        alt = escape(self.summary)
        html = f'<img alt="{alt}" src="data:image/svg+xml;base64,{source}">'
        return {"text/html": html, "text/plain": str(self)}


# Steps in words.

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
FATES = {
    "waits": " (offline)",
    "refused": " (refused)",
    "lost": " (lost)",
    "under way": " (under way)",
}
GETS = {
    "catch-up": "catches up on {}",
    "lost": "never gets {}",
    "again": "gets {} again",
    "late": "gets {} late",
}
NAMED = 3
"""So many messages are named one by one in a summary; more are counted."""
ROOM = 24
"""Characters of a text that fit beside a line; wide ones count for more."""


def table(lanes: list[str], steps: list[Step]) -> str:
    """Write the steps as a table: one row a step, one column a lane."""
    rows = [["", *map(short, lanes)]]
    for number, step in enumerate(steps, 1):
        rows.append([str(number), *(_cell(lane, step) for lane in lanes)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def summary(lanes: list[str], steps: list[Step]) -> str:
    """Say in a sentence what matters in the picture, for those who do not see it."""
    tabs = ", ".join(short(lane) for lane in lanes if lane != SERVER) or "nobody"
    sent = sum(step.actions[0].kind == "send" for step in steps)
    facts = [f"{sent} {'message' if sent == 1 else 'messages'} sent"]
    for lane in lanes:
        name = "the server" if lane == SERVER else short(lane)
        facts += [f"{name} {fact}" for fact in _facts(lane, steps)]
    return f"Space-time diagram of {tabs} and the server: {'; '.join(facts)}."


def short(text: object, room: int = ROOM) -> str:
    """Return a text on one line, cut where it would not fit, without what SVG forbids."""
    line = "".join("\ufffd" if _forbidden(c) else c for c in " ".join(str(text).split()))
    reach = list(accumulate(map(_breadth, line[: room + 1])))
    if not reach or reach[-1] <= room:
        return line
    return line[: bisect(reach, room - 1)].rstrip() + "…"


def _forbidden(character: str) -> bool:
    return category(character) in ("Cc", "Cs") or character in "\ufffe\uffff"


def _breadth(character: str) -> float:
    if category(character) == "So":  # emoji
        return 3
    if east_asian_width(character) in "WF" or character in "MW@%mw":
        return 2
    return 1.4 if character.isupper() else 1


def _cell(lane: str, step: Step) -> str:
    does = dict.fromkeys(event.kind for event in step.actions if event.who == lane)
    words = [DOES[kind] for kind in does if kind not in SENDS]
    if step.is_send and does:
        words.append(f"{_sends(step)}{FATES.get(step.fate, '')}")
    if step.is_send and lane == SERVER and step.fate in ("arrived", "known"):
        words.append("passes it on" if step.offset is None else f"offset {_label(step)}")
    for how, arrivals in groupby(step.arrivals.get(lane, []), lambda arrival: arrival.how):
        words.append(_in_words(how, list(arrivals)))
    return "; ".join(words)


def _sends(step: Step) -> str:
    verb = "writes" if step.fate == "waits" else "sends"
    return f"{verb} {_quoted(step.actions[0])}{' again' if step.again else ''}"


def _label(step: Step) -> str:
    """Say which offset a message got, or has had all along."""
    return "" if step.offset is None else f"{step.offset}{' again' if step.fate == 'known' else ''}"


def _in_words(how: str, arrivals: list[Arrival]) -> str:
    if how in ("live", "lost"):
        return {"live": "shows it", "lost": "(lost)"}[how]
    return f"{how}: {', '.join(map(_which, arrivals))}"


def _facts(lane: str, steps: list[Step]) -> Iterator[str]:
    """Say how often a lane was down, what went wrong in it, and what was healed."""
    kinds = [event.kind for step in steps for event in step.actions if event.who == lane]
    for kind in ("drop", "reload", "reset", "gap", "stop", "kill"):
        if count := kinds.count(kind):
            yield f"{DOES[kind]} {'once' if count == 1 else f'{count} times'}"
    for step in steps:
        if step.actions[0].who == lane and step.fate in ("refused", "lost"):
            yield f"{_sends(step)}, which is {step.fate}"
    arrivals = [arrival for step in steps for arrival in step.arrivals.get(lane, [])]
    for how, gets in GETS.items():
        if which := [arrival for arrival in arrivals if arrival.how == how]:
            named = ", ".join(map(_named, which))
            yield gets.format(named if len(which) <= NAMED else f"{len(which)} messages")


def _which(arrival: Arrival) -> str:
    """Tell a message from the others: by its offset, or by its text where there is none."""
    return _quoted(arrival) if arrival.offset is None else str(arrival.offset)


def _named(arrival: Arrival) -> str:
    return f"{'' if arrival.offset is None else arrival.offset} {_quoted(arrival)}".lstrip()


def _quoted(message: Event | Arrival) -> str:
    return f'"{short(message.text)}"'


# Steps as a picture. All lengths are in pixels, and whole numbers.

LEFT, TOP, RIGHT = 122, 52, 100
LANE = 190
"""From one lane to the next."""
FALL = 18
"""How far an arrow falls on its way: the time that a message takes."""
GAP = 28
"""From the end of a step to the next."""

STYLE = """
text { font: 13px sans-serif; fill: #222; stroke: #fff; stroke-width: 4px; paint-order: stroke }
.name { font: bold 15px sans-serif; text-anchor: middle }
.number { fill: #666 }
.fault { fill: #a61b1b }
.offset { font-weight: bold; fill: #fff; stroke: none; text-anchor: middle }
.up { stroke: #222; stroke-width: 2 }
.down { stroke: #767676; stroke-width: 2; stroke-dasharray: 3 5 }
.begin { fill: #222 }
.break, .end { stroke: #222; stroke-width: 2 }
.live { stroke: #1f4e79; stroke-width: 1.4; marker-end: url(#head) }
.catch-up { stroke: #1f4e79; stroke-width: 3; marker-end: url(#head) }
.again { stroke: #a61b1b; stroke-width: 1.4; marker-end: url(#ring) }
.late { stroke: #a61b1b; stroke-width: 1.4; marker-end: url(#diamond) }
.lost { stroke: #a61b1b; stroke-width: 1.4; stroke-dasharray: 5 4; marker-end: url(#cross) }
.under { stroke: #1f4e79; stroke-width: 1.4; stroke-dasharray: 5 4; marker-end: url(#head) }
.refused { stroke: #a61b1b; stroke-width: 1.4; marker-end: url(#bar) }
"""


def _tip(name: str, path: str, look: str, orient: str = "0") -> str:
    """An end of an arrow. Its path is drawn around the point where the arrow ends."""
    return (
        f'<marker id="{name}" viewBox="-12 -12 24 24" markerWidth="24" markerHeight="24" '
        f'markerUnits="userSpaceOnUse" orient="{orient}"><path d="{path}" {look}/></marker>'
    )


HOLLOW = 'fill="#fff" stroke="#a61b1b" stroke-width="2"'
TIPS = (
    _tip("head", "M-10 -5L0 0L-10 5z", 'fill="#1f4e79"', "auto"),
    _tip("ring", "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0", HOLLOW),
    _tip("diamond", "M-8 0L0 -8L8 0L0 8z", HOLLOW),
    _tip("cross", "M-5 -5L5 5M5 -5L-5 5", HOLLOW),
    _tip("bar", "M0 -9L0 9", HOLLOW),
)


def draw(lanes: list[str], steps: list[Step]) -> str:
    """Draw the steps as SVG."""
    return _Drawing(lanes).draw(steps)


class _Drawing:
    """The pieces of a picture, collected from top to bottom."""

    def __init__(self, lanes: list[str]) -> None:
        self.lanes = lanes
        self.lines: list[str] = []  # under the words
        self.words: list[str] = []
        self.y = TOP
        self.since: dict[str, tuple[int, str]] = {SERVER: (TOP, "up")}

    def draw(self, steps: list[Step]) -> str:
        for lane in self.lanes:
            self._word(self._x(lane), 26, short(lane, 16), "name")
        for number, step in enumerate(steps, 1):
            self._word(14, self.y + 5, str(number), "number")
            (self._send if step.is_send else self._act)(step)
        for lane in self.lanes:
            self._lifeline(lane, None)
        width, height = self._x(self.lanes[-1]) + RIGHT, self.y
        size = f'width="{width}" height="{height}"'
        pieces = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}">',
            f"<title>{escape(summary(self.lanes, steps))}</title>",
            f"<desc>{escape(table(self.lanes, steps))}</desc>",
            f"<style>{STYLE}</style><defs>{''.join(TIPS)}</defs>",
            f'<rect {size} fill="#fff"/>',
        ]
        return "\n".join([*pieces, *self.lines, *self.words, "</svg>"])

    def _act(self, step: Step) -> None:
        for event in dict.fromkeys(step.actions):
            x, y = self._x(event.who), self.y
            self._beside(event.who, y + 5, DOES[event.kind], outside=True)
            if event.kind == "close":
                self._lifeline(event.who, None)
                self.lines.append(_line("end", x - 8, y, x + 8, y))
            elif event.kind in ("drop", "stop", "kill"):
                self._lifeline(event.who, "down")
                self.lines.append(_line("break", x - 8, y + 3, x + 8, y - 3))
            else:
                self._lifeline(event.who, "up")
                self.lines.append(f'<circle class="begin" cx="{x}" cy="{y}" r="5"/>')
        # An arrow must not run through the words of a lane that it passes.
        self._arrivals(step, self.y + FALL if step.arrivals else self.y)

    def _send(self, step: Step) -> None:
        [event] = step.actions
        if step.fate == "waits":
            self._beside(event.who, self.y + 5, _sends(step), outside=True)
            self.y += GAP
            return
        self._beside(event.who, self.y - 6, short(event.text))
        arrives = step.fate in ("arrived", "known")
        self._arrow("live" if arrives else step.fate, event.who, SERVER, self.y)
        middle = self.y + FALL
        self._arrivals(step, middle)
        if arrives:
            self._passage(middle, _label(step))

    def _arrivals(self, step: Step, y: int) -> None:
        """Draw what follows from a step, each lane's arrivals one below the other."""
        for slot in range(max(map(len, step.arrivals.values()), default=0)):
            here = [arrivals[slot] for arrivals in step.arrivals.values() if slot < len(arrivals)]
            for arrival in here:
                self._arrow(arrival.how, SERVER, arrival.who, y)
                if arrival.how not in ("live", "lost"):
                    look = "" if arrival.how == "catch-up" else "fault"
                    words = short(f"{arrival.how}: {_which(arrival)}")
                    self._beside(arrival.who, y + FALL + 14, words, look)
            labelled = any(arrival.how not in ("live", "lost") for arrival in here)
            y += 2 * FALL + 4 if labelled else FALL
        self.y = y + GAP

    def _arrow(self, how: str, source: str, target: str, y: int) -> None:
        """Draw a message on its way. One that does not get there stops short, and says why."""
        start, end = self._x(source), self._x(target)
        onward = 1 if end > start else -1
        stop = end - onward * {"lost": 70, "under way": 70, "refused": 14}.get(how, 0)
        self.lines.append(_line(how, start, y, stop, y + FALL))
        if how in ("lost", "refused", "under way"):
            x = stop + onward * (26 if how == "refused" else 10)
            look = "" if how == "under way" else "fault"
            self._word(x, y + FALL + 5, how, look, leftward=onward < 0)

    def _passage(self, y: int, label: str) -> None:
        """The point at the server's lane where a message passes, with the offset if it got one."""
        x = self._x(SERVER)
        half = 8 + 4 * len(label) if label else 4
        tall = min(half, 10)
        self.lines.append(
            f'<rect x="{x - half}" y="{y - tall}" width="{2 * half}" height="{2 * tall}" '
            f'rx="{tall}" fill="#1f4e79"/>'
        )
        if label:
            self._word(x, y + 5, label, "offset")

    def _lifeline(self, lane: str, state: str | None) -> None:
        """End a lane's line here, and begin the next: "up", "down", or None for no line."""
        if lane in self.since:
            top, before = self.since.pop(lane)
            self.lines.insert(0, _line(before, self._x(lane), top, self._x(lane), self.y))
        if state:
            self.since[lane] = (self.y, state)

    def _beside(
        self, lane: str, y: int, words: str, look: str = "", *, outside: bool = False
    ) -> None:
        """Write beside a lane: on the side of the server, or on the other side."""
        leftward = (self._x(lane) > self._x(SERVER)) != outside
        self._word(self._x(lane) + (-12 if leftward else 12), y, words, look, leftward=leftward)

    def _word(self, x: int, y: int, words: str, look: str = "", *, leftward: bool = False) -> None:
        kind = f' class="{look}"' if look else ""
        anchor = ' text-anchor="end"' if leftward else ""
        self.words.append(f'<text x="{x}" y="{y}"{kind}{anchor}>{escape(words)}</text>')

    def _x(self, lane: str) -> int:
        return LEFT + LANE * self.lanes.index(lane)


def _line(look: str, x1: int, y1: int, x2: int, y2: int) -> str:
    return f'<line class="{look}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
