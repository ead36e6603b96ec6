"""The exercise of 06: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import EVERY, Exercise

ATTACH = "None if recovered(sio, sid) else offset_of(auth)"
STORE = "return await log.append(text)"
WRONG = [
    (STORE, "await sio.emit('chat message', (text, log.head + 1)); " + STORE, "invalid"),
    ("delivery.attach(sid, " + ATTACH + ")", "pass", "lost"),
    (ATTACH, "offset_of(auth) if recovered(sio, sid) else 0", "duplicated"),
    (ATTACH, "log.head", "lost"),
    ("recovered(sio, sid)", "recovered(sid)", "in the line `"),
    ("if not recovered(sio, sid):", "if True:", 'duplicated: bob shows 1 "two" again'),
    ("not recovered(", "recovered(", "duplicated"),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [(ATTACH, "offset_of(auth)")]
LEFT = (
    "what is left of a tab that has left shows nothing wrong on a page; the ladder of 09 counts it"
)
EQUIVALENT = {
    "delivery.detach(sid) | pass": LEFT,
    " ; @sio.event ; async def disconnect(sid, reason): ; delivery.detach(sid) | pass": LEFT,
}
"""Mutants that are right too, with the reason."""


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_to_06_is_told_why(old, new, said):
    """In the words of the lesson."""
    judgement = await Exercise("06").changed(old, new)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_06_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("06").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


@pytest.mark.slow
async def test_no_mutant_of_the_solution_of_06_is_solved(little_patience):
    """But for those that are as right."""
    assert {name async for name in Exercise("06").accepted(EVERY)} <= set(EQUIVALENT)
