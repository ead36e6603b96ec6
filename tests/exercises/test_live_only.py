"""The exercise of 01: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import Exercise

SEND = 'await sio.emit("chat message", text, to=sid)'
KEEP = "kept.append(text)"
SHOW = 'await sio.emit("chat message", text)'
WRONG = [
    (SEND, SHOW, "dan's page shows ['one', 'two', 'one', 'two'], and it should show"),
    (
        SEND,
        SEND.replace("text", "kept"),
        "the server emits 'chat message' with ['one', 'two']: a page takes a text, and",
    ),
    (SEND, SEND.replace("text", "str(kept)"), "eve's page shows"),
    ("in kept:", "in keep:", "in the line `for text in keep:`"),
    ("in kept:", "in reversed(kept):", "eve's page shows ['two', 'one'], and it should show"),
    ("in kept:", "in kept[-5:]:", "eve's page shows ['d', 'e', 'f', 'g', 'h'], and it should show"),
    ("in kept:", "in kept[-1:]:", "eve's page shows ['two'], and it should show"),
    ("in kept:", "in set(kept):", "eve's page shows"),
    (
        "in kept:",
        'in ("one", "two"):',
        "dan's page shows ['one', 'two', 'one', 'two'], and it should show",
    ),
    ("(sid, environ, auth)", "(sid)", "connect() takes 1 positional argument but 3 were given"),
    (KEEP, "kept = [*kept, text]", "UnboundLocalError"),
    (SHOW, "pass", "dan's page shows nothing, and it should show ['one', 'two']"),
    (f"{SEND}", f"{SEND}\n        kept.clear()", "eve's page shows nothing, and it should"),
    ("kept = []", "kept = globals().setdefault('kept', [])", "gus's page shows ['one', 'two', "),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [(SEND, SEND.replace("to=sid", "room=sid")), (KEEP, "kept.extend([text])")]
EQUIVALENT = {
    f"{KEEP} ; {SHOW} | {SHOW} ; {KEEP}".replace(
        '"', "'"
    ): "nobody can join between the two in this exercise",
}
"""Mutants that are right too, with the reason."""


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_is_told_why(old, new, said):
    """In the words of the lesson, and with a picture."""
    judgement = await Exercise("01").changed(old, new)
    assert not judgement.solved
    assert said in judgement
    assert "joins" in str(judgement.diagram)


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("01").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


async def test_no_mutant_of_the_solution_is_solved(little_patience):
    """But for those that are as right."""
    assert {name async for name in Exercise("01").accepted()} == set(EQUIVALENT)
