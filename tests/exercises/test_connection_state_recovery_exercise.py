"""The exercise of 06: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import EVERY, Exercise

ATTACH = "None if recovered(sio, sid) else offset_of(auth)"
STORE = "return await log.append(text)"
CATCH_UP = """\
        if not recovered(sio, sid):
            for message in await log.after(auth["serverOffset"]):
                await sio.emit("chat message", (message.text, message.offset), to=sid)
"""
ONLY_IF = """\
        for message in await log.after(auth["serverOffset"]):
            if not recovered(sio, sid) or {}:
                await sio.emit("chat message", (message.text, message.offset), to=sid)
"""
TELL = """\
        offset = await log.append(text)
        await sio.emit("chat message", (text, offset))
"""
SHIELDED = """\
        async def store_and_tell():
            offset = await log.append(text)
            await sio.emit("chat message", (text, offset))
            return offset
        offset = await asyncio.shield(asyncio.create_task(store_and_tell()))
"""
ATTACHED = "        delivery.attach(sid, " + ATTACH + ")\n"
ATTACHED_IF = """\
        if not recovered(sio, sid):
            delivery.attach(sid, offset_of(auth))
"""
IN_THIS_LIFE = """
def mine(sio, log):
    told = set()

    @sio.event
    async def connect(sid, environ, auth):
        for message in await log.after(auth["serverOffset"]):
            if not recovered(sio, sid) or message.offset not in told:
                await sio.emit("chat message", (message.text, message.offset), to=sid)

    @sio.on("chat message")
    async def chat_message(sid, text):
        offset = await log.append(text)
        told.add(offset)
        await sio.emit("chat message", (text, offset))
        return offset
"""
KNOWN = """
def mine(sio, log):
    known = set()

    @sio.event
    async def connect(sid, environ, auth):
        if not (recovered(sio, sid) and sid in known):
            for message in await log.after(auth["serverOffset"]):
                await sio.emit("chat message", (message.text, message.offset), to=sid)
        known.add(sid)

    @sio.on("chat message")
    async def chat_message(sid, text):
        offset = await log.append(text)
        await sio.emit("chat message", (text, offset))
        return offset
"""
STREAM = """
def mine(sio, log):
    here = set()

    @sio.event
    async def connect(sid, environ, auth):
        here.add(sid)
        sio.start_background_task(deliver, sid, auth["serverOffset"])

    @sio.event
    async def disconnect(sid, reason):
        here.discard(sid)

    async def deliver(sid, cursor):
        while sid in here:
            for message in await log.after(cursor):
                await sio.emit("chat message", (message.text, message.offset), to=sid)
                cursor = message.offset
            await log.newer(cursor)

    @sio.on("chat message")
    async def chat_message(sid, text):
        return await log.append(text)
"""
WHOLE = [
    (IN_THIS_LIFE, 'duplicated: bob shows 6 "lights out" again'),
    (KNOWN, 'duplicated: bob shows 6 "lights out" again'),
    (STREAM, 'duplicated: bob shows 3 "three" again'),
]
"""An answer that is written anew, and what is said."""
WRONG = [
    (STORE, "await sio.emit('chat message', (text, log.head + 1)); " + STORE, "invalid"),
    ("delivery.attach(sid, " + ATTACH + ")", "pass", "lost"),
    (ATTACH, "offset_of(auth) if recovered(sio, sid) else 0", "duplicated"),
    (ATTACH, "log.head", "lost"),
    ("recovered(sio, sid)", "recovered(sid)", "in the line `"),
    ("if not recovered(sio, sid):", "if True:", 'duplicated: bob shows 2 "two" again'),
    ("not recovered(", "recovered(", "duplicated"),
    (ATTACH, "0", 'duplicated: bob shows 1 "one" again'),
    (ATTACH, "None", "a client that is not recovered needs an offset to begin after"),
    (ATTACHED, ATTACHED_IF,
     'lost: bob never shows 2 "two"'),
    (STORE, TELL.strip() + "\n        return offset", 'duplicated: ann shows 1 "one" again'),
    (TELL, SHIELDED, 'lost: ann never shows 7 "lights out"'),
    (CATCH_UP, CATCH_UP.replace("if not", "if auth['serverOffset'] or not"),
     'duplicated: bob shows 2 "two" again'),
    (CATCH_UP, ONLY_IF.format("message.text == 'lights out'"),
     'duplicated: bob shows 6 "lights out" again'),
    (CATCH_UP, ONLY_IF.format("message.text != 'two'"), 'duplicated: bob shows 3 "three" again'),
    (CATCH_UP, ONLY_IF.format("message.offset == 7"), 'lost: ann never shows 9 "lights out"'),
]  # fmt: skip
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


@pytest.mark.parametrize(("answer", "said"), WHOLE)
async def test_wrong_answer_to_06_of_ones_own_is_told_why(answer, said):
    """It looks right as long as nobody was away when the server stopped, or when a line broke."""
    judgement = await Exercise("06").check(answer)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_06_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("06").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left", "little_patience")
async def test_no_mutant_of_the_solution_of_06_is_solved():
    """But for those that are as right. A thread that stays busy would refuse all that follow."""
    assert {name async for name in Exercise("06").accepted(EVERY)} <= set(EQUIVALENT)
