"""The checks of the exercises: solved, or not yet and why, in the words and pictures of the course.

Whatever a reader's code raises, `exit()` included, a check raises nothing: an error is a reason
like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from traceback import extract_tb
from typing import Any

from chatlab.client import ChatClient
from chatlab.course.ladder import evening, explained
from chatlab.history import Diagram, History, Verdict, Wrong
from chatlab.lab import Lab, labs_opened

PATIENCE = 20.0
"""Seconds after which a check that does not come to its end is not solved."""

DRAWN = 60
"""Events of a history up to which it is drawn: a longer one is no picture any more."""


class Judgement(str):
    """A sentence, "solved: ..." or "not yet: ...", and the picture of what went wrong, if any."""

    __slots__ = ("diagram",)
    diagram: Diagram | None

    def __new__(cls, text: str, history: History | None = None) -> Judgement:
        made = super().__new__(cls, text)
        made.diagram = None
        if history is not None and 0 < len(history) <= DRAWN and not made.solved:
            made.diagram = Diagram(_with_texts(evening(history)))
        return made

    @property
    def solved(self) -> bool:
        return not any(line.startswith("not yet") for line in self.splitlines())

    __repr__ = str.__str__

    def _ipython_display_(self) -> None:
        """Show the sentence and, below it, the picture."""
        from IPython.display import display  # only a notebook calls this

        display({"text/plain": str(self)}, raw=True)
        if self.diagram is not None:
            display(self.diagram)


def judged(check: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the check of an exercise, so that it ends, and says why something fails.

    The check returns a Judgement, a text that begins with "solved" or "not yet", or a list of them.
    """

    @wraps(check)
    def judge(*attempt: Any) -> Judgement:
        try:
            return _joined(check(*attempt))
        except (Exception, SystemExit) as error:  # whatever a reader's code may raise
            return _failed(error)

    @wraps(check)
    async def judge_later(*attempt: Any) -> Judgement:
        with labs_opened() as labs:
            try:
                async with asyncio.timeout(PATIENCE):
                    return _joined(await check(*attempt))
            except (Exception, SystemExit) as error:  # whatever a reader's server may raise
                return _failed(error, labs[-1].history if labs else None)

    return judge_later if iscoroutinefunction(check) else judge


def should_show(tab: ChatClient, *texts: str) -> Judgement:
    """Say whether a page shows exactly these texts in this order: solved, or not yet and why."""
    shown = f"{tab.name}'s page shows {tab.messages or 'nothing'}"
    if tab.messages == list(texts):
        return Judgement(f"solved: {shown}")
    lab = Lab.of(tab)
    return Judgement(
        f"not yet: {shown}, and it should show {list(texts)}", lab.history if lab else None
    )


def should_be_valid(*verdicts: Verdict) -> Judgement:
    """Say whether all verdicts are valid: solved, or not yet and the first fault."""
    wrong = [verdict for verdict in verdicts if not verdict.valid]
    worst = (wrong or list(verdicts))[0]
    said = "; ".join(str(worst).splitlines()[:2])
    return Judgement(f"{'not yet' if wrong else 'solved'}: {said}", worst.history)


def should_go_wrong(verdict: Verdict, kind: Wrong) -> Judgement:
    """Say whether a verdict has a fault of this kind, as it should: solved, or not yet."""
    outcome = "solved" if verdict.counts[kind] else "not yet"
    return Judgement(f"{outcome}: {str(verdict).splitlines()[0]}", verdict.history)


def _joined(said: Any) -> Judgement:
    """Make one judgement of several: with the picture of the first that is not solved."""
    parts = said if isinstance(said, list) else [said]
    whole = Judgement("\n".join(parts))
    pictures = (getattr(part, "diagram", None) for part in parts)
    whole.diagram = next(filter(None, pictures), None)
    return whole


def _with_texts(history: History) -> History:
    """Return a history that can be drawn, though a server has sent something that is no text."""
    drawn = History()
    for event in history:
        text = event.text if isinstance(event.text, str | None) else repr(event.text)
        drawn.record(event.kind, event.who, text, event.offset)
    return drawn


def _failed(error: BaseException, history: History | None = None) -> Judgement:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    why = explained(error, history if history is not None else History())
    line = "" if isinstance(error, TimeoutError) else _line_of(error)
    return Judgement(f"not yet: {why}{line}", history)


def _line_of(error: BaseException) -> str:
    """Name the innermost line of a cell that an error came through: a cell is in no file."""
    lines = [
        frame.line
        for frame in extract_tb(error.__traceback__)
        if frame.line and not Path(frame.filename).exists()
    ]
    return f", in the line `{lines[-1]}`" if lines else ""
