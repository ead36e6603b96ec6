"""The exercise of 04: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import EVERY, Exercise

FOR = "            for message in await log.after(cursor):\n"
SEND = """\
                await sio.emit("chat message", (message.text, message.offset), to=sid)
"""
MOVE = "                cursor = message.offset\n"
NEXT = "            await log.newer(cursor)"
LOOP = FOR + SEND + MOVE + NEXT
HEAD = "            head = log.head\n"
WRONG = [
    (LOOP, FOR + SEND + "            cursor = log.head\n" + NEXT, "lost: bob never shows 3"),
    (LOOP, HEAD + FOR + SEND + "            cursor = head\n" + NEXT, "page shows ['one', 'one'"),
    (LOOP, FOR + "    " + HEAD + SEND + "            cursor = head\n" + NEXT, "UnboundLocalError"),
    (LOOP, "            rows = await log.after(cursor)\n            cursor = log.head\n"
     "            for message in rows:\n" + SEND + NEXT, "lost: bob never shows 3"),
    (MOVE, "                cursor += 1\n", "bob's page shows ['two', 'three', 'three'"),
    (MOVE, "                cursor = log.head\n", "lost: bob never shows 3"),
    (SEND, SEND.replace(", to=sid", ""), "duplicated"),
    ("here.add(sid)", "pass", "the server did not read the log, so it is not held"),
    ("return await log.append(text)", "await log.append(text); await sio.emit('chat message', "
     "(text, log.head))", "duplicated"),
]  # fmt: skip
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [
    (NEXT, f"{NEXT}\n{NEXT}"),
    (LOOP, "            rows = await log.after(cursor)\n            for message in rows:\n" + SEND
     + "            cursor = rows[-1].offset if rows else cursor\n" + NEXT),
]  # fmt: skip
ADD, START = "here.add(sid)", "sio.start_background_task(deliver, sid, auth['serverOffset'])"
DISCARD = "here.discard(sid)"
LEFT = "a task for a tab that has left shows nothing wrong on a page; the ladder of 09 counts it"
EQUIVALENT = {
    f"{ADD} ; {START} | {START} ; {ADD}": "the task begins after the handler",
    f"{DISCARD} | pass": LEFT,
    f" ; @sio.event ; async def disconnect(sid, reason): ; {DISCARD} | pass": LEFT,
}
"""Mutants that are right too, with the reason."""


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_to_04_is_told_why(old, new, said):
    """In the words of the lesson."""
    judgement = await Exercise("04").changed(old, new)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_04_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("04").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


@pytest.mark.slow
async def test_no_mutant_of_the_solution_of_04_is_solved(little_patience):
    """But for those that are as right."""
    assert {name async for name in Exercise("04").accepted(EVERY)} <= set(EQUIVALENT)
