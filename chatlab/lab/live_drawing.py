"""The drawing of what has happened so far, for a panel. It knows histories, and no tabs."""

from __future__ import annotations

import time

from chatlab.history import Arrival, Diagram, History, Step
from chatlab.lab.page_reports import PageReports
from chatlab.panel import Drawing

SHARE = 5
"""After a drawing that took one second, the next one waits for this many seconds."""
CAPTION = (
    "What the simulated tabs have recorded, and what the page has told. "
    "An arrow that stops short is under way. The verdict is about what the simulated tabs show."
)


class LiveDrawing:
    """The drawing of a history that grows, together with the events of the page."""

    def __init__(self, history: History, reports: PageReports) -> None:
        self._history, self._reports = history, reports
        self._drawn: tuple[int, int] | None = None
        self._drawing: Drawing | None = None
        self._next = 0.0

    def newest(self) -> Drawing | None:
        """Draw again if there are new events and the last drawing was not too slow."""
        length = len(self._history), len(self._reports.events)
        began = time.monotonic()
        if length != self._drawn and began >= self._next:
            history = self._reports.merged_into(self._history)
            diagram = Diagram(history)
            mark_under_way(diagram.steps, history)
            self._drawing, self._drawn = Drawing(diagram.svg, diagram.summary, CAPTION), length
            self._next = began + SHARE * (time.monotonic() - began)
        return self._drawing


def mark_under_way(steps: list[Step], history: History) -> None:
    """Do not call lost what may still arrive.

    A message is lost for a page only if the page has come past its offset. A message that was
    sent is lost only if the sender's connection has changed since.
    """
    reached = {name: history.reached(name) for name in history.clients}
    changed: dict[str, int] = {}
    for number, step in enumerate(steps):
        if not step.is_send:
            changed |= dict.fromkeys((event.who for event in step.actions), number)
        for name, arrivals in step.arrivals.items():
            arrivals[:] = [one for one in arrivals if not _may_arrive(one, reached[name])]
    for number, step in enumerate(steps):
        if step.is_send and step.fate == "lost" and number > changed[step.actions[0].who]:
            step.fate = "under way"


def _may_arrive(arrival: Arrival, reached: int) -> bool:
    return arrival.how == "lost" and arrival.offset is not None and arrival.offset > reached
