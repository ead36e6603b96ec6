"""09 · Build your own: a server that reaches the top of the ladder.

Properties: those that the rungs ask for, each with its scenario: see `chatlab.course.RUNGS`.
"""

from __future__ import annotations

from collections.abc import Callable

from chatlab.course import Judgement, climb


async def check(server: Callable[..., None]) -> Judgement:
    """Let a server climb. The climb has its own patience, and raises no error of the server."""
    trial = await climb(server)
    if trial.fell is not None:
        rung = f'rung {trial.reached + 1}, "{trial.fell.name}"'
        return Judgement(f"not yet: {trial.why} ({rung})", trial.history)
    costs = "".join(f", but {cost}" for cost in trial.costs if cost)
    return Judgement(f"solved: all {trial.reached} rungs are reached{costs}")
