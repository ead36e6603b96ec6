"""01 · Live only: a server that sends the history to each tab that joins.

Properties: the one who joins gets all texts, in their order, each once, also after a reload; nobody
else gets them again; it works for the second who joins as for the first, for any texts, and for
many; what is sent afterwards still reaches everybody; another server begins with nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from chatlab.course import Judgement, judged, should_show
from chatlab.lab import Lab

FIRST, THEN = ("one", "two"), ("three", "two", *"abcdefgh")
"""What is sent before the second tab joins, and after it; one text comes twice."""


@judged
async def check(server: Callable[..., None]) -> list[Judgement]:
    """Let tabs join before, between and after some messages; each should show all of them."""
    async with Lab(server, name="check") as trial:
        dan = await trial.join("dan")
        for text in FIRST:
            await dan.send(text)
        eve = await trial.join("eve")
        await trial.quiet()
        at_first = [should_show(tab, *FIRST) for tab in (dan, eve)]
        if not all(judgement.solved for judgement in at_first):
            return at_first
        for text in THEN:
            await eve.send(text)
        fay = await trial.join("fay")
        await eve.reload()
        await trial.quiet()
        shown = [should_show(tab, *FIRST, *THEN) for tab in (dan, eve, fay)]
    async with Lab(server, name="check") as trial:
        return [*shown, should_show(await trial.join("gus"))]
