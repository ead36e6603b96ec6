"""A class on one server: who has the join code comes in, and the instructor is the network.

The chat is the finished server, and nothing of its delivery is different. In front of it stand a
link that can be cut and frozen, and a door: a student says a join code and a name whenever it
connects, and the name stands in front of whatever it writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from os import PathLike
from typing import Any, Self

from aiohttp import web

from chatlab.classroom.handlers import ADDRESS, CAUGHT_UP, Row, Seats
from chatlab.classroom.invitation import ANY_ADDRESS, Invitation, shown_host
from chatlab.classroom.roster import check_code, new_code
from chatlab.harness import BackgroundServer, Link, listening
from chatlab.openable import Openable
from chatlab.panel import Client, Panel, Picture
from chatlab.recovery import Recovery, SessionStore
from chatlab.server import Handlers, chat, create_app

COLUMNS = ["State", "Offset", "Behind"]
DROP, FREEZE, THAW = "Drop everyone", "Freeze everyone", "Thaw everyone"
BUTTONS = {DROP: "cut", FREEZE: "freeze", THAW: "thaw"}
"""The buttons of the console, and what each does to the line."""
MOST_FILES = 10_000
"""Open files that are enough for a full class, all of which comes back at once."""


class Classroom(Openable):
    """A class: the chat, the line to it, and the instructor's console. Await it or enter it.

    Students reach the chat at `port` of `host`, an address of this machine in their network;
    "0.0.0.0" is all of them, and with 127.0.0.1 nobody but this machine comes in. Everything is in
    the background, beside the cells of a notebook. `db` is the file of the message log, and `keep`
    how many of the newest messages it keeps. `code` is the join code; without it a new one is made.
    A second class of the same `name` takes the place of the first. `handlers` are those of the
    server behind the door: the finished one, or another with the same three.
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
    ) -> None:
        self.host, self.port, self.db, self.keep = host, port, db, keep
        self.code = new_code() if code is None else check_code(code)
        self.seats = Seats(self.code, handlers=handlers)
        self.panel = Panel(self.look, self._buttons())
        self.server = BackgroundServer(self.build, name=name)
        """The console's server, and with it all the rest."""

    async def open(self) -> Self:
        """Begin. Raises OSError if the address or the port cannot be had."""
        self.server.start()
        return self

    async def close(self) -> None:
        """End the class. Raises what went wrong in the server, if anything did."""
        self.server.stop()
        self.server.check()

    @property
    def invitation(self) -> Invitation:
        """What the class has to know to join."""
        return Invitation(f"http://{shown_host(self.host)}:{self.port}", self.code)

    @property
    def console(self) -> str:
        """The address of the instructor's console, which is for this machine alone."""
        return self.console_at(self.server.port)

    def console_at(self, port: int) -> str:
        """Return the console's address, if it is served on this port."""
        return f"http://localhost:{port}/{self.panel.path}"

    @property
    def note(self) -> str:
        """What keeps the class from coming in, in a sentence; nothing if all is well."""
        if shown_host(self.host) != "localhost":
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
        link = f'<p><a href="{self.console}" target="_blank">The console</a></p>'
        return {"text/html": shown["text/html"] + note + link, "text/plain": repr(self)}

    # What the instructor does

    def cut(self) -> None:
        """Drop everyone's line. Everybody comes back, and gets what was missed."""
        self.server.run(self._buttons()[DROP]())

    def freeze(self) -> None:
        """Let nothing pass on anybody's line, until it is thawed."""
        self.server.run(self._buttons()[FREEZE]())

    def thaw(self) -> None:
        """Let everything pass again."""
        self.server.run(self._buttons()[THAW]())

    def _buttons(self) -> dict[str, Callable[[], Awaitable[None]]]:
        async def press(action: str) -> None:
            getattr(self.link, action)()

        return {label: partial(press, action) for label, action in BUTTONS.items()}

    def look(self) -> Picture:
        """Return what the console shows."""
        rows = self.seats.rows()
        facts = {
            "join code": self.code,
            "students": len(rows),
            "caught up": sum(row.state == CAUGHT_UP for row in rows),
            "messages": self.seats.log.head,
            "line": "frozen" if self.link.frozen else "open",
        }
        buttons = [DROP, THAW if self.link.frozen else FREEZE]
        return Picture("The class", facts, COLUMNS, list(map(_client, rows)), buttons, self.note)

    # How it is put together

    def build(self) -> web.Application:
        """Make the console's application. While it is served, so are the chat and the line."""
        _allow_connections()
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
        app = create_app(self.seats, db=self.db, recovery=recovery, keep=self.keep)
        app.middlewares.insert(0, self._note_address)
        return app

    @web.middleware
    async def _note_address(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Note whose request it is: the server sees the link in the place of everybody."""
        peer = request.get_extra_info("peername")  # None if it is gone already
        ADDRESS.set(self.link.client_at(peer[1]) if peer else None)
        return await handler(request)


def _allow_connections() -> None:
    """Let this process have more files open: a student's connection takes three, or six.

    The usual limit, 1,024, is one of old programs; the system lets each raise it for itself.
    """
    try:
        import resource
    except ImportError:  # Windows: there is no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _client(row: Row) -> Client:
    name, *values = row
    return Client(name, values, healthy=row.state == CAUGHT_UP)
