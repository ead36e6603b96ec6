"""What the live demo shows of a lab: a row for each tab, facts about the server, a drawing.

It changes nothing in the lab.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from chatlab.client import ChatClient
from chatlab.harness import BackgroundServer, Link
from chatlab.history import SERVER, History
from chatlab.lab.frame import Page
from chatlab.lab.live_drawing import LiveDrawing
from chatlab.lab.page_line import PageLine
from chatlab.lab.page_reports import THE_PAGE, PageReports
from chatlab.log import head_of
from chatlab.panel import Client, Frame, Picture

COLUMNS = ["State", "Offset", "Not answered", "In flight"]
BUSY_NOTE = "A cell is busy: what is pressed for a simulated tab or the server waits until it ends."


class Stage(Protocol):
    """What a live demo needs of a lab."""

    clients: dict[str, ChatClient]
    links: dict[str, Link]
    history: History
    server: BackgroundServer
    db: Path


class View:
    """Makes the picture of a lab. `actions` are the names of the buttons for the server."""

    def __init__(
        self, lab: Stage, reports: PageReports, line: PageLine, actions: Collection[str]
    ) -> None:
        self._lab, self._reports, self._line, self._actions = lab, reports, line, actions
        self._drawing = LiveDrawing(lab.history, reports)
        self._head = 0

    def picture(self, busy: bool) -> Picture:
        """Return the picture of this moment; `busy` says whether a cell is busy."""
        self._read_head()
        tabs = [self._tab(name, tab) for name, tab in list(self._lab.clients.items())]
        running = self._lab.server.running
        return Picture(
            "The lab, live",
            {"server": self._server_state(), "newest offset": self._head},
            COLUMNS,
            [self._page(), *tabs],
            [name for name in self._actions if (name == "start") != running],
            BUSY_NOTE if busy else "",
            self._drawing.newest(),
            Frame("Your page", Page(self._line.link.port, 0).url, self._line.loads),
        )

    def _read_head(self) -> None:
        with suppress(sqlite3.Error):  # the next picture tries again
            self._head = head_of(self._lab.db)

    def _server_state(self) -> str:
        if self._lab.server.running:
            return "running"
        last = [event.kind for event in self._lab.history.of(SERVER)][-1:]
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
        """Compare an offset with the newest one, in words."""
        if reached > self._head:  # the log has grown since it was read
            self._read_head()
        return f"{reached} of {self._head}"


def _state(tab: ChatClient) -> str:
    if not tab.connected:
        return "coming back" if tab.returning else "connecting" if tab.opening else "offline"
    if tab.epoch is None:  # this server does not say whether the tab has caught up
        return "connected"
    return "catching up" if tab.outcome is None else "caught up"


def _in_flight(link: Link) -> str:
    """Return how many bytes wait on a link, and whether it is frozen, in words."""
    waiting = [f"{size} bytes {way}" for way, size in link.in_flight.items() if size]
    return f"{'frozen: ' if link.frozen else ''}{', '.join(waiting or ['nothing'])}"
