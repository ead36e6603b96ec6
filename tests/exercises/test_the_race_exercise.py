"""The exercise of 04: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import EVERY, Exercise

from chatlab.client import connection
from chatlab.exercises import the_race

FOR = "            for message in await log.after(cursor):\n"
SEND = """\
                await sio.emit("chat message", (message.text, message.offset), to=sid)
"""
MOVE = "                cursor = message.offset\n"
NEXT = "            await log.newer(cursor)"
LOOP = FOR + SEND + MOVE + NEXT
HEAD = "            head = log.head\n"
ROWS = "            rows = await log.after(cursor)\n            for message in rows:\n"
START = 'sio.start_background_task(deliver, sid, auth["serverOffset"])'
WHILE = "        while sid in here:\n"
SEEN = """\
                if message.text in seen:
                    continue
                seen.add(message.text)
"""
AGAIN = (
    "nothing new is stored: after the `for` loop, and not in it, it has to wait with `await log.n"
)
SPINS = [
    (MOVE + NEXT, MOVE + "    " + NEXT),
    (LOOP, FOR + "    " + NEXT + "\n" + SEND + MOVE),
    (NEXT, ""),
    (NEXT, "            await asyncio.sleep(0.01)"),
    (MOVE, ""),
    (MOVE + NEXT, NEXT + "\n            cursor = log.head - 1"),
    (LOOP, NEXT),
    (WHILE + LOOP, "        rows = await log.after(cursor)\n" + WHILE
     + "            for message in rows:\n" + SEND + NEXT),
]  # fmt: skip
"""Pieces that let the server ask for rows without end, instead of waiting for the log to grow."""
WRONG = [
    (LOOP, FOR + SEND + "            cursor = log.head\n" + NEXT, "lost: bob never shows 3"),
    (LOOP, HEAD + FOR + SEND + "            cursor = head\n" + NEXT, "page shows ['one', 'one'"),
    (LOOP, FOR + "    " + HEAD + SEND + "            cursor = head\n" + NEXT, "UnboundLocalError"),
    (LOOP, ROWS.replace("\n", "\n            cursor = log.head\n", 1) + SEND + NEXT,
     "lost: bob never shows 3"),
    (MOVE, "                cursor += 1\n", "bob's page shows ['two', 'four', 'four', 'four'"),
    (LOOP, ROWS + SEND + "            if rows:\n"
     "                cursor = rows[0].offset + len(rows) - 1\n" + NEXT,
     "bob's page shows ['two', 'four', 'four', 'four']"),
    (LOOP, FOR + SEND + "            cursor = 2 if cursor == 1 else log.head\n" + NEXT,
     'duplicated: bob shows 3 "three" again'),
    (WHILE + FOR + SEND + MOVE, "        seen = set()\n" + WHILE + FOR + MOVE + SEEN + SEND,
     "bob's page shows ['two', 'four'], and it should show ['two', 'four', 'four']"),
    (NEXT, "            await log.newer(log.head)",
     "ann's page shows nothing, and it should show ['one']"),
    (NEXT, "            log.newer(cursor)", "write `await` before the call of `newer`"),
    ("while sid in here", "if sid in here", "lost: ann never shows"),
    ('auth["serverOffset"]', "0", 'duplicated: bob shows 1 "one" again'),
    ('auth["serverOffset"]', "log.head", 'lost: bob never shows 2 "two"'),
    (MOVE, "                cursor = log.head\n", "lost: bob never shows 3"),
    (SEND, SEND.replace(", to=sid", ""), "duplicated"),
    ("here.add(sid)", "pass", "the server did not read the log, so it is not held"),
    ("return await log.append(text)", "await log.append(text); await sio.emit('chat message', "
     "(text, log.head))", "duplicated"),
]  # fmt: skip
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [
    (LOOP, NEXT + "\n" + FOR + SEND + MOVE),
    (SEND + MOVE, MOVE + SEND),
    (NEXT, f"{NEXT}\n{NEXT}"),
    ("log.after(cursor)", "log.after(offset=cursor, limit=50)"),
    (LOOP, ROWS + SEND
     + "            cursor = rows[-1].offset if rows else cursor\n" + NEXT),
]  # fmt: skip
ADD, TASK = "here.add(sid)", START.replace('"', "'")
DISCARD = "here.discard(sid)"
TOLD, MOVED = "await sio.emit('chat message', (message.text, message.offset), to=sid)", MOVE.strip()
READ, WAIT = f"{FOR.strip()} ; {TOLD} ; {MOVED}", NEXT.strip()
LEFT = "a task for a tab that has left shows nothing wrong on a page; the ladder of 09 counts it"
EQUIVALENT = {
    f"{ADD} ; {TASK} | {TASK} ; {ADD}": "the task begins after the handler",
    f"{TOLD} ; {MOVED} | {MOVED} ; {TOLD}": "nothing reads the cursor between the two",
    f"{READ} ; {WAIT} | {WAIT} ; {READ}": "it returns at once if there is anything to read",
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


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(("old", "new"), SPINS)
async def test_server_of_04_that_does_not_wait_is_told_so_and_ends(old, new):
    """Before the patience of a lab is over; no thread is left that asks."""
    judgement = await Exercise("04").changed(old, new)
    assert not judgement.solved
    assert AGAIN in judgement


async def test_stream_of_04_that_connect_waits_for_is_told_so(monkeypatch):
    """A tab is not accepted before its handler has ended."""
    monkeypatch.setattr(connection, "PATIENCE", 1)
    judgement = await Exercise("04").changed(
        START, START.replace("sio.start_background_task(deliver, ", "await deliver(")
    )
    assert judgement.startswith("not yet: ")
    assert "does the handler of `connect` end?" in judgement


async def test_right_answer_to_04_asks_the_same_seldom(monkeypatch):
    """It is far from what counts as asking without end."""
    monkeypatch.setattr(the_race, "MOST", the_race.MOST // 8)
    assert (await Exercise("04").changed("", "")).solved


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_04_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("04").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left", "little_patience")
async def test_no_mutant_of_the_solution_of_04_is_solved():
    """But for those that are as right. A thread that stays busy would refuse all that follow."""
    assert {name async for name in Exercise("04").accepted(EVERY)} <= set(EQUIVALENT)
