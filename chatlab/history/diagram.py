"""A history as a space-time diagram: who did what, and when each message was where.

It puts the picture and the words together, and must not know how either is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chatlab.history.drawing import STYLE, Drawing
from chatlab.history.events import History
from chatlab.history.figure import Figure
from chatlab.history.step import Arrival, Step
from chatlab.history.steps import steps_of
from chatlab.history.words import summary, table

MOST, BEFORE = 30, 20
"""The most steps of a picture, and the most messages to a tab in a step; and how many of them may
stand before the first fault."""


class Diagram(Figure):
    """A picture of a history, and a table that says the same in words.

    Of a long history, a part is shown: the steps around the first fault, or the last ones. So it is
    with the messages that a tab gets in one step.
    """

    def __init__(self, history: History) -> None:
        self.steps = steps_of(history)
        first, others = history.clients[:1], history.clients[1:]
        self.servers = history.servers
        self.lanes = [*first, *self.servers, *others]
        self.part = _part(self.steps)
        self._cut = True

    def whole(self) -> Diagram:
        """Show all steps from now on, and all messages in each."""
        self.part, self._cut = range(len(self.steps)), False
        return self

    @property
    def _shown(self) -> list[Step]:
        return [*map(_cut, self.steps)] if self._cut else self.steps

    def __str__(self) -> str:
        return table(self.lanes, self._shown, self.part)

    @property
    def summary(self) -> str:
        return summary(self.lanes, self.servers, self.steps)

    @property
    def svg(self) -> str:
        drawing = Drawing(self.lanes, self.servers, self._shown, self.part)
        return self._svg_file(drawing.width, drawing.height, STYLE, drawing.pieces, drawing.left)


def _part(all_: Sequence[Step] | Sequence[Arrival]) -> range:
    if len(all_) <= MOST:
        return range(len(all_))
    fault = next((number for number, one in enumerate(all_) if one.faulty), len(all_))
    first = min(max(0, fault - BEFORE), len(all_) - MOST)
    return range(first, first + MOST)


def _cut(step: Step) -> Step:
    """Leave out arrivals: a server may send the same to a tab for ever."""
    more = {who: len(ones) - MOST for who, ones in step.arrivals.items() if len(ones) > MOST}
    if not more:
        return step
    parts = {who: (ones, _part(ones)) for who, ones in step.arrivals.items()}
    arrivals = {who: ones[part.start : part.stop] for who, (ones, part) in parts.items()}
    return replace(step, arrivals=arrivals, more=more)
