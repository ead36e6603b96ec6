"""A picture that a notebook shows, and the same in words for readers who do not see the picture.

It must not know what is drawn.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import Any


class Figure:
    """A picture with words. A subclass draws it, sums it up, and writes it as a table (`str`)."""

    svg: str
    """The picture, as the text of an SVG file."""
    summary: str
    """The alternative text of the picture: one sentence."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        source = b64encode(self.svg.encode()).decode()
        html = f'<img alt="{escape(self.summary)}" src="data:image/svg+xml;base64,{source}">'
        return {"text/html": html, "text/plain": str(self)}

    def _svg_file(
        self, width: int, height: int, style: str, pieces: list[str], left: int = 0
    ) -> str:
        """Return an SVG file with the pieces, a white background, and the words as metadata.

        `left` is the coordinate of the left edge.
        """
        size = f'width="{width}" height="{height}"'
        head = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="{left} 0 {width} {height}">',
            f"<title>{escape(self.summary)}</title>",
            f"<desc>{escape(str(self))}</desc>",
            f'{style}<rect x="{left}" {size} fill="#fff"/>',
        ]
        return "\n".join([*head, *pieces, "</svg>"])
