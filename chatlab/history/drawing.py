"""The steps of a history as a picture: lanes from left to right, time from top to bottom.

All lengths are whole numbers of pixels. It must not know what the table or the summary say.
"""

from __future__ import annotations

from html import escape

from chatlab.history.events import lane_of
from chatlab.history.step import NEVER, Step
from chatlab.history.words import (
    breadth,
    did,
    left_out,
    more_of,
    name_of,
    offset_of,
    sends,
    short,
    stored,
)

LEFT, TOP, RIGHT = 122, 52, 100
"""Where the first lane and the first step are, and how much room there is behind the last lane."""
LETTER = 9
"""The most pixels that a narrow letter takes, in the widest of the usual fonts."""
LANE = 190
"""The distance from one lane to the next."""
MARGIN = 32
"""How much room the numbers of the steps take, left of all other words."""
FALL = 18
"""How far an arrow falls on its way: this stands for the time that a message takes."""
GAP = 28
"""The distance from the end of one step to the next."""

LOOKS = """
text { font: 13px sans-serif; fill: #222; stroke: #fff; stroke-width: 4px; paint-order: stroke }
.name { font: bold 15px sans-serif; text-anchor: middle }
.number { fill: #666 }
.fault { fill: #a61b1b }
.offset { font-weight: bold; stroke: none; text-anchor: middle }
.offset:not(.fault) { fill: #fff }
.above { text-anchor: middle }
.up { stroke: #222; stroke-width: 2 }
.down { stroke: #767676; stroke-width: 2; stroke-dasharray: 3 5 }
.begin { fill: #222 }
.break, .end { stroke: #222; stroke-width: 2 }
.live { stroke: #1f4e79; stroke-width: 1.4; marker-end: url(#head) }
.catch-up { stroke: #1f4e79; stroke-width: 3; marker-end: url(#head) }
.again { stroke: #a61b1b; stroke-width: 1.4; marker-end: url(#ring) }
.late { stroke: #a61b1b; stroke-width: 1.4; marker-end: url(#diamond) }
.deleted { stroke: #666; stroke-width: 1.4; marker-end: url(#end) }
.passage { fill: #1f4e79 }
.missing { fill: #fff; stroke: #a61b1b; stroke-width: 2 }
.lost, .unanswered { stroke: #a61b1b; stroke-width: 1.4; marker-end: url(#cross) }
.under-way, .held-up { stroke: #1f4e79; stroke-width: 1.4; marker-end: url(#head) }
.lost, .unanswered, .under-way, .held-up, .deleted { stroke-dasharray: 5 4 }
.refused { stroke: #a61b1b; stroke-width: 1.4; marker-end: url(#bar) }
"""


def _tip(name: str, path: str, look: str, orient: str = "0") -> str:
    """Return the tip of an arrow. The path is drawn around the point where the arrow ends."""
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
    _tip("end", "M0 -7L0 7", 'fill="none" stroke="#666" stroke-width="2"'),
)
STYLE = f"<style>{LOOKS}</style><defs>{''.join(TIPS)}</defs>\n"

STATES = {"close": None, "drop": "down", "stop": "down", "kill": "down"}
"""What the line of a lane is after an event; after all others it is "up"."""
SHORT = {"refused": 14} | dict.fromkeys((*NEVER, "under way", "held up"), 70)
"""How many pixels before its end the arrow of a message stops that does not arrive."""
CALM = ("under way", "held up", "deleted")
"""What is no fault although it does not arrive."""


class Drawing:
    """The pieces of a picture, drawn from top to bottom, and its size.

    Only a part of the steps is drawn; what was before it says how the part begins.
    """

    def __init__(
        self, lanes: list[str], servers: list[str], steps: list[Step], part: range
    ) -> None:
        self._lanes, self._servers = lanes, servers
        self.left, self._right = MARGIN, 0  # how far the words reach
        self._lines: list[str] = []
        self._words: list[str] = []  # above all lines
        self._y = TOP
        self._lines_begun: dict[str, tuple[int, str]] = dict.fromkeys(servers, (TOP, "up"))
        for lane in lanes:
            self._word(self._x(lane), 26, short(lane, 16), "name")
        for step in steps[: part.start]:
            for event in step.actions if not step.brings else ():
                self._lifeline(lane_of(event), STATES.get(event.kind, "up"))
        self._lines.clear()
        begins = []
        for number in part:
            begins.append((self._y, str(number + 1)))
            self._draw(steps[number])
        begins += [(self._y, words) for words in left_out(steps, part)]
        self._y += GAP * (len(begins) - len(part))
        self.left -= MARGIN
        for y, words in begins:
            self._word(self.left + 14, y + 5, words, "number")
        for lane in lanes:
            self._lifeline(lane, None)
        self.pieces = self._lines + self._words
        right = max(self._x(lanes[-1]) + RIGHT, self._right)
        self.width, self.height = right - self.left, self._y

    def _draw(self, step: Step) -> None:
        if step.is_send:
            self._send(step)
        elif step.brings:
            self._word(self._x(step.server), self._y - 14, short(step.actions[0].text), "above")
            self._pass_on(step, self._y)
        else:
            self._act(step)

    def _act(self, step: Step) -> None:
        """Draw what clients or the server do, and the messages that follow."""
        for event in step.actions:
            lane, y = lane_of(event), self._y
            x = self._x(lane)
            self._beside(lane, y + 5, did(event), outside=True)
            state = STATES.get(event.kind, "up")
            if state is None:
                mark = _line("end", x - 8, y, x + 8, y)
            elif state == "down":
                mark = _line("break", x - 8, y + 3, x + 8, y - 3)
            else:
                mark = f'<circle class="begin" cx="{x}" cy="{y}" r="5"/>'
            self._lifeline(lane, state)
            self._lines.append(mark)
        # An arrow must not run through the words of a lane that it passes.
        self._arrivals(step, self._y + FALL if step.arrivals else self._y)

    def _send(self, step: Step) -> None:
        """Draw a message on its way to the server, and from there to the tabs."""
        [event] = step.actions
        if step.fate == "waits":
            self._beside(event.who, self._y + 5, sends(step), outside=True)
            self._y += GAP
            return
        self._beside(event.who, self._y - 6, short(event.text))
        arrives = step.fate in ("arrived", "known")
        self._arrow("live" if arrives else step.fate, event.who, step.server, self._y)
        if arrives:
            self._pass_on(step, self._y + FALL)
        else:
            self._arrivals(step, self._y + FALL)

    def _pass_on(self, step: Step, y: int) -> None:
        """Draw a message at the server, and on its way to the tabs."""
        for server in step.others:
            self._arrow("live", step.server, server, y)
        self._arrivals(step, y)
        self._passage(step.server, y, offset_of(step), stored(step))
        for server in step.others:
            self._passage(server, y + FALL, "", "")

    def _arrivals(self, step: Step, y: int) -> None:
        """Draw the messages to the tabs: several to the same tab stand one below the other.

        What another server passes on comes to that first.
        """
        later = {who: FALL * (server in step.others) for who, server in step.servers.items()}
        for slot in range(max(map(len, step.arrivals.values()), default=0)):
            here = [arrivals[slot] for arrivals in step.arrivals.values() if slot < len(arrivals)]
            labelled = [arrival for arrival in here if arrival.how not in ("live", *NEVER)]
            for arrival in here:
                who = arrival.who
                self._arrow(arrival.how, step.servers[who], who, y + later[who])
            for arrival in labelled:
                look = "" if arrival.how == "catch-up" else "fault"
                words = short(f"{arrival.how}: {name_of(arrival)}")
                self._beside(arrival.who, y + later[arrival.who] + FALL + 14, words, look)
            y += 2 * FALL + 4 if labelled else FALL
        for who in step.more:
            self._beside(who, y + later[who] + FALL, *more_of(step, who))
        self._y = y + (FALL if step.more else 0) + max(later.values(), default=0) + GAP

    def _arrow(self, how: str, source: str, target: str, y: int) -> None:
        """Draw a message on its way. If it does not arrive, the arrow stops short and says why."""
        start, end = self._x(source), self._x(target)
        onward = 1 if end > start else -1
        stop = end - onward * SHORT.get(how, 0)
        self._lines.append(_line(how.replace(" ", "-"), start, y, stop, y + FALL))
        if stop != end:
            x = stop + onward * (26 if how == "refused" else 10)
            look = "" if how in CALM else "fault"
            self._word(x, y + FALL + 5, how, look, leftward=onward < 0)

    def _passage(self, server: str, y: int, label: str, missing: str) -> None:
        """Mark the point where a server passes a message on, with its offset if it has one.

        The mark is hollow for a message that is `missing`: the word says why.
        """
        x = self._x(server)
        half = 8 + 4 * len(label) if label else 4
        tall = min(half, 10)
        self._lines.append(
            f'<rect class="{"missing" if missing else "passage"}" x="{x - half}" y="{y - tall}" '
            f'width="{2 * half}" height="{2 * tall}" rx="{tall}"/>'
        )
        if label:
            self._word(x, y + 5, label, "offset fault" if missing else "offset")
        if missing:
            self._word(x, y - 14, missing, "fault above")

    def _lifeline(self, lane: str, state: str | None) -> None:
        """End a lane's line here, and begin the next: "up", "down", or None for no line."""
        if lane in self._lines_begun:
            top, before = self._lines_begun.pop(lane)
            self._lines.insert(0, _line(before, self._x(lane), top, self._x(lane), self._y))
        if state:
            self._lines_begun[lane] = (self._y, state)

    def _beside(
        self, lane: str, y: int, words: str, look: str = "", *, outside: bool = False
    ) -> None:
        """Write beside a lane: on the side of the servers, or on the other side."""
        leftward = (self._x(lane) > self._x(self._servers[-1])) != outside
        self._word(self._x(lane) + (-12 if leftward else 12), y, words, look, leftward=leftward)

    def _word(self, x: int, y: int, words: str, look: str = "", *, leftward: bool = False) -> None:
        wide = breadth(words) * LETTER
        self.left = min(self.left, x - wide if leftward else x)
        self._right = max(self._right, x if leftward else x + wide)
        kind = f' class="{look}"' if look else ""
        anchor = ' text-anchor="end"' if leftward else ""
        self._words.append(f'<text x="{x}" y="{y}"{kind}{anchor}>{escape(words)}</text>')

    def _x(self, lane: str) -> int:
        return LEFT + LANE * self._lanes.index(lane)


def _line(look: str, x1: int, y1: int, x2: int, y2: int) -> str:
    return f'<line class="{look}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
