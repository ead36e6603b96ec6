"""The server of a panel: it sends the picture to the browsers, and does what their buttons say.

The caller gives it the picture and an action for each button. A browser gets the changes of the
picture on a WebSocket, and sends the press of a button as a request. It knows aiohttp, and neither
labs nor chats.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from chatlab.page import PAGE
from chatlab.panel.picture import Picture

HERE = Path(__file__).parent
FILES = {
    "": HERE / "panel.html",
    "panel.js": HERE / "panel.js",
    "panel.css": HERE / "panel.css",
    "style.css": PAGE / "style.css",
}
KEY_BYTES = 24
"""Random bytes in the address of a panel: without the address nobody can look or press."""
VIEWERS = web.AppKey("viewers", set)
"""Where the application keeps the open WebSockets."""
LARGEST_PRESS = 4096
"""The most bytes of a request, such as the press of a button."""
LARGEST_REPORT = 150_000
"""The most bytes of a report from the page in the frame: a report can contain a message."""
UNREADABLE = (ValueError, RecursionError)
"""What `json.loads` raises for a text that is no JSON, or JSON that is too deep."""
TICK = 0.1
"""Seconds between two pictures. Only the parts that have changed are sent."""
CLOSING = 1.0
"""Seconds in which the streams to the viewers have to close when the panel closes."""
FORWARDED = "X-Forwarded-Context"
"""The header that jupyter-server-proxy adds: under which path it was asked."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; frame-src *; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",  # the address contains the key
    "X-Content-Type-Options": "nosniff",
}


class Panel:
    """A panel. Serve its `app`; the panel is then at `path`.

    `picture` returns what the panel shows now. `buttons` has an action for each button: the panel
    calls it with the name of a client, or without arguments. Only buttons that the picture offers
    can be pressed. A viewer is a browser window that shows the panel. The panel calls `on_report`
    with a viewer and a report from the page in the viewer's frame, or with None instead of a report
    when the viewer has left. Browsers may ask for the panel under the host name localhost, the
    names in `hosts`, any IP address, and the name of a Jupyter that forwards requests to it.
    """

    def __init__(
        self,
        picture: Callable[[], Picture],
        buttons: Mapping[str, Callable[..., Awaitable[object]]],
        *,
        on_report: Callable[[object, Any], None] = lambda viewer, report: None,
        hosts: Iterable[str] = (),
    ) -> None:
        self.picture, self.buttons, self.on_report = picture, dict(buttons), on_report
        self.hosts = {"localhost", *hosts}
        self.key = secrets.token_urlsafe(KEY_BYTES)

    @property
    def path(self) -> str:
        """Where the panel is in its application, without a slash in front."""
        return f"{self.key}/"

    def app(self) -> web.Application:
        """Make the application of the panel, to serve it or to add it to another application."""
        app = web.Application(middlewares=[self._guard], client_max_size=LARGEST_PRESS)
        for name, file in FILES.items():
            app.router.add_get(f"/{{key}}/{name}", partial(_file, file))
        app.router.add_get("/{key}/state", self._stream)
        app.router.add_post("/{key}/press", self._press)
        app[VIEWERS] = set()
        app.on_shutdown.append(_close_streams)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse requests without the key, and those of other pages in the same browser."""
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = _refusal(error.status, error.text or error.reason)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _check(self, request: web.Request) -> None:
        """Raise the answer to a request that may not use the panel."""
        key = request.match_info.get("key", "")
        if not secrets.compare_digest(key.encode(), self.key.encode()):
            raise web.HTTPNotFound(text="there is nothing here")
        if not self._is_our_name(request):
            raise web.HTTPForbidden(text="the panel is not known by this name")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden(text="another page may not use the panel")

    def _is_our_name(self, request: web.Request) -> bool:
        """Return whether a browser may ask for the panel by this host name.

        A foreign host name that leads to this machine would give a foreign page the right origin
        (DNS rebinding). A Jupyter that forwards requests has a name of its own, and checks its
        users itself. It says so in the requests for files, and not in those for a WebSocket.
        """
        try:
            host = request.url.host or ""
            if (
                FORWARDED in request.headers
            ):  # a foreign page could say it too: it does not have the key
                self.hosts.add(host)
            return host in self.hosts or ipaddress.ip_address(host) is not None
        except ValueError:
            return False

    async def _press(self, request: web.Request) -> web.Response:
        """Do what a button does; answer what was done, or which error it was."""
        button, *client = await _read_press(request)
        words = " ".join([button, *client])
        try:
            self._check_offered(button, *client)
            await self.buttons[button](*client)
        except web.HTTPException:
            raise
        except Exception as error:  # an action may raise anything: it is the answer to this press
            return _refusal(500, f"{words}: {_sentence(error)}")
        return web.json_response({"done": words})

    def _check_offered(self, button: str, name: str | None = None) -> None:
        """Raise the answer that says why a button cannot be pressed, if it cannot."""
        if button not in self.buttons:
            raise web.HTTPNotFound(text=f"there is no button {button!r}")
        picture = self.picture()
        clients = {client.name: client for client in picture.clients}
        if name is not None and name not in clients:
            raise web.HTTPNotFound(text=f"there is no client {name!r}")
        if button not in (picture if name is None else clients[name]).buttons:
            whom = "" if name is None else f" for {name}"
            raise web.HTTPConflict(text=f"{button!r} cannot be pressed{whom} now")

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        """Send changes to a viewer, and receive reports, until the viewer leaves."""
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=LARGEST_REPORT)
        try:
            await socket.prepare(request)
        except ValueError:  # in a header that has to be ASCII
            raise web.HTTPBadRequest(text="this is no request for a WebSocket") from None
        request.app[VIEWERS].add(socket)
        sending = asyncio.create_task(self._send_changes(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._receive_report(socket, message.data)
        finally:
            request.app[VIEWERS].discard(socket)
            sending.cancel()
            await asyncio.wait([sending])
            self.on_report(socket, None)
        return socket

    async def _send_changes(self, socket: web.WebSocketResponse) -> None:
        """Send the parts of the picture that have changed, again and again."""
        sent: dict[str, str] = {}
        while not socket.closed:
            now = self._parts()
            if news := [f'"{part}":{now[part]}' for part in now if sent.get(part) != now[part]]:
                try:
                    await socket.send_str(f"{{{','.join(news)}}}")
                except ConnectionError:  # the viewer has left
                    return
            sent = now
            await asyncio.sleep(TICK)  # nothing announces a change in the picture

    def _parts(self) -> dict[str, str]:
        """Return the parts of the picture as JSON, or the error that prevents it."""
        try:
            parts = vars(self.picture()) | {"error": ""}
            # Not with `asdict`: for a thousand rows it takes a tenth of a second in each second.
            return {part: json.dumps(value, default=vars) for part, value in parts.items()}
        except Exception as error:  # shown on the page, whatever it is: the panel goes on
            return {"error": json.dumps(f"the picture cannot be made: {_sentence(error)}")}

    def _receive_report(self, viewer: object, text: str) -> None:
        try:
            report = json.loads(text)
        except UNREADABLE:
            return
        if isinstance(report, dict):
            self.on_report(viewer, report)


async def _read_press(request: web.Request) -> list[str]:
    """Return the button that was pressed, and the client if it is a button of a client."""
    if request.content_type != "application/json":  # a form of another page cannot send this type
        raise web.HTTPUnsupportedMediaType(text="a press is sent as application/json")
    try:
        press = json.loads(await request.read())  # `request.json` fails on an unknown charset
    except UNREADABLE:
        raise web.HTTPBadRequest(text="a press is sent as JSON") from None
    match press:
        case {"button": str(button), "client": str(client)}:
            return [button, client]
        case {"button": str(button), **more} if more.get("client") is None:
            return [button]
    raise web.HTTPBadRequest(text='a press is {"button": "..."}, or has a "client" too')


async def _file(path: Path, request: web.Request) -> web.FileResponse:
    return web.FileResponse(path)


async def _close_streams(app: web.Application) -> None:
    """Close the streams to all viewers: the application waits for open streams when it closes."""
    with suppress(TimeoutError):  # a viewer that does not read cannot answer the closing
        async with asyncio.timeout(CLOSING):
            await asyncio.gather(*(viewer.close() for viewer in list(app[VIEWERS])))


def _sentence(error: Exception) -> str:
    """Return the type of an error, and its text if it has one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refusal(status: int, sentence: str) -> web.Response:
    """Make an answer that says what was wrong. The script of the panel shows the sentence."""
    return web.json_response({"error": sentence}, status=status)
