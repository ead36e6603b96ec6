"""The checks of the exercises: "solved", or "not yet" and why, in the words of the course.

A check raises nothing. If the reader's code raises an error, or calls `exit()`, the check says
"not yet" and names the error.
"""

from __future__ import annotations

from asyncio import timeout
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from chatlab.client import ChatClient
from chatlab.course.ladder import before_closing, explained
from chatlab.history import Diagram, History, Verdict
from chatlab.lab import lab_of, labs_opened
from chatlab.mistakes import awaited

PATIENCE = 20.0
"""Seconds after which a check ends, with the answer "not yet"."""


class Judgement(str):
    """A sentence, "solved: ..." or "not yet: ...", and the picture of what went wrong, if any."""

    diagram: Diagram | None = None

    def __new__(cls, text: str, history: History | None = None) -> Judgement:
        made = super().__new__(cls, text)
        if history and not made.solved:
            made.diagram = Diagram(before_closing(history))
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
    """Decorate the check of an exercise, so that it always ends, and says why something fails.

    The check takes the reader's attempt, and returns a text that begins with "solved" or "not yet",
    a Judgement, or a list of these. It may be a coroutine, which has PATIENCE seconds.
    """

    @wraps(check)
    def judge(*attempt: Any) -> Judgement:
        try:
            return _joined(check(*attempt))
        except (Exception, SystemExit) as error:
            return _failed(error, History())

    @wraps(check)
    async def judge_later(*attempt: Any) -> Judgement:
        with labs_opened() as labs:
            try:
                async with timeout(PATIENCE):
                    return _joined(await check(*attempt))
            except (Exception, SystemExit) as error:
                return _failed(error, labs[-1].history if labs else History())

    return awaited(judge_later) if iscoroutinefunction(check) else judge


def should_show(tab: ChatClient, *texts: str) -> Judgement:
    """Say whether a page shows exactly these texts in this order: solved, or not yet and why."""
    shown = f"{tab.name}'s page shows {tab.messages or 'nothing'}"
    if tab.messages == list(texts):
        return Judgement(f"solved: {shown}")
    lab = lab_of(tab)
    why = f"not yet: {shown}, and it should show {list(texts)}"
    return Judgement(why, lab.history if lab else None)


def should_be_valid(*verdicts: Verdict) -> Judgement:
    """Say whether all verdicts are valid: solved, or not yet and the first fault."""
    wrong = [verdict for verdict in verdicts if not verdict.valid]
    worst = (wrong or verdicts)[0]
    said = "; ".join(str(worst).splitlines()[:2])
    return Judgement(f"{'not yet' if wrong else 'solved'}: {said}", worst.history)


def _joined(said: Any) -> Judgement:
    """Join several judgements into one: those that are not solved, with the first picture."""
    parts = [Judgement(part) if type(part) is str else part for part in _listed(said)]
    parts = [part for part in parts if not part.solved] or parts
    whole = Judgement("\n".join(parts))
    whole.diagram = next(filter(None, (part.diagram for part in parts)), None)
    return whole


def _listed(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [said]


def _failed(error: BaseException, history: History) -> Judgement:
    return Judgement(f"not yet: {explained(error, history)}", history)
