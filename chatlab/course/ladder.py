"""A ladder of harder and harder scenarios for a learner's server: how far does it get?

There is a second one for a server that runs twice. This module runs the scenarios, and says in the
words of the course why a server failed. The rungs are in `rungs`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from traceback import extract_tb

from chatlab.course.rungs import LADDERS, RUNGS, Rung
from chatlab.history import Diagram, History, Verdict, check
from chatlab.lab import Lab
from chatlab.mistakes import InOneSentence, awaited, expect, is_count

PATIENCE = 5.0
"""Seconds after which a server falls if a scenario has not ended."""
_LABS = count(1)
"""Numbers for the names of the labs: a blocked server may keep an old lab open."""


@dataclass(frozen=True)
class Climb:
    """The result of `climb`: how many rungs a server reached, and why it fell at the next."""

    reached: int
    why: str
    """What went wrong at the next rung; "" at the top."""
    history: History = field(repr=False)
    """What happened in the last scenario."""
    costs: tuple[str, ...] = field(repr=False)
    """For each rung that was reached, what the server makes others wait for; "" for nothing."""
    rungs: tuple[Rung, ...] = field(default=RUNGS, repr=False)
    """The ladder."""

    @property
    def fell(self) -> Rung | None:
        """The rung that was not reached; None at the top."""
        return self.rungs[self.reached] if self.reached < len(self.rungs) else None

    def diagram(self) -> Diagram:
        """Draw the last scenario: the one that went wrong, if one did."""
        return Diagram(self.history)

    def __str__(self) -> str:
        names = [f"{number:2} {rung.name}" for number, rung in enumerate(self.rungs, 1)]
        ends = [f", but {cost}" if cost else "" for cost in self.costs]
        lines = [f"{name:21}reached{end}" for name, end in zip(names, ends, strict=False)]
        if self.fell is None:
            return "\n".join([*lines, "the top: every rung is reached"])
        lines.append(f"{names[self.reached]:21}fell: {self.why}")
        return "\n".join([*lines, f"   it asks: {self.fell.asks}"])

    __repr__ = __str__


@awaited
async def climb(server: Callable[..., None], servers: int = 1) -> Climb:
    """Run the scenarios in order, until the server fails at one or has passed all.

    `server` registers its handlers, as it does in a Lab. An error in it is not raised: the server
    falls, and every lab is closed. With `servers=2` the ladder is that of a server which runs
    twice: it needs PostgreSQL, and raises BadMoment without.
    """
    there = is_count(servers) and servers in LADDERS
    expect(there, "there is a ladder for one server, and one for two", servers)
    rungs, costs = LADDERS[servers], []
    for rung in rungs:
        lab = rung.lab(server, f"ladder {next(_LABS)}")
        why = await _attempt(rung, lab)
        if why:
            break
        costs.append(rung.cost(lab.history))
    return Climb(len(costs), why, before_closing(lab.history), tuple(costs), rungs)


async def _attempt(rung: Rung, lab: Lab) -> str:
    """Run the scenario of a rung; return a sentence that says what is wrong, "" if nothing is."""
    why = None
    try:
        async with lab, asyncio.timeout(rung.patience * PATIENCE):
            result = await rung.scenario(lab)
            why = _fault(result) if isinstance(result, Verdict) else result
    except Exception as error:  # a learner's server may raise anything
        if why is None:  # an error while the lab closes does not change the result
            why = explained(error, lab.history)
    return why


def _fault(verdict: Verdict) -> str:
    return "" if verdict.valid else str((*verdict.faults, verdict.doubt)[0])


def explained(error: BaseException, history: History) -> str:
    """Return a sentence that says why a scenario did not end."""
    if isinstance(error, TimeoutError):
        return str(error) or _unfinished(history)
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    told = isinstance(error, InOneSentence)
    kind = "" if told else f"an error came up, {type(error).__name__}: "
    return f"{kind}{error}{_line_of(error)}"


def _line_of(error: BaseException) -> str:
    """Name the innermost line of the reader's code that raised an error: it is in no real file."""
    lines = [
        frame.line
        for frame in extract_tb(error.__traceback__)
        if frame.line and not Path(frame.filename).exists()
    ]
    return f", in the line `{lines[-1]}`" if lines else ""


def _unfinished(history: History) -> str:
    if waiting := check(history).unacknowledged:
        return f'no answer to the message "{waiting[0].text}": has it a handler, and does that end?'
    return (
        "it does not come to rest: does a handler go on for ever, ask again and again, "
        "or wait for something other than `log.newer`?"
    )


def before_closing(history: History) -> History:
    """Leave out the "close" events, which only the end of the lab causes."""
    return History((event for event in history if event.kind != "close"), history.stored)
