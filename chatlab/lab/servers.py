"""The servers of a lab: one, or several that share a log. Each can be stopped, killed and started.

It knows which tabs are on which server. It must not know how a server is built.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

from chatlab.client import ChatClient
from chatlab.harness import BackgroundServer
from chatlab.history import CONNECTS, SERVER, Kind
from chatlab.lab.quiet import OpenLab, wait_until_dead, wait_until_offline
from chatlab.lab.studied_server import StudiedServer
from chatlab.mistakes import awaited


@awaited
class Controls:
    """Stops, kills and starts what is `_meant`: one server of a lab, or all of them."""

    _lab: OpenLab
    _meant: list[LabServer]
    _check: Callable[[], None]
    """It raises an error unless the lab is open."""

    async def stop(self) -> None:
        """Stop serving; return when the tabs have noticed that their connection is gone."""
        self._check()
        await self._end("stop")

    async def kill(self) -> None:
        """Kill the server, as `kill -9` does; return when the tabs have noticed.

        Raises RuntimeError unless the lab was made with `process=True`.
        """
        self._check()
        await self._end("kill")

    async def start(self) -> None:
        """Serve again, on the same port and database; return when the tabs are back."""
        self._check()
        for server in self._meant:
            await wait_until_dead(server)
        ended = [server for server in self._meant if not server.running]
        for server in ended:
            server.studied.start()
        if ended:
            await self._lab.quiet()

    async def restart(self) -> None:
        """Stop and start again. The tabs that were connected come back."""
        await self.stop()
        await self.start()

    async def _end(self, kind: Literal["stop", "kill"]) -> None:
        for server in self._meant:
            server.studied.end(kind)
        for server in self._meant:
            await wait_until_offline(server.tabs)


class LabServer(Controls):
    """One of the servers of a lab. Its name in pictures is "server", or "server 1" of several."""

    def __init__(self, lab: OpenLab, name: str, studied: StudiedServer) -> None:
        self.name, self.studied = name, studied
        self._lab, self._meant, self._check = lab, [self], lab._check

    @property
    def server(self) -> BackgroundServer:
        """What runs it in the background."""
        return self.studied.server

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self.server.running

    @property
    def port(self) -> int:
        """The port on which it listens, from its first start on."""
        return self.server.port

    @property
    def tabs(self) -> list[ChatClient]:
        """The tabs whose links lead to it."""
        lab = self._lab
        return [tab for name, tab in lab.clients.items() if lab.server_of(name) is self]

    @property
    def actions(self) -> dict[str, Callable[[], None]]:
        """What a person can do to it at any time, by the words on a button."""
        which = self.name.removeprefix(SERVER)
        return {f"{does}{which}": action for does, action in self.studied.actions.items()}

    def __repr__(self) -> str:
        return f"{self.name}: {'running' if self.running else 'not running'}"


class Servers(list[LabServer]):
    """The servers of a lab, in the order of their numbers.

    `build(which)` makes a server; `which` is its name if there are several, and otherwise None.
    """

    def __init__(
        self, lab: OpenLab, count: int, build: Callable[[str | None], StudiedServer]
    ) -> None:
        names = [f"{SERVER} {number}" for number in range(count)] if count > 1 else [None]
        super().__init__(LabServer(lab, name or SERVER, build(name)) for name in names)
        self._lab, self._killed = lab, 0

    def serve(self) -> None:
        """Start all of them, or none."""
        with ExitStack() as stack:
            for server in self:
                stack.callback(server.server.stop)
                server.server.start()
            stack.pop_all()

    def at(self, port: int) -> LabServer:
        """Return the server at a port."""
        return next(server for server in self if server.port == port)

    def next_for(self, name: str, number: int | None) -> LabServer:
        """Return the server for a tab that joins: that of the number, or the next in turn."""
        names = [*dict.fromkeys([*self._lab.clients, name])]
        return self[names.index(name) % len(self) if number is None else number]

    def record(self, kind: Kind, who: str, text: str | None = None, *offset: int | None) -> None:
        """Add an event of a tab to the history, with the server to which it connects."""
        if kind in CONNECTS and len(self) > 1:
            text = self._lab.server_of(who).name
        self._lab.history.record(kind, who, text, *offset)

    @property
    def reads(self) -> int:
        """How often they have read rows from the log."""
        return sum(server.studied.reads for server in self)

    @property
    def actions(self) -> dict[str, Callable[[], None]]:
        """What a person can do to them, by the words on a button."""
        return {name: action for server in self for name, action in server.actions.items()}

    def kill_and_start_one(self) -> None:
        """Kill one of them, in turn, and start it again at once. Do not wait for the tabs."""
        self[self._killed % len(self)].studied.kill_and_start()
        self._killed += 1

    def go_on(self) -> None:
        """Let those go on that a pause still holds."""
        for server in self:
            server.studied.go_on()

    def look(self) -> None:
        """Report servers whose threads do not go on. Call this again and again."""
        for server in self:
            server.studied.look()
