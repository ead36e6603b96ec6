"""The addresses under which a server of this machine is found: by a browser here, and by others.

This module must not know what is served.
"""

from __future__ import annotations

import socket
from contextlib import suppress

ANY_ADDRESS = ("0.0.0.0", "::", "")
"""Hosts that mean every address of this machine. None of them is an address to open."""


def url(host: str, port: int) -> str:
    """Return the http address of a server that listens on `host`, for a client in this program."""
    if host in ANY_ADDRESS:
        host = "::1" if host == "::" else "127.0.0.1"
    return f"http://{_bracketed(host)}:{port}"


def where(host: str, port: int) -> str:
    """Return the address of a server that listens on `host`, for a browser on this machine.

    If `host` is every address, the one for other machines stands behind it, if there is one.
    """
    here = "localhost" if host in (*ANY_ADDRESS, "127.0.0.1") else _bracketed(host)
    others = network_address(host) if host in ANY_ADDRESS else None
    shown = f"http://{here}:{port}"
    return f"{shown}, for other machines on http://{_bracketed(others)}:{port}" if others else shown


def shown_host(host: str) -> str:
    """Return the host for the address that others need for a server that listens on `host`.

    It is "localhost" if no other machine can reach the server.
    """
    found = network_address(host) if host in ANY_ADDRESS else host
    return "localhost" if found in (None, "127.0.0.1", "::1") else _bracketed(found)


def network_address(host: str = "") -> str | None:
    """Return this machine's address in its network; None if it is in no network.

    `host`, one of ANY_ADDRESS, is where the server listens. The address is one of IPv4 if there is
    one. Connecting a UDP socket sends nothing: the system only chooses a route, and so an address
    of this machine. The other address is one that is reserved for examples.
    """
    ways = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]
    for family, example in ways[:1] if host == "0.0.0.0" else ways:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((example, 9))
            return probe.getsockname()[0]
    return None


def _bracketed(host: str) -> str:
    """Return a host as it stands in an http address, where a colon begins the port."""
    return f"[{host}]" if ":" in host else host
