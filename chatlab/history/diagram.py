"""A history as a space-time diagram: who did what, and when each message was where.

It puts the picture and the words together, and must not know how either is made.
"""

from __future__ import annotations

from chatlab.history.drawing import STYLE, Drawing
from chatlab.history.events import SERVER, History
from chatlab.history.figure import Figure
from chatlab.history.steps import Step, steps_of
from chatlab.history.words import summary, table

MOST, BEFORE = 30, 20
"""The most steps of a picture, and how many of them may stand before the first fault."""


class Diagram(Figure):
    """A picture of a history, and a table that says the same in words.

    Of a long history, a part is shown: the steps around the first fault, or the last ones.
    """

    def __init__(self, history: History) -> None:
        self.steps = steps_of(history)
        first, others = history.clients[:1], history.clients[1:]
        self.lanes = [*first, SERVER, *others]
        self.part = _part(self.steps)

    def whole(self) -> Diagram:
        """Show all steps from now on."""
        self.part = range(len(self.steps))
        return self

    def __str__(self) -> str:
        return table(self.lanes, self.steps, self.part)

    @property
    def summary(self) -> str:
        return summary(self.lanes, self.steps)

    @property
    def svg(self) -> str:
        drawing = Drawing(self.lanes, self.steps, self.part)
        return self._svg_file(drawing.width, drawing.height, STYLE, drawing.pieces, drawing.left)


def _part(steps: list[Step]) -> range:
    if len(steps) <= MOST:
        return range(len(steps))
    fault = next((number for number, step in enumerate(steps) if step.faulty), len(steps))
    first = min(max(0, fault - BEFORE), len(steps) - MOST)
    return range(first, first + MOST)
