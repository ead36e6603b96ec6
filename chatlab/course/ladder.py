"""A ladder of ever nastier evenings for a server that somebody has written: how far does it get?

It runs the evenings, and says in the words of the course why a server fell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from chatlab.course.rungs import RUNGS, Rung
from chatlab.history import Diagram, History, Verdict, check
from chatlab.lab import Lab

PATIENCE = 5.0
"""Seconds after which an evening that does not come to its end is a fall."""
_LABS = count(1)
"""The numbers of the labs: one that a blocked server keeps open is in nobody's way."""


@dataclass(frozen=True)
class Climb:
    """How far a server got: so many rungs, and why it fell at the next, if there is one."""

    reached: int
    why: str
    """What went wrong at the rung that was not reached; no words at the top."""
    history: History = field(repr=False)
    """What happened on the last evening."""

    @property
    def fell(self) -> Rung | None:
        """The rung that was not reached; None at the top."""
        return RUNGS[self.reached] if self.reached < len(RUNGS) else None

    def diagram(self) -> Diagram:
        """Draw the last evening: the one that went wrong, if one did."""
        return Diagram(self.history)

    def __str__(self) -> str:
        names = [f"{number:2} {rung.name}" for number, rung in enumerate(RUNGS, 1)]
        lines = [f"{name:21}reached" for name in names[: self.reached]]
        if self.fell is None:
            return "\n".join([*lines, "the top: every rung is reached"])
        lines.append(f"{names[self.reached]:21}fell: {self.why}")
        return "\n".join([*lines, f"   it asks: {self.fell.asks}"])

    __repr__ = __str__


async def climb(server: Callable[..., None]) -> Climb:
    """Let a server climb, rung by rung, until it falls or is at the top.

    `server` registers its handlers, as it does in a Lab. Whatever it does, it falls at a rung and
    raises nothing here, and every lab is closed.
    """
    for reached, rung in enumerate(RUNGS):
        lab = Lab(server, name=f"ladder {next(_LABS)}", **rung.options)
        if why := await _attempt(rung, lab):
            return Climb(reached, why, evening(lab.history))
    return Climb(len(RUNGS), "", evening(lab.history))


async def _attempt(rung: Rung, lab: Lab) -> str:
    """Live through the evening of a rung; return what is wrong, in a sentence, or no words."""
    why = None
    try:
        async with lab, asyncio.timeout(rung.patience * PATIENCE):
            why = _fault(await rung.evening(lab))
    except Exception as error:  # whatever a learner's server may raise
        if why is None:  # and not when the evening is over, and a stream loses its log
            why = explained(error, lab.history)
    return why


def explained(error: Exception, history: History) -> str:
    """Say why an evening did not come to its end."""
    if isinstance(error, TimeoutError):
        return str(error) or _unfinished(history)
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"an error came up, {type(error).__name__}: {error}"


def evening(lived: History) -> History:
    """Return what happened before a lab was closed: no evening closes a tab."""
    history = History()
    for event in lived:
        if event.kind != "close":
            history.record(event.kind, event.who, event.text, event.offset)
    return history


def _fault(result: Verdict | str) -> str:
    """Return what is wrong at the end of an evening, or no words."""
    if isinstance(result, Verdict):
        return "" if result.valid else str((*result.faults, result.doubt)[0])
    return result


def _unfinished(history: History) -> str:
    """Say what an evening still waits for."""
    if waiting := check(history).unacknowledged:
        return f'no answer to the message "{waiting[0].text}": has it a handler, and does that end?'
    return "it does not come to rest: does a handler go on for ever, or ask again and again?"
