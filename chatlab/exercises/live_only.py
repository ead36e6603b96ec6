"""01 · Live only: a server that sends the history to each tab that joins.

Properties: the one who joins gets all texts, in their order, each once; nobody else gets them
again; it works for the second who joins as for the first, and for any texts and any number of them;
what is sent afterwards still reaches everybody.
"""

from __future__ import annotations

from collections.abc import Callable

from chatlab.course import Judgement, judged, should_show
from chatlab.lab import Lab

FIRST, THEN = ("one", "two"), ("three", "two", "four")
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
        await trial.quiet()
        return [should_show(tab, *FIRST, *THEN) for tab in (dan, eve, fay)]
