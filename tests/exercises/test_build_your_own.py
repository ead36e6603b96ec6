"""The exercise of 09: changes of its solution, and what its check says. More servers: test_ladder.

The mutants of the solution climb too: a few of them reach the top, because no rung asks for more.
"""

import asyncio

import pytest
from answers import Exercise
from mutants import mutants

import chatlab.course.ladder
from chatlab.course import scenarios
from chatlab.exercises import build_your_own
from chatlab.log import MessageLog

PATIENCE = 2
"""Seconds for a rung that a server does not end."""
APPEND = "log.append(text, client_offset)"
WRONG = [
    ("here.add(sid)", "pass", 'ann sent "one", and ann\'s page shows nothing (rung 1, "shows")'),
    (APPEND, "log.append(text, text)", '3 messages say "one", and the log has 1 of them'),
    ("refusal.as_dict()", "str(refusal)", 'the disk had no room for "two", and ann was told that'),
    ("return refusal.as_dict()", "raise", "an error came up, Refused: a message has at least one"),
]
"""A piece of the solution, what stands there instead, and what is said."""
ON = "sio.on('disconnect', lambda sid, reason: here.discard(sid))"
ADD, START = "here.add(sid)", "sio.start_background_task(deliver, sid, auth['serverOffset'])"
EMIT = "await sio.emit('chat message', (message.text, message.offset), to=sid)"
MOVE = "cursor = message.offset"
NEWER = "await log.newer(cursor)"
LOOP = f"for message in await log.after(cursor): ; {EMIT} ; {MOVE}"
EQUIVALENT = {
    f"here = set() ; {ON} | {ON} ; here = set()": "the function looks for `here` when it is called",
    f"{ADD} ; {START} | {START} ; {ADD}": "the task begins when this handler pauses or ends",
    f"{LOOP} ; {NEWER} | {NEWER} ; {LOOP}": "`newer` ends at once if there are messages to send",
    f"{EMIT} ; {MOVE} | {MOVE} ; {EMIT}": "only this task reads the cursor",
}
"""Mutants that are right too, with the reason."""


@pytest.fixture
def short_climbs(monkeypatch):
    """What does not end falls soon."""
    monkeypatch.setattr(chatlab.course.ladder, "PATIENCE", PATIENCE)
    monkeypatch.setattr(scenarios, "GRACE", PATIENCE / 2)
    newer = MessageLog.newer

    async def newer_and_pause(log, offset):
        await asyncio.sleep(0)  # a loop that waits for nothing else would block its thread for ever
        await newer(log, offset)

    monkeypatch.setattr(MessageLog, "newer", newer_and_pause)


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_is_told_why(old, new, said):
    """With the rung at which it falls, and a picture."""
    judgement = await Exercise("09").changed(old, new)
    assert judgement.startswith(f"not yet: {said}")
    assert "joins" in str(judgement.diagram)


@pytest.mark.slow
async def test_solution_is_solved():
    """The control: there is no picture of it."""
    judgement = await Exercise("09").changed("", "")
    assert judgement == "solved: all 10 rungs are reached"
    assert judgement.diagram is None


@pytest.mark.slow
async def test_no_mutant_of_the_solution_is_solved(short_climbs, monkeypatch):
    """But for those that are as right: they climb after the others, some of which keep busy."""
    exercise, servers = Exercise("09"), {}
    for name, source in mutants(exercise.solution):
        exercise.run(source)
        servers[name] = exercise.names["mine"]
    right = {name: servers.pop(name) for name in EQUIVALENT}
    assert [name for name, said in await checks(servers) if said.solved] == []
    monkeypatch.undo()
    assert [(name, said) for name, said in await checks(right) if not said.solved] == []


async def checks(servers):
    """Let servers climb, a few at a time: they spend it waiting. Return names and judgements."""
    places = asyncio.Semaphore(3)

    async def check(server):
        async with places:
            return await build_your_own.check(server)

    return zip(servers, await asyncio.gather(*map(check, servers.values())), strict=True)
