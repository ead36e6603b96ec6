"""What a notebook shows of a running lab: the chat page, and a live demo around it.

The demo has a thread of its own, so it goes on while a cell is busy or interrupted. The tabs and
their links belong to the cells, and what is pressed for them is done there; the page in the frame
has a link of its own on this thread.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Protocol, Self

from aiohttp import web

from chatlab.client import ChatClient
from chatlab.harness import BackgroundServer, Link
from chatlab.history import SERVER, Arrival, Diagram, History, Step
from chatlab.lab.page_reports import THE_PAGE, Hearsay
from chatlab.log import head_of
from chatlab.panel import Client, Drawing, Frame, Panel, Picture

COLUMNS = ["State", "Offset", "Not answered", "In flight"]
BUSY = 0.5
"""Seconds without an answer from the loop of the cells after which a cell is called busy."""
SHARE = 5
"""A picture that took a second to draw is drawn again after so many, so that the rest goes on."""
BUSY_NOTE = "A cell is busy: what is pressed for a simulated tab or the server waits until it ends."
CAPTION = (
    "What the simulated tabs have recorded, and what the page has told. "
    "An arrow that stops short is under way. The verdict is about what the simulated tabs show."
)


class Stage(Protocol):
    """What a live demo needs of a lab."""

    clients: dict[str, ChatClient]
    links: dict[str, Link]
    history: History
    server: BackgroundServer
    db: Path


class Page:
    """A page in a frame of the notebook. Here `height` is in pixels."""

    def __init__(
        self, port: int, height: int, *, path: str = "", title: str = "The chat page"
    ) -> None:
        # The page that shows the notebook decides: localhost, or a hub that forwards to this port.
        hub = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
        self.url = f"{hub}proxy/{port}/{path}" if hub else f"http://localhost:{port}/{path}"
        self.height, self.title = height, title

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{escape(self.url)}" title="{escape(self.title)}" width="100%" '
            f'height="{self.height}" style="border: 1px solid #8888"></iframe>'
        )

    def __repr__(self) -> str:
        return f"{self.title}: {self.url}"


class Live:
    """The live demo of a lab. `told` hears what the page in it tells. `loop` is that of the cells,
    on which the lab was made.

    `on_server` has what can be done to the server, to be called on that loop: "kill" or "stop", and
    "start". `report` hears of each error from the demo's own thread.
    """

    def __init__(
        self,
        lab: Stage,
        told: Hearsay,
        loop: asyncio.AbstractEventLoop,
        on_server: Mapping[str, Callable[[], None]],
        report: Callable[[BaseException], None],
    ) -> None:
        self.lab, self.told, self._loop, self._on_server = lab, told, loop, dict(on_server)
        buttons = {name: partial(self._press_for_tab, name) for name in BUTTONS}
        buttons |= {name: partial(self._in_cells, act) for name, act in on_server.items()}
        self.panel = Panel(self.look, buttons, told=self._hear)
        name = f"{lab.server.name}: live"
        self.server = BackgroundServer(self._app, name=name, report=report)
        self._cut, self._loads, self._head = False, 0, 0
        self._acting: set[asyncio.Task[None]] = set()
        self._asked: float | None = None
        self._drawn: tuple[int, int] | None = None
        self._drawing: Drawing | None = None
        self._next_drawing = 0.0

    def open(self, height: int) -> Self:
        """Begin to serve the demo, unless it is served already."""
        self.server.start()
        self.page = Page(self.server.port, height, path=self.panel.path, title="The lab, live")
        return self

    def _repr_html_(self) -> str:
        return self.page._repr_html_()

    def __repr__(self) -> str:
        return repr(self.page)

    async def close(self) -> None:
        """Stop serving, and end what was pressed and is not done yet. On the loop of the cells."""
        try:
            self.server.stop()
        finally:
            await asyncio.sleep(0)  # what was pressed before has begun then
            for task in self._acting:
                task.cancel()
            if self._acting:
                await asyncio.wait(self._acting)

    def _app(self) -> web.Application:
        app = self.panel.app()
        app.cleanup_ctx.append(self._linked)
        return app

    async def _linked(self, app: web.Application) -> AsyncIterator[None]:
        """Keep the link of the page open while the demo is served."""
        self._cut = False
        async with Link(self.lab.server.port) as self._link:
            yield

    # What is seen.

    def look(self) -> Picture:
        """Return what there is to see now. On the demo's own thread."""
        self._look_at_log()
        tabs = [self._tab(name, tab) for name, tab in list(self.lab.clients.items())]
        return Picture(
            "The lab, live",
            {"server": self._server_state(), "newest offset": self._head},
            COLUMNS,
            [self._page(), *tabs],
            [name for name in self._on_server if (name == "start") != self.lab.server.running],
            BUSY_NOTE if self._is_busy() else "",
            self._picture_of_history(),
            Frame("Your page", Page(self._link.port, 0).url, self._loads),
        )

    def _look_at_log(self) -> None:
        with suppress(sqlite3.Error):  # the next look will find it
            self._head = head_of(self.lab.db)

    def _server_state(self) -> str:
        if self.lab.server.running:
            return "running"
        last = [event.kind for event in self.lab.history.of(SERVER)][-1:]
        return {("kill",): "killed", ("stop",): "stopped"}.get((*last,), "not running")

    def _tab(self, name: str, tab: ChatClient) -> Client:
        link = self.lab.links[name]
        here = tab.connected or tab.opening or tab.returning
        unanswered = max(len(tab.pending), self.lab.history.unanswered(name))
        return Client(
            name,
            [_state(tab), self._offset(tab.offset), unanswered, in_flight(link)],
            tab.connected and not link.frozen,
            ["drop" if here else "reconnect", "thaw" if link.frozen else "freeze", "reload"],
        )

    def _page(self) -> Client:
        page, link = self.told, self._link
        if self._cut:
            buttons = ["reconnect", "reload"]
        else:
            buttons = ["drop", "thaw" if link.frozen else "freeze", "reload"]
        return Client(
            THE_PAGE,
            [
                page.state,
                self._offset(page.reached),
                page.pending,
                "line cut" if self._cut else in_flight(link),
            ],
            page.connected and not link.frozen,
            buttons,
        )

    def _offset(self, reached: int) -> str:
        if reached > self._head:  # it has grown since we looked
            self._look_at_log()
        return f"{reached} of {self._head}"

    def _is_busy(self) -> bool:
        """Say whether the loop of the cells has not answered for a while, and ask it again."""
        asked = self._asked
        if asked is None:
            asked = self._asked = time.monotonic()
            self._loop.call_soon_threadsafe(self._answer)
        return time.monotonic() - asked > BUSY

    def _answer(self) -> None:
        self._asked = None

    def _picture_of_history(self) -> Drawing | None:
        """Draw what has happened, if there is news and it is time."""
        length = len(self.lab.history), len(self.told.events)
        began = time.monotonic()
        if length != self._drawn and began >= self._next_drawing:
            history = self.told.among(self.lab.history)
            diagram = Diagram(history)
            wait_for_the_rest(diagram.steps, history)
            self._drawing, self._drawn = Drawing(diagram.svg, diagram.summary, CAPTION), length
            self._next_drawing = began + SHARE * (time.monotonic() - began)
        return self._drawing

    def _hear(self, viewer: object, news: dict[str, Any] | None) -> None:
        self.told.hear(viewer, news, len(self.lab.history))

    # What is pressed.

    async def _press_for_tab(self, button: str, name: str) -> None:
        if name == THE_PAGE:
            self._press_for_page(button)
        else:
            await self._in_cells(partial(self._do, button, name))

    def _press_for_page(self, button: str) -> None:
        if button == "reload":
            self._loads += 1
        elif button in ("drop", "freeze"):
            self._link.freeze()  # after a drop too: the page would be back at once
            if button == "drop":
                self._link.cut()
            self._cut = button == "drop"
        else:
            self._link.thaw()
            self._cut = False

    def _do(self, button: str, name: str) -> Any:
        if button in ("freeze", "thaw"):
            return getattr(self.lab.links[name], button)()
        return getattr(self.lab.clients[name], button)()

    async def _in_cells(self, act: Callable[[], Any]) -> None:
        """Do something on the loop of the cells. It waits there while a cell is busy."""
        done: Future[None] = Future()
        self._loop.call_soon_threadsafe(self._begin, act, done)
        await asyncio.wrap_future(done)

    def _begin(self, act: Callable[[], Any], done: Future[None]) -> None:
        if done.set_running_or_notify_cancel():
            self._acting.add(task := self._loop.create_task(_awaited(act)))
            task.add_done_callback(partial(self._ended, done))

    def _ended(self, done: Future[None], task: asyncio.Task[None]) -> None:
        self._acting.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or not isinstance(error, Exception | None):
            # An Interrupt belongs to the cells: it must not reach the other thread.
            error = RuntimeError("it was interrupted")
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


BUTTONS = ("drop", "reconnect", "freeze", "thaw", "reload")


async def _awaited(act: Callable[[], Any]) -> None:
    if inspect.isawaitable(outcome := act()):
        await outcome


def _state(tab: ChatClient) -> str:
    if not tab.connected:
        return "coming back" if tab.returning else "connecting" if tab.opening else "offline"
    if tab.epoch is None:  # this server tells nothing
        return "connected"
    return "catching up" if tab.outcome is None else "caught up"


def in_flight(link: Link) -> str:
    """Say what a link holds, and whether it lets anything pass."""
    words = [f"{size} bytes {direction}" for direction, size in link.in_flight.items() if size] or [
        "nothing"
    ]
    return f"{'frozen: ' if link.frozen else ''}{', '.join(words)}"


def wait_for_the_rest(steps: list[Step], history: History) -> None:
    """Take for under way, and not for lost, what may still arrive while somebody looks.

    A message is lost for a page only when the page has come past its offset; one that was sent
    only when the connection has changed since.
    """
    reached = {who: history.reached(who) for who in history.clients}
    since: dict[str, int] = {}
    for number, step in enumerate(steps):
        for event in step.actions:
            if not step.is_send:
                since[event.who] = number
        for who, arrivals in step.arrivals.items():
            arrivals[:] = [one for one in arrivals if not _may_come(one, reached[who])]
    for number, step in enumerate(steps):
        if step.is_send and step.fate == "lost" and number > since[step.actions[0].who]:
            step.fate = "under way"


def _may_come(arrival: Arrival, reached: int) -> bool:
    return arrival.how == "lost" and arrival.offset is not None and arrival.offset > reached
