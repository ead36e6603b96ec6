"""The lab of the notebooks: a server in the background, tabs that talk to it, and what happened.

It puts the other modules of this folder together, and adds no rules of its own about messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Self

from chatlab.client import ChatClient
from chatlab.harness import Link, Mishap
from chatlab.history import Diagram, History, Verdict, check
from chatlab.lab.arguments import (
    Named,
    check_action,
    check_day,
    check_name,
    check_options,
    check_server,
)
from chatlab.lab.bad_day import BadDay
from chatlab.lab.frame import Page
from chatlab.lab.live import Live
from chatlab.lab.opened import note
from chatlab.lab.page_reports import PageReports
from chatlab.lab.place import Kind, Place
from chatlab.lab.quiet import wait_until_quiet
from chatlab.lab.servers import Controls, LabServer, Servers
from chatlab.lab.studied_server import Pause, StudiedServer
from chatlab.log import LogError, log_at
from chatlab.messages import SEND_AGAIN
from chatlab.mistakes import BadMoment, awaited
from chatlab.openable import Openable

TICK = 0.1
"""Seconds between two wake-ups of the notebook's loop: a kernel that waits for the network notices
an Interrupt only when its loop wakes up."""


NOT_YET = "this lab is not open yet: write `lab = await Lab(server)`, with `await`"
NO_MORE = "this lab is not open any more: run its cell, `await Lab(...)`, and those after it again"


@awaited
class Lab(Controls, Openable):
    """A server under study, the tabs of the people who use it, and the history of both.

    `server` is a function that registers handlers, `server(sio)` or `server(sio, log)`. Await the
    lab or enter it to start it: in the background, with an empty database in a new folder. A
    second lab of the same `name` takes the place of the first, so a cell can be run twice.

    With `process=True` the server can be killed. With `heartbeat`, in seconds, each side sends or
    expects a ping this often, and closes the connection if there is none for as long again.

    With `log="postgresql"`, the messages are in PostgreSQL, and `servers` is how many servers share
    them. Tabs that join are on the servers in turn.

    With `recovery`, the server has connection state recovery; with `store` too, its sessions are in
    the database, and outlive it. `clock` counts the seconds for which they are kept. `keep` is how
    many of the newest messages the log keeps.
    """

    def __init__(
        self,
        server: Callable[..., None],
        *,
        name: str = "lab",
        process: bool = False,
        heartbeat: float | None = None,
        recovery: bool = False,
        store: bool = False,
        clock: Callable[[], float] = time.monotonic,
        keep: int | None = None,
        servers: int = 1,
        log: Kind = "sqlite",
    ) -> None:
        check_options(server, name, heartbeat, recovery, store, clock, servers, log)
        self.history = History()
        self.clients: dict[str, ChatClient] = Named()
        self.links: dict[str, Link] = Named()
        """The link of each tab to the server: cut it, freeze it, leave it half-open."""
        self._live: Live | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reports = PageReports()
        self._place = Place(log)
        self.db = self._place.db
        """The file of the message log, or the address of its database. Closing deletes it."""
        self.database = self._place.database
        """The PostgreSQL in which the log is, if it is: stop it, start it. All labs share it."""
        sessions = self._place.sessions(store, clock) if recovery else None
        app = {"db": self.db, "recovery": sessions, "keep": keep}
        options = (process, heartbeat, app)
        build = partial(StudiedServer, server, self.history, self._report, name, *options)
        self._lab, self._check = self, partial(_check_open, self)
        self.servers = self._meant = Servers(self, servers, build)
        """The servers, by their number: stop, kill, start or restart one of them."""
        self.server, self.history.stored = self.servers[0].server, self._place.stored

    async def open(self) -> Self:
        """Start the server, in the place of an older lab of the same name."""
        if self.server.name in _OPEN:  # errors of the older lab are not raised in this cell
            await _end(_OPEN[self.server.name])
        self._loop = asyncio.get_running_loop()
        try:
            self.servers.serve()
        except BaseException:
            self._place.remove()
            raise
        self._ticker = asyncio.create_task(_tick(self.servers.look))
        _OPEN[self.server.name] = self
        note(self)
        return self

    async def close(self) -> None:
        """Close the tabs, stop the server, and delete the database. A closed lab stays closed.

        Raises the errors of the server that were not raised yet.
        """
        if _OPEN.get(self.server.name) is self:
            await _end(self)
            self.server.check()

    @property
    def reads(self) -> int:
        """How often the server has read rows from the log. In a process, it is not known."""
        return self.servers.reads

    async def join(
        self,
        *names: str,
        tab: Callable[..., ChatClient] = ChatClient,
        server: int | None = None,
    ) -> Any:
        """Open a tab for each name, in turn; return the tab, or a list of tabs for several names.

        `tab` makes a tab: a subclass of ChatClient, for instance. If there is a tab of this name,
        it is closed first. `server` is the number of the server; without it they take turns.
        """
        _check_open(self)
        check_server(server, len(self.servers))
        for name in names:
            check_name(name)
        for name in names:
            await self._join(name, tab, self.servers.next_for(name, server))
        tabs = [self.clients[name] for name in names]
        return tabs[0] if len(tabs) == 1 else tabs

    async def _join(self, name: str, tab: Callable[..., ChatClient], server: LabServer) -> None:
        if name in self.clients:
            await self._leave(name)
        link = self.links[name] = await Link(server.port)
        self.clients[name] = tab(link.url, name, record=self.servers.record)
        self.clients[name].report = self._report
        await self.clients[name].open()
        self.server.check()

    async def _leave(self, name: str) -> None:
        await self.clients[name].close()
        await self.links[name].close()

    async def move(self, name: str, server: int) -> None:
        """Let a tab lose its connection, and connect to another server, or to the same one."""
        _check_open(self)
        check_server(server, len(self.servers))
        await self.clients[name].drop()
        self.links[name].server_port = self.servers[server].port
        await self.clients[name].reconnect()

    def server_of(self, name: str) -> LabServer:
        """Return the server to which the link of a tab leads."""
        return self.servers.at(self.links[name].server_port)

    async def quiet(self) -> None:
        """Wait until nothing is under way: no tab that is connected has something to send, no
        handler runs, no packet is on its way to a tab.

        Raises the errors of the server, or TimeoutError after PATIENCE seconds.
        """
        _check_open(self)
        await wait_until_quiet(self)
        self.server.check()

    async def pause(self, action: Coroutine[Any, Any, Any], server: int = 0) -> Pause:
        """Begin an action, `bob.reconnect()` for instance, and hold a server in the middle of it.

        The server is held the next time its handlers have read rows from the log. All else goes on:
        other tabs, other handlers. Raises RuntimeError if the server does not read its log
        meanwhile, and for a server in another process.
        """
        check_action(action)
        _check_open(self)
        check_server(server, len(self.servers))
        return await self.servers[server].studied.pause(action, self.quiet)

    async def live_through(self, day: Iterable[Mishap], *, post: bool = False) -> None:
        """Let mishaps happen, then mend every link and let every tab reconnect.

        A tab that sends does not wait for the acknowledgement, and connects first if it has no
        connection. With `post`, messages go into the outbox instead. Messages are numbered.
        """
        _check_open(self)
        day = check_day(day, self.clients)
        await BadDay(self.clients, self.links, self.servers.kill_and_start_one, post).happen(day)

    async def verdict(self, *, promised: bool = False) -> Verdict:
        """Wait until all is quiet, and judge what the tabs show and what the log holds.

        With `promised`, every message that was sent has to be there, acknowledged or not.
        """
        await self.quiet()
        async with log_at(self.db) as log:
            stored = await log.after(0)
            history = self._reports.sends_merged_into(self.history)
            return check(history, stored, promised=promised, trimmed=log.trimmed)

    def diagram(self) -> Diagram:
        """Draw what has happened so far, also on the page in `lab.live()`."""
        return Diagram(self._reports.merged_into(self.history))

    def page(self, height: int = 320) -> Page:
        """Show the chat page of this lab's server: a real tab beside the simulated ones."""
        _check_open(self)
        return Page(self.server.port, height)

    def live(self, height: int = 720) -> Live:
        """Show what goes on while cells run, with buttons that interfere, and the chat page.

        Every call shows the same demo, until the lab is closed. Raises RuntimeError if the lab is
        not open.
        """
        _check_open(self)
        if self._live is None:
            actions = self.servers.actions
            self._live = Live(self, self._reports, self._loop, actions, self._report)
        return self._live.open(height)

    def _report(self, error: BaseException) -> None:
        """Take an error of the server, or of the live demo, on the thread where it happened.

        A PostgreSQL that does not answer belongs to the experiment: the senders are told.
        """
        if isinstance(error, LogError) and error.name in SEND_AGAIN and self.database:
            return
        self._loop.call_soon_threadsafe(_raise_in_cell, self, error)


def _raise_in_cell(lab: Lab, error: BaseException) -> None:
    """Raise an error of the server in the cell that waits for an answer, or keep it for the next.

    The next call of `quiet`, `join` or `close` raises what was kept.
    """
    if not any([tab.fail(error) for tab in lab.clients.values()]):
        lab.server.errors.append(error)


async def _end(lab: Lab) -> None:
    del _OPEN[lab.server.name]
    lab.servers.go_on()
    async with AsyncExitStack() as last_first:  # if one step fails, the others happen anyway
        last_first.callback(lab._place.remove)
        last_first.callback(lab._place.stored)  # the last look
        last_first.callback(lab._ticker.cancel)
        for server in lab.servers:
            last_first.callback(server.server.stop)
        for name in lab.clients:
            last_first.push_async_callback(lab._leave, name)
        if lab._live is not None:
            last_first.push_async_callback(lab._live.close)


def lab_of(tab: ChatClient) -> Lab | None:
    """Return the open lab that a tab is in."""
    return next((lab for lab in _OPEN.values() if tab in lab.clients.values()), None)


def _check_open(lab: Lab) -> None:
    """Raise BadMoment unless the lab is open; warn if its server was written anew since."""
    if _OPEN.get(lab.server.name) is not lab:
        raise BadMoment(NO_MORE if lab._loop else NOT_YET)
    lab.servers[0].studied.check_definition()


async def _tick(look: Callable[[], None]) -> None:
    while True:  # there is no event to wait for: waking up is the point
        await asyncio.sleep(TICK)
        look()


try:  # keep the register when the module is reloaded
    _OPEN: dict[str, Lab] = _OPEN  # type: ignore[used-before-def]
except NameError:
    _OPEN = {}
