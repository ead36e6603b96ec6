"""The chat page as a server serves it: all of its parts are of one version, and none is stale.

It knows the files of the page and aiohttp. It must not know Socket.IO or the chat.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from aiohttp import ETag, hdrs, web

from chatlab.page import BROWSER_CLIENT, PAGE

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
"""What is served, and as what. A machine may have other ideas of the types, and then no script
runs."""
CLIENT = BROWSER_CLIENT.relative_to(PAGE).as_posix()
LOADING = "loading.js"
"""The script that says that another part is missing. It is served at the address of any version."""
POLICY = (
    "default-src 'none'; script-src 'self' https://cdn.socket.io; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""What the page may load: its own parts, and the Socket.IO client from its CDN."""


class Part(NamedTuple):
    """A file of the page."""

    body: bytes
    kind: str
    etag: str


class Site:
    """The parts of the page, as they are when the server is made.

    The address of a part contains the version of the whole page, and scripts import each other from
    beside them. So a page that is loaded while the server is updated gets no part of another
    version: that part is missing, and the page says so. A browser asks each time whether what it
    has kept is still right.
    `frames` are the pages that may show the page in a frame, as a policy names them; None: any.
    """

    def __init__(self, frames: str | None = None) -> None:
        self._policy = POLICY + (f"; frame-ancestors {frames}" if frames else "")
        paths = sorted(path for path in PAGE.rglob("*") if path.suffix in TYPES)
        files = {path.relative_to(PAGE).as_posix(): path.read_bytes() for path in paths}
        self.version = _digest(repr(files).encode())
        versioned = f'"{self.version}/page/'.encode()
        files["index.html"] = files["index.html"].replace(b'"page/', versioned)
        self._parts = {name: _part(name, body) for name, body in files.items()}

    def add_to(self, app: web.Application) -> None:
        """Add the routes. The page is at the root, also of an application that is mounted."""
        app.router.add_get("/", self._index)
        app.router.add_get("", _to_root)  # the prefix without the slash, where there is a prefix
        app.router.add_get("/socket.io/socket.io.js", self._browser_client)
        app.router.add_get("/{version}/page/{name:.+}", self._versioned)

    async def _index(self, request: web.Request) -> web.Response:
        response = _answer(request, self._parts["index.html"])
        response.headers["Content-Security-Policy"] = self._policy
        return response

    async def _versioned(self, request: web.Request) -> web.Response:
        version, name = request.match_info["version"], request.match_info["name"]
        if name not in self._parts or (version != self.version and name != LOADING):
            raise web.HTTPNotFound
        return _answer(request, self._parts[name])

    async def _browser_client(self, request: web.Request) -> web.Response:
        """Serve the official client where every Socket.IO server serves it."""
        if client := self._parts.get(CLIENT):
            return _answer(request, client)
        return web.Response(status=404, text="The Socket.IO browser client is not installed here.")


async def _to_root(request: web.Request) -> web.Response:
    """Send the browser from `/chat` to `/chat/`, since the page's addresses are relative to that.

    The new address is relative too: a proxy may have cut off what stood in front of it.
    """
    query = f"?{request.rel_url.raw_query_string}" if request.query_string else ""
    raise web.HTTPFound(f"./{request.rel_url.raw_name}/{query}")


def _answer(request: web.Request, part: Part) -> web.Response:
    """Return a part, or 304 if the browser has it already."""
    headers = {hdrs.CACHE_CONTROL: "no-cache", "X-Content-Type-Options": "nosniff"}
    if any(etag.value in (part.etag, "*") for etag in request.if_none_match or ()):
        response = web.Response(status=304, headers=headers)
    else:
        content = {"body": part.body, "content_type": part.kind, "charset": "utf-8"}
        response = web.Response(**content, headers=headers)
    response.etag = ETag(part.etag)
    return response


def _part(name: str, body: bytes) -> Part:
    return Part(body, TYPES[f".{name.rpartition('.')[2]}"], _digest(body))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
