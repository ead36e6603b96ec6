"""What the live demo shows of a lab: a row for each tab, facts about the server, a drawing.

It changes nothing in the lab. It changes only the line between the real chat page and the server,
which belongs to the demo.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress

from chatlab.client import ChatClient
from chatlab.harness import Link
from chatlab.history import SERVER, Arrival, Diagram, History, Step
from chatlab.lab.frame import Page
from chatlab.lab.page_reports import THE_PAGE, PageReports
from chatlab.lab.quiet import OpenLab
from chatlab.lab.servers import LabServer
from chatlab.log import LogError, head_at
from chatlab.panel import Client, Drawing, Frame, Picture

COLUMNS = ["State", "Offset", "Not answered", "In flight"]
BUSY_NOTE = "A cell is busy: what is pressed for a simulated tab or the server waits until it ends."
SHARE = 5
"""After a drawing that took one second, the next one waits for this many seconds."""
CAPTION = (
    "What the simulated tabs have recorded, and what the page has told. "
    "An arrow that stops short is under way. The verdict is about what the simulated tabs show."
)


class PageLine:
    """The line between the real chat page and the server: a link, and what its buttons did.

    Use it on the thread of the live demo. `loads` is how often the page was asked to load again.
    """

    link: Link

    def __init__(self) -> None:
        self.cut, self.loads = False, 0

    def press(self, button: str) -> None:
        """Do what a button of the page does: drop, reconnect, freeze, thaw or reload."""
        if button == "reload":
            self.loads += 1
        elif button in ("drop", "freeze"):
            self.link.freeze()  # after a drop too: otherwise the page would reconnect at once
            if button == "drop":
                self.link.cut()
            self.cut = button == "drop"
        else:
            self.link.thaw()
            self.cut = False


class View:
    """Makes the picture of a lab that a panel shows.

    `reports` is what the real chat page has reported, and `line` its line to the first server.
    """

    def __init__(self, lab: OpenLab, reports: PageReports, line: PageLine) -> None:
        self._lab, self._reports, self._line = lab, reports, line
        self._drawing = LiveDrawing(lab.history, reports)
        self._head = 0

    def picture(self, busy: bool) -> Picture:
        """Return what to show now; `busy` says whether a cell of the notebook is busy."""
        self._read_head()
        tabs = [self._tab(name, tab) for name, tab in list(self._lab.clients.items())]
        states = {server.name: self._state_of(server) for server in self._lab.servers}
        return Picture(
            "The lab, live",
            states | {"newest offset": self._head},
            COLUMNS,
            [self._page(), *tabs],
            [button for server in self._lab.servers for button in _buttons(server)],
            BUSY_NOTE if busy else "",
            self._drawing.newest(),
            Frame("Your page", Page(self._line.link.port, 0).url, self._line.loads),
        )

    def _read_head(self) -> None:
        with suppress(sqlite3.Error, LogError):  # the next picture tries again
            self._head = head_at(self._lab.db)

    def _state_of(self, server: LabServer) -> str:
        if server.running:
            return "running"
        events = self._lab.history.of(SERVER)
        last = [event.kind for event in events if event.text in (None, server.name)][-1:]
        return {("kill",): "killed", ("stop",): "stopped"}.get((*last,), "not running")

    def _tab(self, name: str, tab: ChatClient) -> Client:
        link = self._lab.links[name]
        online = tab.connected or tab.opening or tab.returning
        unanswered = max(len(tab.pending), self._lab.history.unanswered(name))
        return Client(
            name,
            [_state(tab), self.offset(tab.offset), unanswered, _in_flight(link)],
            tab.connected and not link.frozen,
            ["drop" if online else "reconnect", "thaw" if link.frozen else "freeze", "reload"],
        )

    def _page(self) -> Client:
        """Return the row of the real chat page, as it reports itself."""
        page, link, cut = self._reports, self._line.link, self._line.cut
        in_flight = "line cut" if cut else _in_flight(link)
        buttons = ["reconnect"] if cut else ["drop", "thaw" if link.frozen else "freeze"]
        return Client(
            THE_PAGE,
            [page.state, self.offset(page.reached), page.pending, in_flight],
            page.connected and not link.frozen,
            [*buttons, "reload"],
        )

    def offset(self, reached: int) -> str:
        """Compare an offset with the newest one in the log, in words: "3 of 5"."""
        if reached > self._head:  # the log has grown since it was read
            self._read_head()
        return f"{reached} of {self._head}"


def _buttons(server: LabServer) -> list[str]:
    """Return the buttons for a server that can be pressed now."""
    return [name for name in server.actions if name.startswith("start") != server.running]


def _state(tab: ChatClient) -> str:
    """Say in words whether a tab has a connection, and whether it has all messages."""
    if not tab.connected:
        return "coming back" if tab.returning else "connecting" if tab.opening else "offline"
    if tab.epoch is None:  # this server does not say whether the tab has caught up
        return "connected"
    return "catching up" if tab.outcome is None else "caught up"


def _in_flight(link: Link) -> str:
    """Return how many bytes wait on a link, and whether it is frozen, in words."""
    waiting = [f"{size} bytes {way}" for way, size in link.in_flight.items() if size]
    return f"{'frozen: ' if link.frozen else ''}{', '.join(waiting or ['nothing'])}"


class LiveDrawing:
    """The drawing of what has happened so far, together with the events of the page."""

    def __init__(self, history: History, reports: PageReports) -> None:
        self._history, self._reports = history, reports
        self._drawn: tuple[int, int] | None = None
        self._drawing: Drawing | None = None
        self._next = 0.0

    def newest(self) -> Drawing | None:
        """Return the newest drawing.

        It is drawn again if there are new events, unless the last drawing took so long that it is
        too early for the next.
        """
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
    """Change the steps of a diagram, so that a message that may still arrive is not called lost.

    A message is lost for a tab only if the tab has already received a message with a larger
    offset. A message that was sent is lost only if its sender has lost or changed the connection
    since.
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
    """Return whether a message that is called lost is newer than what the tab has reached."""
    return arrival.how == "lost" and arrival.offset is not None and arrival.offset > reached
