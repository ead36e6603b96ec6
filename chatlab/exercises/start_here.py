"""00 · Start here: an echo in capital letters.

Properties: any text comes back, all of it in capital letters; once, in its turn, and only to the
tab that sent it.
"""

from __future__ import annotations

from collections.abc import Callable

from chatlab.course import Judgement, judged, should_show
from chatlab.lab import Lab

TEXTS = ("hello", "Where are you, Dan?", "hello")


@judged
async def check(server: Callable[..., None]) -> list[Judgement]:
    """Let one tab say several things while another listens."""
    async with Lab(server, name="check") as trial:
        dan, eve = await trial.join("dan", "eve")
        for text in TEXTS:
            await eve.send(text)
        await trial.quiet()
        return [should_show(eve, *map(str.upper, TEXTS)), should_show(dan)]
