"""The exercise of 03: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import EVERY, Exercise

IF = "missed[-3:] if offset == 0 else missed"
READ = "await log.after(offset)"
SEND = "(message.text, message.offset), to=sid"
WRONG = [
    (IF, "missed[-3:]", "dan's page shows ['a', 'b', 'g', 'h', 'j', 'k'], and it should show"),
    (IF, "missed[:3] if offset == 0 else missed", "ida's page shows ['a', 'b', 'c', 'f',"),
    (IF, "missed", "ida's page shows ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k'], and"),
    (IF, "missed[-3:] if len(missed) > 6 else missed", "dan's page shows ['a', 'b', 'g', 'h', "),
    (IF, "missed[-3:] if len(missed) > 7 else missed", "ida's page shows ['a', 'b', 'c', 'd', "),
    (IF, "missed[-4:] if offset == 0 else missed", "ida's page shows ['b', 'c', 'd', 'e', 'f', "),
    (IF, "missed[-3:] if offset < 3 else missed", "dan's page shows ['a', 'b', 'g', 'h', 'j', "),
    (READ, "await log.after(offset or log.head - 3)", "eve's page shows ['h', 'j', 'k'], and"),
    (READ, "await log.after(offset or 3)", "dan's page shows"),
    (READ, "(await log.after(0))[offset:]", "dan's page shows ['a', 'b', 'd', 'e', 'f', 'g', 'h'"),
    (SEND, "message.text, to=sid", "page shows"),
    (SEND, "(message.text, 0), to=sid", "page shows"),
    (SEND, "(message.text, message.offset)", "page shows"),
    (IF, "missed[-3] if offset == 0 else missed", "in the line `for message in missed[-3]"),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [
    (IF, "missed if offset else missed[-3:]"),
]
FOR = "for message in missed[-3:] if offset {} 0 else missed:"
EQUIVALENT = {f"{FOR.format('==')} | {FOR.format('<=')}": "no offset is negative"}
"""Mutants that are right too, with the reason."""


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_to_03_is_told_why(old, new, said):
    """In the words of the lesson."""
    judgement = await Exercise("03").changed(old, new)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_03_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("03").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


@pytest.mark.slow
async def test_no_mutant_of_the_solution_of_03_is_solved(little_patience):
    """But for those that are as right."""
    assert {name async for name in Exercise("03").accepted(EVERY)} <= set(EQUIVALENT)
