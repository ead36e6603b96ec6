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


async def test_picture_of_a_wrong_answer_knows_what_an_echo_is():
    """What dan does not get is not lost, and an answer in other letters is the message.

    The controls: what eve does not get is lost, and what she gets twice is there again.
    """
    plain = (await Exercise("00").changed(".upper()", "")).diagram
    loud = (await Exercise("00").changed(", to=sid", "")).diagram
    silent = (await Exercise("00").changed(SEND, "pass")).diagram
    twice = (await Exercise("00").changed(SEND, f"{SEND}; {SEND}")).diagram
    assert plain.summary.endswith("dan, eve and the server: 3 messages sent.")
    assert loud.summary == plain.summary
    assert str(loud).count("shows it") == 2 * str(plain).count("shows it") == 6
    assert "; eve never gets " in silent.summary and "dan never" not in silent.summary
    assert "again" in twice.summary
