"""The invitation to a class: the address and the join code, as text and as a QR code.

The QR code has the join code in the fragment of the address. A browser sends the fragment to no
server, so it is in no server's log. The QR code needs the package segno; the text does not.
This module must not know the class itself.
"""

from __future__ import annotations

from html import escape
from io import StringIO
from typing import Any

WHITE_ON_BLACK, PLAIN = "\033[38;5;231;48;5;16m", "\033[0m"
"""Colours for a terminal. segno draws the light parts of a QR code in the text colour, whatever it
is; on a terminal with dark text, phones could not read that."""
NO_QR = "For a QR code, install segno: pip install 'chatlab[class]'."


class Invitation:
    """The address and the join code. Show it in a cell, or print it."""

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
        """Return the QR code, drawn with characters. Without segno: how to install it."""
        if (qr := self._qr()) is None:
            return NO_QR
        qr.terminal(drawn := StringIO(), compact=True)
        return "\n".join(f"{WHITE_ON_BLACK}{line}{PLAIN}" for line in drawn.getvalue().splitlines())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if (qr := self._qr()) is None:
            picture = f"<p>{escape(NO_QR)}</p>"
        else:
            words = escape(f"QR code: the address {self.link}")
            source = qr.svg_data_uri(scale=8, light="#fff")
            picture = f'<img alt="{words}" src="{source}">'
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
