"""Numbers drawn as bars, one below the other, so that one sees at a glance which are large.

Pure: the drawing follows from the numbers alone. It comes twice, as a picture and as a table that
says the same in words, for those who do not see the picture.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import Any

LABELS, WIDTH, NUMBERS = 200, 400, 90
"""Pixels for the labels, for the longest bar, and for the numbers."""
TOP, ROW = 40, 26
STYLE = "text { font: 13px sans-serif; fill: #222 } .name { font: bold 15px sans-serif }"


class Bars:
    """A bar for each number. Show it in a cell, or print it.

    `title` says what is counted, and in which unit; `numbers` has a label for each number, from top
    to bottom. The bars are as long as the numbers say: none is below 0, and not all are 0.
    """

    def __init__(self, title: str, numbers: Mapping[str, int]) -> None:
        if min(numbers.values(), default=0) < 0 or max(numbers.values(), default=0) == 0:
            raise ValueError("bars need numbers from 0 up, and one that is not 0")
        self.title, self.numbers = title, dict(numbers)

    def __str__(self) -> str:
        wide = max(map(len, self.numbers))
        far = max(len(f"{number:,}") for number in self.numbers.values())
        rows = [f"{label:{wide}}  {number:{far},}" for label, number in self.numbers.items()]
        return "\n".join([self.title, *rows])

    __repr__ = __str__

    @property
    def summary(self) -> str:
        """A sentence for those who do not see the picture."""
        least, most = (choose(self.numbers, key=self.numbers.get) for choose in (min, max))
        return (
            f"Bar chart: {self.title}; from {self.numbers[least]:,} ({least}) "
            f"to {self.numbers[most]:,} ({most})."
        )

    @property
    def svg(self) -> str:
        """The picture, as the text of an SVG file."""
        wide, high = LABELS + WIDTH + NUMBERS, TOP + ROW * len(self.numbers)
        size = f'width="{wide}" height="{high}"'
        pieces = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {wide} {high}">',
            f"<title>{escape(self.summary)}</title>",
            f"<desc>{escape(str(self))}</desc>",
            f'<style>{STYLE}</style><rect {size} fill="#fff"/>',
            f'<text class="name" x="12" y="24">{escape(self.title)}</text>',
        ]
        most = max(self.numbers.values())
        for place, (label, number) in enumerate(self.numbers.items()):
            y, length = TOP + ROW * place, round(WIDTH * number / most)
            pieces += [
                f'<text x="{LABELS - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
                f'<rect class="bar" x="{LABELS}" y="{y}" width="{length}" height="18" '
                'fill="#1f4e79"/>',
                f'<text x="{LABELS + length + 8}" y="{y + 14}">{number:,}</text>',
            ]
        return "\n".join([*pieces, "</svg>"])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        source = b64encode(self.svg.encode()).decode()
        html = f'<img alt="{escape(self.summary)}" src="data:image/svg+xml;base64,{source}">'
        return {"text/html": html, "text/plain": str(self)}
