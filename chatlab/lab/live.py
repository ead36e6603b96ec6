"""The live demo of a lab: a panel with the chat page in it, served on a thread of its own.

Because of this thread, the demo goes on while a cell is busy or interrupted. The tabs and their
links belong to the event loop of the cells, so their buttons act on that loop. The line of the chat
page belongs to the demo's own thread. This module does not know what the panel shows: see `view`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Self

from aiohttp import web

from chatlab.harness import BackgroundServer, Link
from chatlab.lab.cells import Cells
from chatlab.lab.frame import Page
from chatlab.lab.page_reports import THE_PAGE, PageReports
from chatlab.lab.quiet import OpenLab
from chatlab.lab.view import PageLine, View
from chatlab.panel import Panel, Picture

BUTTONS = ("drop", "reconnect", "freeze", "thaw", "reload")
"""What can be done to a simulated tab and to the chat page."""


class Live:
    """The live demo of a lab. A notebook shows it as a frame.

    `reports` collects the reports of the page. `loop` is the loop of the cells. `actions` is what
    the buttons for the server do on that loop: "kill" or "stop", and "start". `report_error` is
    called with each error of the demo's own thread.
    """

    def __init__(
        self,
        lab: OpenLab,
        reports: PageReports,
        loop: asyncio.AbstractEventLoop,
        actions: Mapping[str, Callable[[], None]],
        report_error: Callable[[BaseException], None],
    ) -> None:
        self.lab, self.reports, self.cells, self.line = lab, reports, Cells(loop), PageLine()
        self.view = View(lab, reports, self.line)
        buttons = {name: partial(self._press, name) for name in BUTTONS}
        buttons |= {name: partial(self.cells.run, action) for name, action in actions.items()}
        self.panel = Panel(self.picture, buttons, on_report=self._on_report)
        name = f"{lab.server.name}: live"
        self.server = BackgroundServer(self._app, name=name, report=report_error)

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
        """Stop serving, and cancel the actions of buttons. Call it on the loop of the cells."""
        try:
            self.server.stop()
        finally:
            await self.cells.close()

    def _app(self) -> web.Application:
        app = self.panel.app()
        app.cleanup_ctx.append(self._linked)
        return app

    async def _linked(self, app: web.Application) -> AsyncIterator[None]:
        """Keep the link of the page open while the demo is served."""
        self.line.cut = False
        async with Link(self.lab.server.port) as self.line.link:
            yield

    def picture(self) -> Picture:
        """Return what the panel shows now. Call it on the demo's own thread."""
        return self.view.picture(self.cells.busy())

    def _on_report(self, viewer: object, report: dict[str, Any] | None) -> None:
        self.reports.receive(viewer, report, len(self.lab.history))

    async def _press(self, button: str, name: str) -> None:
        """Do what a button of the chat page or of a simulated tab does."""
        if name == THE_PAGE:
            self.line.press(button)
        else:
            await self.cells.run(partial(self._act, button, name))

    def _act(self, button: str, name: str) -> Any:
        on = self.lab.links if button in ("freeze", "thaw") else self.lab.clients
        return getattr(on[name], button)()
