"""The lab of the notebooks: a server in the background, tabs that talk to it, and what happened.

It is on top of everything else, and only notebooks and tests import it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import socketio

from chatlab.background import BackgroundServer
from chatlab.client import PATIENCE, ChatClient
from chatlab.diagram import Diagram
from chatlab.history import SERVER, History
from chatlab.log import MessageLog
from chatlab.server import create_app

IDLE = "lab: idle"
TICK = 0.1
"""Seconds between two wake-ups of the notebook's loop: a kernel that waits for the network notices
an Interrupt only when its loop wakes up."""


class Lab:
    """A server under study, the tabs of the people who use it, and the history of both.

    `server` is a function that registers handlers, `server(sio)` or `server(sio, log)`. Await the
    lab or enter it to start it: in the background, with an empty database in a new folder. A
    second lab of the same `name` takes the place of the first, so a cell can be run twice.
    """

    def __init__(
        self, server: Callable[..., None], *, name: str = "lab", process: bool = False
    ) -> None:
        self.history = History()
        self.clients: dict[str, ChatClient] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="chatlab-")
        self.db = Path(self._folder.name) / "chat.db"
        """The file of the message log. It goes when the lab is closed."""
        build = partial(create_app, partial(_observed, server), db=self.db, server=_LabServer)
        self.server = BackgroundServer(build, name=name, process=process, report=self._report)

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def open(self) -> Self:
        """Start the server, in the place of an older lab of the same name."""
        if self.server.name in _OPEN:  # what went wrong there is not what this cell asks about
            await _OPEN[self.server.name]._end()
        self._loop = asyncio.get_running_loop()
        try:
            self.server.start()
        except BaseException:
            self._folder.cleanup()
            raise
        self._ticker = asyncio.create_task(_tick())
        _OPEN[self.server.name] = self
        return self

    async def close(self) -> None:
        """Close the tabs, stop the server, and delete the database. A closed lab stays closed.

        Raises what went wrong in the server, if it was not raised yet.
        """
        if _OPEN.get(self.server.name) is self:
            await self._end()
            self.server.check()

    async def _end(self) -> None:
        del _OPEN[self.server.name]
        try:
            for client in self.clients.values():
                await client.close()
            self.server.stop()
        finally:
            self._ticker.cancel()
            self._folder.cleanup()

    async def join(self, *names: str) -> Any:
        """Open a tab for each name, in turn; return the tab, or a list of tabs for several names.

        A name that is taken gives up its old tab first.
        """
        for name in names:
            await self._join(name)
        tabs = [self.clients[name] for name in names]
        return tabs[0] if len(tabs) == 1 else tabs

    async def _join(self, name: str) -> None:
        if name == SERVER:
            raise ValueError(f"{SERVER!r} is the server's own name")
        if name in self.clients:
            await self.clients[name].close()
        tab = ChatClient(self.server.url, name, record=self.history.record)
        self.clients[name] = tab
        await tab.open()
        self.server.check()

    async def quiet(self) -> None:
        """Wait until nothing is under way: no handler runs, no packet is on its way to a tab.

        Raises what went wrong in the server, or TimeoutError after PATIENCE seconds.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._unchanged()
        except TimeoutError:
            raise TimeoutError(
                f"after {PATIENCE:.0f} s something is still under way: a handler that does not end?"
            ) from None
        self.server.check()

    async def _unchanged(self) -> None:
        """Wait until a look at every tab finds nothing new."""
        seen = None
        while seen != len(self.history):
            seen = len(self.history)
            with suppress(ConnectionError):  # a lost connection is an event: look again
                await asyncio.gather(*(_settled(tab) for tab in self._tabs()))

    async def stop(self) -> None:
        """Stop the server; return when every tab has noticed that its connection is gone."""
        if self.server.running:
            self.history.record("stop", SERVER)
            self.server.stop()
            for tab in self.clients.values():
                await tab.until(lambda tab=tab: not tab.connected, "notice that the server stopped")

    async def start(self) -> None:
        """Start the server again, on the same port and database; return when all tabs are back."""
        if not self.server.running:
            self.history.record("start", SERVER)
            self.server.start()
            await self.quiet()

    async def restart(self) -> None:
        """Stop the server and start it again. The tabs that were connected come back."""
        await self.stop()
        await self.start()

    def diagram(self) -> Diagram:
        """Draw what has happened so far."""
        return Diagram(self.history)

    def page(self, height: int = 320) -> Page:
        """Show the chat page of this lab's server: a real tab beside the simulated ones."""
        return Page(self.server.port, height)

    def _tabs(self) -> list[ChatClient]:
        """The tabs that have a connection, or will have one soon."""
        tabs = self.clients.values()
        return [tab for tab in tabs if tab.connected or (tab.returning and self.server.running)]

    def _report(self, error: BaseException) -> None:
        """Hear of an error, on the server's thread."""
        self._loop.call_soon_threadsafe(self._failed, error)

    def _failed(self, error: BaseException) -> None:
        """Raise an error of the server in the cell that waits for an answer, or in the next."""
        if not any([tab.fail(error) for tab in self.clients.values()]):
            self.server.errors.append(error)


def should_show(tab: ChatClient, *texts: str) -> str:
    """Say whether a page shows exactly these texts in this order: solved, or not yet and why."""
    shown = f"{tab.name}'s page shows {tab.messages or 'nothing'}"
    if tab.messages == list(texts):
        return f"solved: {shown}"
    return f"not yet: {shown}, and it should show {list(texts)}"


class Page:
    """The chat page in a frame of the notebook. Here `height` is in pixels."""

    def __init__(self, port: int, height: int) -> None:
        # The page that shows the notebook decides: localhost, or a hub that forwards to this port.
        hub = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
        self.url = f"{hub}proxy/{port}/" if hub else f"http://localhost:{port}/"
        self.height = height

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{self.url}" title="The chat page" width="100%" height="{self.height}">'
            "</iframe>"
        )

    def __repr__(self) -> str:
        return f"The chat page: {self.url}"


class _LabServer(socketio.AsyncServer):
    """python-socketio's server, which also knows what its handlers are busy with."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.handling: dict[asyncio.Task[Any], Callable[[], bool]] = {}
        """The tasks of handlers, each with a function that says whether it is busy."""
        self.changed = asyncio.Event()

    def start_background_task(self, target: Any, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task = super().start_background_task(target, *args, **kwargs)
        self.handling[task] = lambda: True
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.handling.pop(task, None)
        self.changed.set()

    @contextmanager
    def resting(self, busy: Callable[[], bool]) -> Iterator[None]:
        """Let the current task count as busy only if `busy` says so."""
        task = asyncio.current_task()
        if task not in self.handling:
            yield
            return
        self.handling[task] = busy
        self.changed.set()
        try:
            yield
        finally:
            self.handling[task] = lambda: True

    async def idle(self) -> None:
        """Wait until no handler is busy, apart from the one that calls this."""
        del self.handling[asyncio.current_task()]
        while any(busy() for busy in self.handling.values()):
            self.changed.clear()
            await self.changed.wait()


def _observed(server: Callable[..., None], sio: _LabServer, log: MessageLog) -> None:
    """Register the handlers under study, and one that answers when all others are done.

    A handler that waits for the log to grow is done with what there is.
    """
    newer = log.newer

    async def observed(offset: int) -> None:
        with sio.resting(lambda: log.head > offset):
            await newer(offset)

    log.newer = observed
    server(*(sio, log)[: len(inspect.signature(server).parameters)])

    @sio.on(IDLE)
    async def idle(sid: str) -> None:
        await sio.idle()


async def _settled(tab: ChatClient) -> None:
    """Return when all that the server had for a tab has arrived: the answer comes behind it."""
    await tab.until(lambda: not tab.returning, "connect again")
    await tab.call(IDLE)


async def _tick() -> None:
    while True:  # noqa: ASYNC110 - there is no event to wait for: waking up is the point
        await asyncio.sleep(TICK)


try:  # keep the register when the module is reloaded
    _OPEN: dict[str, Lab] = _OPEN  # type: ignore[used-before-def]
except NameError:
    _OPEN = {}
