"""Numbers drawn as bars, one below the other, so that a reader sees at once which are large.

Pure: the drawing follows from the numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from chatlab.history import Figure
from chatlab.mistakes import BadArgument, expect

LABELS, WIDTH, NUMBERS = 200, 400, 90
"""Pixels for the labels, for the longest bar, and for the numbers."""
TOP, ROW = 40, 26
LOOKS = "text { font: 13px sans-serif; fill: #222 } .name { font: bold 15px sans-serif }"


class Bars(Figure):
    """A bar for each number, as long as the number says. Show it in a cell, or print it.

    `title` says what is counted, and in which unit; `numbers` has a label for each number, from top
    to bottom. Raises ValueError if a number is below 0, or if all are 0.
    """

    def __init__(self, title: str, numbers: Mapping[str, int]) -> None:
        rule = 'bars need a number for each label, as in {"one": 1}'
        expect(isinstance(numbers, Mapping), rule, numbers)
        for number in numbers.values():
            expect(isinstance(number, int | float), rule, number)
        if min(numbers.values(), default=0) < 0 or max(numbers.values(), default=0) == 0:
            raise BadArgument("bars need numbers from 0 up, and one that is not 0")
        self.title, self.numbers = title, dict(numbers)

    def __str__(self) -> str:
        wide = max(map(len, self.numbers))
        far = max(len(f"{number:,}") for number in self.numbers.values())
        rows = [f"{label:{wide}}  {number:{far},}" for label, number in self.numbers.items()]
        return "\n".join([self.title, *rows])

    @property
    def summary(self) -> str:
        least, most = (choose(self.numbers, key=self.numbers.get) for choose in (min, max))
        return (
            f"Bar chart: {self.title}; from {self.numbers[least]:,} ({least}) "
            f"to {self.numbers[most]:,} ({most})."
        )

    @property
    def svg(self) -> str:
        pieces = [f'<text class="name" x="12" y="24">{escape(self.title)}</text>']
        most = max(self.numbers.values())
        for place, (label, number) in enumerate(self.numbers.items()):
            y, length = TOP + ROW * place, round(WIDTH * number / most)
            pieces += [
                f'<text x="{LABELS - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
                f'<rect class="bar" x="{LABELS}" y="{y}" width="{length}" height="18" '
                'fill="#1f4e79"/>',
                f'<text x="{LABELS + length + 8}" y="{y + 14}">{number:,}</text>',
            ]
        width, height = LABELS + WIDTH + NUMBERS, TOP + ROW * len(self.numbers)
        return self._svg_file(width, height, f"<style>{LOOKS}</style>", pieces)
