"""A class on one server: students join with a code; the instructor drops or freezes connections.

The chat is the finished server. In front of it is a link that the instructor can cut and freeze.
The rules for students are in `handlers`; this module must not know them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from os import PathLike
from typing import Any, Self

from aiohttp import web

from chatlab.classroom.door import check_code, new_code
from chatlab.classroom.handlers import ADDRESS, CAUGHT_UP, ClassHandlers, StudentRow
from chatlab.classroom.invitation import Invitation
from chatlab.classroom.roster import NEW_NAMES
from chatlab.harness import ANY_ADDRESS, BackgroundServer, Link, listening, shown_host
from chatlab.openable import Openable
from chatlab.panel import Client, Panel, Picture, finding
from chatlab.recovery import Recovery, SessionStore
from chatlab.server import Handlers, chat, create_app

COLUMNS = ["State", "Offset", "Behind"]
DROP, FREEZE, THAW = "Drop everyone", "Freeze everyone", "Thaw everyone"
BUTTONS = {DROP: "cut", FREEZE: "freeze", THAW: "thaw"}
"""The buttons for the whole class, and the method of the link that each calls."""
FREE = "free the name"
"""The button of a student: the student leaves the class, and anybody may take the name."""


class Classroom(Openable):
    """A class: the chat, the link to it, and the instructor's console. Await it or enter it.

    Students reach the chat at `port` of `host`, an address of this machine. "0.0.0.0" means all its
    addresses; with "127.0.0.1" only this machine reaches the chat. Everything runs in the
    background. `db` is the file of the message log, and `keep` the number of newest messages that
    it keeps (None: all). `code` is the join code (None: a new one; ValueError if it is not valid).
    A second class with the same `name` replaces the first. `handlers` registers the chat's handlers
    for "connect", "disconnect" and "chat message". `origins` are addresses of the page behind a
    proxy; the first one is in the invitation.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        db: str | PathLike[str] = "class.db",
        keep: int | None = None,
        code: str | None = None,
        name: str = "class",
        handlers: Handlers = chat,
        origins: Iterable[str] = (),
    ) -> None:
        self.host, self.port, self.db, self.keep = host, port, db, keep
        self.origins = list(origins)
        self.code = new_code() if code is None else check_code(code)
        self.handlers = ClassHandlers(self.code, handlers=handlers)
        self.panel = Panel(self.look, self._buttons())
        self.server = BackgroundServer(self.build, name=name)
        """Serves the console. The chat and the link run inside it: see `build`."""

    async def open(self) -> Self:
        """Start the class. Raises OSError if the address or the port cannot be used."""
        self.server.start()
        return self

    async def close(self) -> None:
        """End the class. Raises the first error of the server, if there was one."""
        self.server.stop()
        self.server.check()

    @property
    def invitation(self) -> Invitation:
        """The address and the code that students need to join."""
        here = f"http://{shown_host(self.host)}:{self.port}"
        return Invitation([*self.origins, here][0].rstrip("/"), self.code)

    @property
    def console(self) -> str:
        """The address of the instructor's console. Only this machine reaches it."""
        return self.console_at(self.server.port)

    def console_at(self, port: int) -> str:
        """Return the address of the console for the port on which it is served."""
        return f"http://localhost:{port}/{self.panel.path}"

    @property
    def note(self) -> str:
        """A sentence that says why other machines cannot reach the class; "" if they can."""
        if shown_host(self.host) != "localhost" or self.origins:
            return ""
        if self.host in ANY_ADDRESS:
            return "This machine is in no network: nobody else reaches it."
        return "Only this machine reaches it: for phones, the host has to be 0.0.0.0."

    def __repr__(self) -> str:
        lines = [str(self.invitation), self.note, f"The console: {self.console}"]
        return "\n".join(filter(None, lines))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = self.invitation._repr_mimebundle_()
        note = f"<p>{self.note}</p>" if self.note else ""
        at = f'href="{self.console}" data-at="{self.console}"'
        link = f'<p><a {at} target="_blank">The console</a></p>{finding("href", self.console)}'
        return {"text/html": shown["text/html"] + note + link, "text/plain": repr(self)}

    # What the instructor does

    def cut(self) -> None:
        """Drop all connections. The clients reconnect and get the messages that they missed."""
        self.server.run(self._buttons()[DROP]())

    def freeze(self) -> None:
        """Stop all traffic in both directions, without closing a connection, until `thaw`."""
        self.server.run(self._buttons()[FREEZE]())

    def thaw(self) -> None:
        """Let the traffic pass again."""
        self.server.run(self._buttons()[THAW]())

    def free(self, name: str) -> None:
        """Put a student out; anybody may take the name then. Raises KeyError if nobody has it."""
        self.server.run(self._buttons()[FREE](name))

    def _buttons(self) -> dict[str, Callable[..., Awaitable[None]]]:
        async def press(action: str) -> None:
            getattr(self.link, action)()

        async def free(name: str) -> None:
            self.handlers.free(name)

        return {label: partial(press, action) for label, action in BUTTONS.items()} | {FREE: free}

    def look(self) -> Picture:
        """Return what the console shows."""
        rows = self.handlers.rows()
        facts = {
            "join code": self.code,
            "students": len(rows),
            "caught up": sum(row.state == CAUGHT_UP for row in rows),
            "messages": self.handlers.log.head,
            "line": "frozen" if self.link.frozen else "open",
        }
        buttons = [DROP, THAW if self.link.frozen else FREEZE]
        note = " ".join(filter(None, [self.note, self._crowd()]))
        return Picture("The class", facts, COLUMNS, list(map(_client, rows)), buttons, note)

    def _crowd(self) -> str:
        """Return a sentence about too many names; "" if there are not too many."""
        address, names = self.handlers.roster.busiest()
        if names < NEW_NAMES and not self.handlers.roster.full:
            return ""
        full = ["The class is full."] if self.handlers.roster.full else []
        return " ".join(
            [
                *full,
                f"{names} names were taken from {address}.",
                "If somebody only plays, free the names that others need,",
                "or end the class and begin again with a new code.",
            ]
        )

    # The servers

    def build(self) -> web.Application:
        """Return the console's application. While it is served, the chat and the link run too."""
        console = self.panel.app()
        console.cleanup_ctx.append(self._open)
        return console

    async def _open(self, console: web.Application) -> AsyncIterator[None]:
        async with (
            listening(self._chat(), "127.0.0.1", 0) as port,
            Link(port, host=self.host, listen=self.port) as self.link,
        ):
            self.port = self.link.port
            yield

    def _chat(self) -> web.Application:
        recovery = partial(Recovery, store=SessionStore(self.db))
        app = create_app(
            self.handlers, db=self.db, recovery=recovery, keep=self.keep, origins=self.origins
        )
        app.middlewares.insert(0, self._note_address)
        return app

    @web.middleware
    async def _note_address(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Set ADDRESS to the client's address: the server itself sees only the link's."""
        peer = request.get_extra_info("peername")  # None if the client has disconnected already
        ADDRESS.set(self.link.client_at(peer[1]) if peer else None)
        return await handler(request)


def _client(row: StudentRow) -> Client:
    name, *values = row
    return Client(name, values, healthy=row.state == CAUGHT_UP, buttons=[FREE])
