"""The lab of the notebooks: a server in the background, tabs that talk to it, and what happened.

It is on top of everything else: only the ladder, exercises, notebooks and tests import it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

from chatlab.client import PATIENCE, ChatClient
from chatlab.harness import (
    LINK_FAULTS,
    REST,
    BackgroundServer,
    Gate,
    Hold,
    Link,
    Mishap,
    WatchedServer,
    watched,
)
from chatlab.history import SERVER, Diagram, History, Kind, Verdict, check
from chatlab.lab.live import Live, Page
from chatlab.lab.page_reports import THE_PAGE, Hearsay
from chatlab.log import MessageLog
from chatlab.openable import Openable
from chatlab.recovery import Recovery, SessionStore
from chatlab.server import create_app

IN_FLIGHT = 100
"""Messages that wait for their acknowledgement while a bad day goes on."""
A_FEW = 5
"""Messages that may wait in an outbox although they could be sent."""
TICK = 0.1
"""Seconds between two wake-ups of the notebook's loop: a kernel that waits for the network notices
an Interrupt only when its loop wakes up."""


class Lab(Openable):
    """A server under study, the tabs of the people who use it, and the history of both.

    `server` is a function that registers handlers, `server(sio)` or `server(sio, log)`. Await the
    lab or enter it to start it: in the background, with an empty database in a new folder. A
    second lab of the same `name` takes the place of the first, so a cell can be run twice.

    With `process=True` the server can be killed. With `heartbeat`, in seconds, each side pings or
    expects a ping so often, and gives the connection up after as long again.

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
    ) -> None:
        self.history = History()
        self.clients: dict[str, ChatClient] = {}
        self.links: dict[str, Link] = {}
        """The link of each tab to the server: cut it, freeze it, leave it half-open."""
        self._numbers = count(1)
        self._gate = None if process else Gate()
        self._hold: Hold | None = None
        self._live: Live | None = None
        self._told = Hearsay()
        self._folder = tempfile.TemporaryDirectory(prefix="chatlab-")
        self.db = Path(self._folder.name) / "chat.db"
        """The file of the message log. It goes when the lab is closed."""
        beats = {"ping_interval": heartbeat, "ping_timeout": heartbeat} if heartbeat else {}
        sessions = partial(Recovery, store=SessionStore(self.db) if store else None, clock=clock)
        build = partial(
            create_app,
            partial(watched, server, self._gate),
            db=self.db,
            server=partial(WatchedServer, **beats),
            recovery=sessions if recovery else None,
            keep=keep,
        )
        self.server = BackgroundServer(build, name=name, process=process, report=self._report)

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
        if (opened := _opened.get()) is not None:
            opened.append(self)
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
        self._go_on()
        async with AsyncExitStack() as last_first:  # where one fails, the rest ends all the same
            last_first.callback(self._folder.cleanup)
            last_first.callback(self._ticker.cancel)
            last_first.callback(self.server.stop)
            for name in self.clients:
                last_first.push_async_callback(self._leave, name)
            if self._live is not None:
                last_first.push_async_callback(self._live.close)

    @staticmethod
    def of(tab: ChatClient) -> Lab | None:
        """Return the open lab that a tab is in."""
        return next((lab for lab in _OPEN.values() if tab in lab.clients.values()), None)

    @property
    def reads(self) -> int:
        """How often the server has read rows from the log. Not known of one in another process."""
        return self._gate.passages

    async def join(self, *names: str, tab: Callable[..., ChatClient] = ChatClient) -> Any:
        """Open a tab for each name, in turn; return the tab, or a list of tabs for several names.

        `tab` makes them: a subclass of ChatClient, for instance. A name that is taken gives up its
        old tab first.
        """
        for name in names:
            await self._join(name, tab)
        tabs = [self.clients[name] for name in names]
        return tabs[0] if len(tabs) == 1 else tabs

    async def _join(self, name: str, tab: Callable[..., ChatClient]) -> None:
        if name in (SERVER, THE_PAGE):
            whose = "the server's own name" if name == SERVER else "the name of a real page"
            raise ValueError(f"{name!r} is {whose}")
        if name in self.clients:
            await self._leave(name)
        link = self.links[name] = await Link(self.server.port)
        self.clients[name] = tab(link.url, name, record=self.history.record)
        await self.clients[name].open()
        self.server.check()

    async def _leave(self, name: str) -> None:
        await self.clients[name].close()
        await self.links[name].close()

    async def quiet(self) -> None:
        """Wait until nothing is under way: no tab that is connected has something to send, no
        handler runs, no packet is on its way to a tab.

        Raises what went wrong in the server, or TimeoutError after PATIENCE seconds.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._unchanged()
        except TimeoutError as error:
            guess = (
                f"after {PATIENCE:.0f} s something is still under way: a handler that does not end?"
            )
            raise TimeoutError(str(error) or guess) from None
        self.server.check()

    async def _unchanged(self) -> None:
        """Wait until a look at every tab finds nothing new."""
        seen = None
        while seen != len(self.history):
            seen = len(self.history)
            opening = [tab for tab in self.clients.values() if tab.opening and not tab.returning]
            number = next(self._numbers) if opening else None
            with suppress(ConnectionError):  # a lost connection is an event: look again
                await asyncio.gather(*map(_posted, self._tabs()))  # else the server never rests
                # The answer comes behind all that the server had for a tab.
                await asyncio.gather(*(tab.call(REST, number) for tab in self._tabs()))
                if self._tabs():
                    await asyncio.gather(*(_reached(tab, number) for tab in opening))

    async def pause(self, action: Coroutine[Any, Any, Any]) -> Pause:
        """Begin an action, `bob.reconnect()` for instance, and hold the server in the middle of it.

        It is held at the next moment at which it has read rows from the log. Everything else goes
        on: other tabs, other handlers. Raises RuntimeError if the server does not read its log
        meanwhile, and for a server in another process.
        """
        if self._gate is None:
            action.close()
            raise RuntimeError("a server in another process cannot be held")
        self._go_on()
        await self.quiet()
        self._hold = hold = self._gate.hold_next()
        pause = Pause(hold, asyncio.create_task(action))
        reached = asyncio.create_task(hold.reached())
        await asyncio.wait({pause.action, reached}, return_when=asyncio.FIRST_COMPLETED)
        if not hold.was_reached:  # a handler may read in the background
            await self.quiet()
        if not hold.was_reached:
            reached.cancel()
            self._gate.open()
            await pause.action
            raise RuntimeError("the server did not read the log, so it is not held")
        return pause

    def _go_on(self) -> None:
        """End a pause that was forgotten."""
        if self._hold is not None:
            self._hold.release()

    async def stop(self) -> None:
        """Stop the server; return when every tab has noticed that its connection is gone."""
        await self._end_server("stop", self.server.stop)

    async def kill(self) -> None:
        """Kill the server, as `kill -9` does; return when every tab has noticed.

        Raises RuntimeError unless the lab was made with `process=True`.
        """
        if self._gate is not None:
            raise RuntimeError("only a server in a process of its own can be killed")
        await self._end_server("kill", self.server.kill)

    async def _end_server(self, kind: Kind, end: Callable[[], None]) -> None:
        if self.server.running:
            self._end_at_once(kind, end)
            for tab in self.clients.values():
                await tab.until(lambda tab=tab: not tab.connected, "notice that the server is gone")

    def _end_at_once(self, kind: Kind, end: Callable[[], None]) -> None:
        if self.server.running:
            self._go_on()
            self.history.record(kind, SERVER)
            end()

    async def start(self) -> None:
        """Start the server again, on the same port and database; return when all tabs are back."""
        await self._seen_dead()
        if not self.server.running:
            self._start_at_once()
            await self.quiet()

    async def _seen_dead(self) -> None:
        """Wait while tabs come back in vain: a process that has just died still looks alive."""
        tabs = self.clients.values()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self.server.running and any(tab.returning for tab in tabs):  # noqa: ASYNC110
                    await asyncio.sleep(TICK)  # nobody tells when a process has died

    def _start_at_once(self) -> None:
        if not self.server.running:
            self.history.record("start", SERVER)
            self.server.start()

    async def restart(self) -> None:
        """Stop the server and start it again. The tabs that were connected come back."""
        await self.stop()
        await self.start()

    async def live_through(self, day: Iterable[Mishap], *, post: bool = False) -> None:
        """Let mishaps happen, then mend every link and let every tab come back.

        Who sends does not wait for the acknowledgement, and connects first if there is no
        connection; with `post`, messages go into the outbox instead. Messages are numbered.
        """
        numbers, sending = count(1), set[asyncio.Task[None]]()
        for mishap in day:
            if mishap.kind == "send" and post:
                await self._post(mishap.who, f"message {next(numbers)}")
            elif mishap.kind == "send":
                await self._back(mishap.who)
                sending.add(asyncio.create_task(self._try(mishap.who, "send", next(numbers))))
                await asyncio.sleep(0)
            else:
                await self._suffer(mishap)
            while len(sending) > IN_FLIGHT:
                _, sending = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        for name, link in self.links.items():
            link.thaw()
            await self._back(name)
        await asyncio.gather(*sending)

    async def _post(self, name: str, text: str) -> None:
        """Put a message into an outbox, and let it not grow for ever if it can be emptied."""
        tab = self.clients[name]
        tab.post(text)
        await asyncio.sleep(0)
        if not self.links[name].frozen:
            await tab.until(lambda: len(tab.pending) < A_FEW or not tab.posting, "send", PATIENCE)

    async def _suffer(self, mishap: Mishap) -> None:
        if mishap.kind == "kill":
            self._end_at_once("kill", self.server.kill)
            self._start_at_once()
        elif mishap.kind in LINK_FAULTS:
            getattr(self.links[mishap.who], mishap.kind)()
        else:
            await self._try(mishap.who, mishap.kind)

    async def _back(self, name: str) -> None:
        if not self.clients[name].connected:
            await self._try(name, "reconnect")

    async def _try(self, name: str, kind: str, number: int = 0) -> None:
        """Let a tab do something that may fail on a bad network."""
        with suppress(ConnectionError, TimeoutError):
            if kind == "send":
                await self.clients[name].send(f"message {number}")
            else:
                self.links[name].thaw()
                await getattr(self.clients[name], kind)()

    async def verdict(self, *, promised: bool = False) -> Verdict:
        """Wait until all is quiet, and judge what the tabs show and what the log holds.

        With `promised`, every message that was sent has to be there, acknowledged or not.
        """
        await self.quiet()
        async with MessageLog(self.db) as log:
            stored = await log.after(0)
            history = self._told.sends_among(self.history)
            return check(history, stored, promised=promised, trimmed=log.trimmed)

    def diagram(self) -> Diagram:
        """Draw what has happened so far. What was told by the page in `lab.live()` is in it."""
        return Diagram(self._told.among(self.history))

    def page(self, height: int = 320) -> Page:
        """Show the chat page of this lab's server: a real tab beside the simulated ones."""
        return Page(self.server.port, height)

    def live(self, height: int = 720) -> Live:
        """Show what goes on while cells run, with buttons that interfere, and the chat page.

        It is there until the lab is closed; asking again shows the same one. Raises RuntimeError if
        the lab is not open.
        """
        if _OPEN.get(self.server.name) is not self:
            raise RuntimeError("only a lab that is open can be shown live")
        if self._live is None:
            self._live = Live(self, self._told, self._loop, self._server_buttons(), self._report)
        return self._live.open(height)

    def _server_buttons(self) -> dict[str, Callable[[], None]]:
        """What can be done to the server at a press; nobody waits for the tabs."""
        end = "stop" if self._gate is not None else "kill"
        return {
            end: partial(self._end_at_once, end, getattr(self.server, end)),
            "start": self._start_at_once,
        }

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


@contextmanager
def labs_opened() -> Iterator[list[Lab]]:
    """Note the labs that are opened meanwhile, by what runs in this context."""
    labs: list[Lab] = []
    before = _opened.set(labs)
    try:
        yield labs
    finally:
        _opened.reset(before)


class Pause:
    """A server that is held in the middle of an action, until `go_on`."""

    def __init__(self, hold: Hold, action: asyncio.Task[Any]) -> None:
        self._hold, self.action = hold, action
        action.add_done_callback(lambda action: action.cancelled() or action.exception())

    async def go_on(self) -> Any:
        """Let the server go on; return what the action returns.

        If the tab has lost its connection in the meantime, the action has failed, and that is all.
        """
        self._hold.release()
        with suppress(ConnectionError):
            return await self.action


_opened: ContextVar[list[Lab] | None] = ContextVar("opened", default=None)


async def _posted(tab: ChatClient) -> None:
    """Return when a tab is back and has nothing more to send."""
    await tab.until(lambda: not tab.returning, "connect again")
    await tab.until(lambda: not tab.posting, "empty its outbox", PATIENCE)


async def _reached(tab: ChatClient, number: int | None) -> None:
    """Return when a tab that is not accepted yet, and cannot ask, has what there was for it."""
    await tab.until(lambda: tab.heard.get(REST) == number or not tab.opening)


async def _tick() -> None:
    while True:  # noqa: ASYNC110 - there is no event to wait for: waking up is the point
        await asyncio.sleep(TICK)


try:  # keep the register when the module is reloaded
    _OPEN: dict[str, Lab] = _OPEN  # type: ignore[used-before-def]
except NameError:
    _OPEN = {}
