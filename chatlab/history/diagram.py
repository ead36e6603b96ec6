"""A history as a space-time diagram: who did what, and when each message was where.

It puts the picture and the words together, and must not know how either is made.
"""

from __future__ import annotations

from chatlab.history.drawing import STYLE, Drawing
from chatlab.history.events import SERVER, History
from chatlab.history.figure import Figure
from chatlab.history.steps import steps_of
from chatlab.history.words import summary, table


class Diagram(Figure):
    """A picture of a history, and a table that says the same in words."""

    def __init__(self, history: History) -> None:
        self.steps = steps_of(history)
        first, others = history.clients[:1], history.clients[1:]
        self.lanes = [*first, SERVER, *others]

    def __str__(self) -> str:
        return table(self.lanes, self.steps)

    @property
    def summary(self) -> str:
        return summary(self.lanes, self.steps)

    @property
    def svg(self) -> str:
        drawing = Drawing(self.lanes, self.steps)
        return self._svg_file(drawing.width, drawing.height, STYLE, drawing.pieces)
