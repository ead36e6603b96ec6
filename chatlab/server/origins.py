"""Which pages may use a chat server, and under which names a browser may ask for it.

A browser says of which origin a page is: its scheme, host and port, "https://chat.example". This
module knows the headers of requests. It must not know the chat.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

import socketio
from aiohttp import hdrs, web
from yarl import URL

LOGGER = logging.getLogger(__name__)
ORIGIN = re.compile(r"https?://[a-z0-9._:\[\]-]{1,100}")
"""What is allowed or logged. Anything else could be whatever a stranger likes to write."""
MOST_LOGGED = 10
"""How many of the addresses that it refuses a server logs."""
PAGE_REFUSED = (
    "Refused a page at {origin}, since the server is asked by another address. "
    "If the chat is there, behind a proxy, start it with --origin {origin}"
)
NAME_REFUSED = (
    "Refused to answer by the name {name}. If the chat is there, behind a proxy, "
    "start it with the address of its page, such as --origin https://{name}"
)
NAME_UNKNOWN = (
    "The chat does not know the name by which you ask for it. If it is there, behind a proxy, "
    "start it with the address of its page, such as --origin https://chat.example\n"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def check_origin(address: str) -> str:
    """Return the origin of a web address, as a browser sends it. Raises ValueError if it is none.

    "https://Chat.Example:443/chat/" has the origin "https://chat.example".
    """
    origin = str(URL(address).origin())
    if not ORIGIN.fullmatch(origin):
        raise ValueError("an origin is an address such as https://chat.example")
    return origin


def names_at(host: str) -> Collection[str] | None:
    """Return the `hosts` of a server that listens on an address: None if others reach it too.

    On a JupyterHub, other machines reach this one through the hub, by the hub's name.
    """
    if "JUPYTERHUB_SERVICE_PREFIX" in os.environ:
        return None
    return () if host == "localhost" or _is_loopback(host) else None


class Origins:
    """Decides by its headers `Origin` and `Host` whether a request is answered.

    A page may use the server if it is at the address that it asks, as python-socketio has it, or at
    one of the addresses in `allowed`. With `hosts`, a browser may ask under these names, those of
    the allowed addresses, localhost and IP addresses alone: a foreign name that leads to this
    machine would give a foreign page the right origin (DNS rebinding). None means any name.
    Raises ValueError if an address is none.
    """

    def __init__(self, allowed: Iterable[str] = (), hosts: Collection[str] | None = None) -> None:
        self.allowed = frozenset(map(check_origin, allowed))
        own_names = {"localhost", *(URL(origin).host for origin in self.allowed)}
        self._hosts = None if hosts is None else own_names | {host.lower() for host in hosts}
        self._logged: set[str] = set()

    def add_to(self, sio: socketio.AsyncServer, app: web.Application) -> None:
        """Check the requests to an application. A server with its own origins keeps them."""
        if sio.eio.cors_allowed_origins is None:
            sio.eio.cors_allowed_origins = self._socketio_asks
            app.router.add_post("/origin", self._page_asks)
        app.middlewares.insert(0, self._check_host)

    @property
    def frames(self) -> str | None:
        """The pages that may show the chat in a frame, for a policy; None means any page.

        A server that does not know its own names may be that of a notebook, in a frame of whatever
        program shows the notebook.
        """
        return None if self._hosts is None else " ".join(["'self'", *sorted(self.allowed)])

    def _socketio_asks(self, origin: str, environ: dict[str, Any]) -> bool:
        return self._is_allowed(environ["aiohttp.request"])

    async def _page_asks(self, request: web.Request) -> web.Response:
        """Tell a page whether it may use the server. Its browser does not say why it may not."""
        return web.json_response({"allowed": self._is_allowed(request)})

    def _is_allowed(self, request: web.Request) -> bool:
        origin = request.headers.get(hdrs.ORIGIN)
        if not origin or origin in self.allowed or origin in _origins_asked(request):
            return True  # without an origin, it is no page that asks, or one of the same origin
        self._log(PAGE_REFUSED, origin)
        return False

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._hosts is None or _is_our_name(request, self._hosts):
            return await handler(request)
        self._log(NAME_REFUSED, f"http://{request.host}")
        return web.Response(status=403, text=NAME_UNKNOWN)

    def _log(self, sentence: str, address: str) -> None:
        """Log a refused address once. What is none is not logged: a stranger may write anything."""
        with suppress(ValueError):
            origin = check_origin(address)
            said = sentence.format(origin=origin, name=origin.partition("://")[2])
            if said not in self._logged and len(self._logged) < MOST_LOGGED:
                self._logged.add(said)
                LOGGER.warning(said)


def _origins_asked(request: web.Request) -> Iterator[str]:
    """Return the origins of the address that was asked. A proxy may have said what it was asked."""
    host = request.headers.get(hdrs.HOST, "")
    scheme = request.headers.get(hdrs.X_FORWARDED_PROTO, request.scheme)
    forwarded = request.headers.get(hdrs.X_FORWARDED_HOST, host)
    yield f"{scheme}://{host}"
    yield f"{_first(scheme)}://{_first(forwarded)}"


def _first(values: str) -> str:
    """Return what the first of several proxies has said."""
    return values.partition(",")[0].strip()


def _is_our_name(request: web.Request, names: Collection[str]) -> bool:
    try:
        host = request.url.host or ""
        return host in names or ipaddress.ip_address(host) is not None
    except ValueError:  # no IP address, or no name at all
        return False


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
