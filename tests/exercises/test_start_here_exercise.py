"""The exercise of 00: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import Exercise

SEND = 'await sio.emit("chat message", text.upper(), to=sid)'
WRONG = [
    (SEND, SEND.replace(", to=sid", ""), "dan's page shows ['HELLO', 'WHERE ARE YOU, DAN?', "),
    (SEND, SEND.replace("text.upper()", '"HELLO"'), "eve's page shows ['HELLO', 'HELLO', 'HELLO']"),
    (SEND, SEND.replace("upper", "capitalize"), "eve's page shows ['Hello', 'Where are you, dan?'"),
    (SEND, SEND.replace("upper", "title"), "eve's page shows ['Hello', 'Where Are You, Dan?'"),
    (SEND, SEND.replace("upper", "shout"), "AttributeError: 'str' object has no"),
    (SEND, SEND.replace("upper()", "upper"), "in the line"),
    (SEND, f"{SEND}; {SEND}", "eve's page shows ['HELLO', 'HELLO', "),
    (SEND, "return text.upper()", "eve's page shows nothing"),
    (SEND, "pass", "eve's page shows nothing, and it should show ['HELLO'"),
    ("chat message", "chat-message", 'no answer to the message "hello": has it a handler'),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [(SEND, SEND.replace("to=sid", "room=sid")), (SEND, f"text = text.upper(); {SEND}")]
EQUIVALENT = {}
"""Mutants that are right too, with the reason."""


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_to_00_is_told_why(old, new, said, little_patience):
    """In the words of the lesson."""
    judgement = await Exercise("00").changed(old, new)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_00_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("00").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


async def test_no_mutant_of_the_solution_of_00_is_solved(little_patience):
    """But for those that are as right."""
    assert {name async for name in Exercise("00").accepted()} == set(EQUIVALENT)
