"""A page that shows what goes on, and has buttons: a table of clients, a few facts, a picture.

What there is to see and to press is told to it. It knows aiohttp, and neither labs nor chats.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from chatlab.page import PAGE

Button = Callable[..., Awaitable[object]]
"""What a button does: called with the name of a client, or with nothing."""
Told = Callable[[object, Any], None]

HERE = Path(__file__).parent
SHOWN = {
    "": HERE / "panel.html",
    "panel.js": HERE / "panel.js",
    "panel.css": HERE / "panel.css",
    "style.css": PAGE / "style.css",
}
KEY_BYTES = 24
"""Random bytes in the address of a panel: who does not know it can neither look nor press."""
VIEWERS = web.AppKey("viewers", set)
LARGEST = 4096
"""Bytes that a press may have."""
LARGEST_NEWS = 150_000
"""Bytes that the page in the frame may say at a time: a message is in it."""
TICK = 0.1
"""Seconds between two looks. Only what has changed is sent."""
PARTING = 1.0
"""Seconds in which those who look are told that the panel closes."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; frame-src *; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",  # the address has the key
    "X-Content-Type-Options": "nosniff",
}


@dataclass
class Client:
    """A row of the table: one client, and the buttons that can be pressed for it now."""

    name: str
    values: list[str | int]
    """What stands in the columns after the name."""
    well: bool = True
    """Whether all is well with it. The first value says so in words."""
    buttons: list[str] = field(default_factory=list)


@dataclass
class Drawing:
    """A picture, what it shows in words, and what is written below it."""

    svg: str
    alt: str
    caption: str = ""


@dataclass
class Frame:
    """Another page, inside this one. It is loaded anew when the number of `loads` changes."""

    title: str
    source: str
    loads: int = 0


@dataclass
class Picture:
    """All that a panel shows at a moment."""

    title: str
    facts: dict[str, str | int] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)
    """The buttons that concern no client and can be pressed now."""
    note: str = ""
    """A sentence that is worth reading now."""
    drawing: Drawing | None = None
    frame: Frame | None = None


class Panel:
    """A panel, to be served at `path` by whoever has an application for it.

    `look` returns what there is to see. `buttons` has for each name what the button does: it is
    called with the name of a client, or with nothing. Only buttons that the picture offers can be
    pressed. `told`, if given, is called with a viewer and what the page in the frame says of
    itself, or None when the viewer has left. `hosts` are names under which the panel may be asked
    for, beside localhost and any address.
    """

    def __init__(
        self,
        look: Callable[[], Picture],
        buttons: Mapping[str, Button],
        *,
        told: Told = lambda viewer, news: None,
        hosts: Iterable[str] = (),
    ) -> None:
        self.look, self.buttons, self.told = look, dict(buttons), told
        self.hosts = {"localhost", *hosts}
        self.key = secrets.token_urlsafe(KEY_BYTES)

    @property
    def path(self) -> str:
        """Where the panel is in its application, without a slash in front."""
        return f"{self.key}/"

    def app(self) -> web.Application:
        """Make the application of the panel: to be served, or to be added to another one."""
        app = web.Application(middlewares=[self._guard], client_max_size=LARGEST)
        for name, file in SHOWN.items():
            app.router.add_get(f"/{{key}}/{name}", partial(_file, file))
        app.router.add_get("/{key}/state", self._stream)
        app.router.add_post("/{key}/press", self._press)
        app[VIEWERS] = set()
        app.on_shutdown.append(_send_away)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Let in who knows the key, and no other page that is open in the same browser."""
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = _refusal(error.status, error.text or error.reason)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _check(self, request: web.Request) -> None:
        key = request.match_info.get("key", "")
        if not secrets.compare_digest(key.encode(), self.key.encode()):
            raise web.HTTPNotFound(text="there is nothing here")
        if not self._may_be_called(_host(request)):
            raise web.HTTPForbidden(text="the panel is not known by this name")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden(text="another page may not use the panel")

    def _may_be_called(self, host: str) -> bool:
        """Say whether a browser may know us by this name: one that somebody else has given to this
        machine leads his page here. A hub has a name of its own, and asks who comes."""
        if host in self.hosts or "JUPYTERHUB_SERVICE_PREFIX" in os.environ:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    async def _press(self, request: web.Request) -> web.Response:
        button, *client = await _what(request)
        words = " ".join([button, *client])
        try:
            self._check_offered(button, *client)
            await self.buttons[button](*client)
        except web.HTTPException:
            raise
        except Exception as error:  # whatever a button does: its presser hears of it, and no other
            return _refusal(500, f"{words}: {_sentence(error)}")
        return web.json_response({"done": words})

    def _check_offered(self, button: str, name: str | None = None) -> None:
        """Raise an answer that says why a button cannot be pressed, if it cannot."""
        if button not in self.buttons:
            raise web.HTTPNotFound(text=f"there is no button {button!r}")
        picture = self.look()
        clients = {client.name: client for client in picture.clients}
        if name is not None and name not in clients:
            raise web.HTTPNotFound(text=f"there is no client {name!r}")
        if button not in (picture if name is None else clients[name]).buttons:
            whom = "" if name is None else f" for {name}"
            raise web.HTTPConflict(text=f"{button!r} cannot be pressed{whom} now")

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        """Send what has changed, as long as somebody looks."""
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=LARGEST_NEWS)
        await socket.prepare(request)
        request.app[VIEWERS].add(socket)
        sending = asyncio.create_task(self._show(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._hear(socket, message.data)
        finally:
            request.app[VIEWERS].discard(socket)
            sending.cancel()
            await asyncio.wait([sending])
            self.told(socket, None)
        return socket

    async def _show(self, socket: web.WebSocketResponse) -> None:
        seen: dict[str, Any] = {}
        while not socket.closed:
            now = self._seen()
            if news := {part: value for part, value in now.items() if seen.get(part, ...) != value}:
                try:
                    await socket.send_json(news)
                except ConnectionError:  # the viewer has left
                    return
            seen = now
            await asyncio.sleep(TICK)  # nobody tells when a thing that is looked at has changed

    def _seen(self) -> dict[str, Any]:
        try:
            return {**asdict(self.look()), "error": ""}
        except Exception as error:  # whatever it is, it is shown, and the panel lives on
            return {"error": f"the picture cannot be made: {_sentence(error)}"}

    def _hear(self, viewer: object, words: str) -> None:
        try:
            news = json.loads(words)
        except ValueError:
            return
        if isinstance(news, dict):
            self.told(viewer, news)


def _host(request: web.Request) -> str:
    """Return the name by which a browser asks for us; nothing if it is none."""
    try:
        return request.url.host or ""
    except ValueError:
        return ""


async def _what(request: web.Request) -> list[str]:
    """Return the button that is pressed, and the client if it is one of a client's buttons."""
    if request.content_type != "application/json":  # a form of another page cannot send that
        raise web.HTTPUnsupportedMediaType(text="a press is sent as application/json")
    try:
        asked = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(text="a press is sent as JSON") from None
    words = [asked.get("button"), asked.get("client")] if isinstance(asked, dict) else [None]
    if words[-1] is None:
        words.pop()
    if not words or not all(isinstance(word, str) for word in words):
        raise web.HTTPBadRequest(text='a press is {"button": "..."}, or has a "client" too')
    return words


async def _file(path: Path, request: web.Request) -> web.FileResponse:
    return web.FileResponse(path)


async def _send_away(app: web.Application) -> None:
    """End the streams of a panel that closes: else they would keep it waiting."""
    with suppress(TimeoutError):  # one that reads no more cannot be told
        async with asyncio.timeout(PARTING):
            await asyncio.gather(*(viewer.close() for viewer in list(app[VIEWERS])))


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refusal(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
