"""How a class is invited: the address and the join code, as text and as a QR code.

The code stands in the fragment of the address. A browser keeps that to itself: it is sent to no
server, so it is in no log either. The QR code needs the package segno; the text does not.
"""

from __future__ import annotations

import socket
from base64 import b64encode
from html import escape
from io import BytesIO
from typing import Any

ANY_ADDRESS = ("0.0.0.0", "::", "")
"""Hosts that mean every address of this machine."""
ELSEWHERE = {"::": (socket.AF_INET6, "2001:db8::1")}
"""An address that nobody has; they are reserved for examples."""
QUIET = 4
"""Modules of empty space around a QR code, as its standard (ISO/IEC 18004) wants it."""
BLACK_ON_WHITE, PLAIN = "\033[38;5;16;48;5;231m", "\033[0m"
"""Colours of a terminal, named outright: a QR code should be dark on light on every screen."""
HALVES = " ▄▀█"
"""Two modules in one character, the upper one counting twice."""
NO_QR = "For a QR code, install segno: pip install 'chatlab[class]'."


class Invitation:
    """What to show to a class. Show it in a cell, or print it."""

    def __init__(self, url: str, code: str) -> None:
        self.url, self.code = url, code

    @property
    def link(self) -> str:
        """The address with the code in it."""
        return f"{self.url}/#code={self.code}"

    def __str__(self) -> str:
        return f"Join at {self.url} with the code {self.code}"

    __repr__ = __str__

    def terminal(self) -> str:
        """Draw the QR code for a terminal; say how to get one if there is none."""
        if (qr := self._qr()) is None:
            return NO_QR
        rows = [bytes(row) for row in qr.matrix_iter(border=QUIET)]
        rows += [bytes(len(rows[0]))] * (len(rows) % 2)
        lines = (
            "".join(HALVES[2 * upper + lower] for upper, lower in zip(*pair, strict=True))
            for pair in zip(rows[::2], rows[1::2], strict=True)
        )
        return "\n".join(f"{BLACK_ON_WHITE}{line}{PLAIN}" for line in lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        qr, picture = self._qr(), f"<p>{escape(NO_QR)}</p>"
        if qr is not None:
            drawn = BytesIO()
            qr.save(drawn, kind="svg", scale=8, border=QUIET, light="#fff")
            source = b64encode(drawn.getvalue()).decode()
            words = f"QR code: the address {self.link}"
            picture = f'<img alt="{escape(words)}" src="data:image/svg+xml;base64,{source}">'
        text = (
            f"<p>Join at <strong>{escape(self.url)}</strong> "
            f"with the code <strong>{escape(self.code)}</strong></p>"
        )
        return {"text/html": picture + text, "text/plain": str(self)}

    def _qr(self) -> Any:
        """Return the QR code; None if segno is not installed."""
        try:
            import segno
        except ImportError:
            return None
        return segno.make_qr(self.link)


def shown_host(host: str) -> str:
    """Return how this machine is called in an address, if it listens on `host`.

    That is "localhost" if no other machine can reach it.
    """
    found = network_address(host) if host in ANY_ADDRESS else host
    if found in (None, "127.0.0.1", "::1"):
        return "localhost"
    return f"[{found}]" if ":" in found else found


def network_address(host: str = "") -> str | None:
    """Return this machine's address in its network; None if it is in none.

    A UDP socket is connected, which sends nothing: the system only looks up the way.
    """
    family, elsewhere = ELSEWHERE.get(host, (socket.AF_INET, "192.0.2.1"))
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
        except OSError:
            return None
        return probe.getsockname()[0]
