"""00 · Start here: an echo in capital letters.

Properties: any text comes back, all of it in capital letters; once, in its turn, and only to the
tab that sent it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chatlab.course import Judgement, judged, should_show
from chatlab.history import Diagram, History
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
        said = [should_show(eve, *map(str.upper, TEXTS)), should_show(dan)]
        for one in said:
            one.diagram = None if one.solved else _drawn(trial.history)
        return said


def _drawn(history: History) -> Diagram:
    """Draw what an echo did: its answer is the message, in letters of any size, and is for one tab.

    The picture of a chat would call the answer another message, and lost to everybody else.
    """
    sent = {event.text.upper(): event.text for event in history if event.kind == "send"}
    echoed = (
        replace(event, text=sent.get((event.text or "").upper(), event.text)) for event in history
    )
    diagram = Diagram(History(echoed))
    for step in diagram.steps:
        for who, arrivals in step.arrivals.items():
            if who != step.actions[0].who:
                arrivals[:] = [one for one in arrivals if one.how != "lost"]
    return diagram
