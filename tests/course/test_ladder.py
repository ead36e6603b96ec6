"""The ladder: right servers reach the top, and every typical mistake falls at its own rung."""

import asyncio
import linecache
import sys
import threading

import cloudpickle
import pytest
from support import ordered, tutorial

import chatlab.course.ladder
import chatlab.lab.lab
from chatlab.course.ladder import Climb, climb
from chatlab.course.rungs import RUNGS
from chatlab.harness import background, workers
from chatlab.history.events import History
from chatlab.messages import CHAT_MESSAGE, Refused
from chatlab.server.app import chat

pytestmark = pytest.mark.usefixtures("nothing_left")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import a test
SHORT = 1.0
"""Seconds after which a server that hangs has fallen, in these tests."""


def takes(sio, append):
    """Store messages under their key, and answer with the refusal of one that is not valid."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        try:
            return await append(text, client_offset)
        except Refused as refusal:
            return refusal.as_dict()


def reference(sio, log):
    """Ordered streams, keys, refusals: all that the ladder asks."""
    ordered(sio, log)
    takes(sio, log.append)


def one_reads_at_a_time(sio, log):
    """The same, but only one connection reads the log at a time: slower, and right."""
    reading = asyncio.Lock()

    async def rows(cursor):
        async with reading:
            return await log.after(cursor)

    ordered(sio, log, rows=rows)
    takes(sio, log.append)


RIGHT = [reference, chat, one_reads_at_a_time]


# Mistakes, each with the rung at which it falls and a piece of what the climb says.


def silent(sio, log):
    """It registers nothing."""


def broken(sio, log):
    """It cannot even be set up."""
    raise KeyError("a typing error")


def raises(sio, log):
    """Its handler has a bug."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        raise ZeroDivisionError("division by zero")


def hangs(sio, log):
    """Its handler never ends."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await asyncio.Event().wait()


def refuses_everybody(sio, log):
    """It refuses every connection."""

    @sio.event
    async def connect(sid, environ, auth):
        return False


def polls(sio, log):
    """It asks the log again and again, instead of waiting until it has grown."""
    takes(sio, log.append)

    @sio.event
    async def connect(sid, environ, auth):
        sio.start_background_task(deliver, sid, auth["serverOffset"])

    async def deliver(sid, cursor):
        while True:
            for message in await log.after(cursor):
                await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)
                cursor = message.offset
            await asyncio.sleep(0.01)


def back_to_the_sender(sio, log):
    """It shows a message to its sender, and to nobody else."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, (text, await log.append(text)), to=sid)


def echo(sio):
    """Chapter 01: it shows a message, and keeps nothing."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, text)


def stores_only(sio, log):
    """Chapter 02: stored, shown, never sent again."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        offset = await log.append(text)
        await sio.emit(CHAT_MESSAGE, (text, offset))
        return offset


def catching_up(sio, log, *, rows=None, everybody=False):
    """Chapter 03, with another way to read or to send what a tab has missed."""
    stores_only(sio, log)
    rows = rows or log.after

    @sio.event
    async def connect(sid, environ, auth):
        for message in await rows(auth["serverOffset"]):
            whom = None if everybody else sid
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=whom)


def stumbles_over_a_goodbye(sio, log):
    """It fails when a tab goes: at the first rung, only when the scenario is over."""
    reference(sio, log)

    @sio.event
    async def disconnect(sid, reason):
        raise KeyError("who was that?")


def greater_or_equal(sio, log):
    """It sends the last message that a tab has once more."""
    catching_up(sio, log, rows=lambda offset: log.after(offset - 1))


def whole_log(sio, log):
    """It does not look at what a tab has."""
    catching_up(sio, log, rows=lambda offset: log.after(0))


def to_everybody(sio, log):
    """A catch-up for one goes to all."""
    catching_up(sio, log, everybody=True)


def newest_only(sio, log, count=1):
    """It takes the newest message for all that was missed."""

    async def rows(offset):
        return (await log.after(offset))[-count:]

    catching_up(sio, log, rows=rows)


def in_memory(sio, log):
    """Its messages are in a list, and in no table."""
    messages = []

    @sio.event
    async def connect(sid, environ, auth):
        for offset, text in enumerate(messages, 1):
            if offset > auth["serverOffset"]:
                await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        messages.append(text)
        await sio.emit(CHAT_MESSAGE, (text, len(messages)))
        return len(messages)


def shows_first(sio, log):
    """It is sure that storing will work."""
    catching_up(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, (text, log.head + 1))
        return await log.append(text)


def acknowledges_first(sio, log):
    """It stores in the background, and says at once that all is well."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        sio.start_background_task(log.append, text)


def hasty(sio, log):
    """Chapter 04: it moves the cursor to the end of the log, whatever it has sent."""
    ordered(sio, log, move=lambda cursor: log.head)
    takes(sio, log.append)


def one_after_the_other(sio, log):
    """It sends to the next tab when the one before has said that it has got its message."""
    turn = asyncio.Lock()

    async def send(sid, message):
        async with turn:
            await sio.call(CHAT_MESSAGE, (message.text, message.offset), to=sid)

    ordered(sio, log, send=send)
    takes(sio, log.append)


def without_key(sio, log):
    """A message that comes again is a new one."""
    ordered(sio, log)
    takes(sio, lambda text, client_offset: log.append(text))


def keys_in_memory(sio, log):
    """It knows a key again, until it is stopped."""
    offsets = {}

    async def append(text, key):
        if key is None or key not in offsets:
            offsets[key] = await log.append(text)
        return offsets[key]

    ordered(sio, log)
    takes(sio, append)


def unguarded(sio, log):
    """It has no answer to bad input."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        return await log.append(text, client_offset)


def silently_drops(sio, log):
    """It answers bad input with nothing."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        try:
            return await log.append(text, client_offset)
        except Refused:
            return None


def newest_ten(sio, log):
    """A tab that has missed more than ten messages gets ten."""

    async def rows(offset):
        return (await log.after(offset))[-10:]

    ordered(sio, log, rows=rows)
    takes(sio, log.append)


MISTAKES = [
    (silent, "shows", 'no answer to the message "one"'),
    (broken, "shows", "KeyError: 'a typing error'"),
    (raises, "shows", "ZeroDivisionError: division by zero"),
    (hangs, "shows", 'no answer to the message "one"'),
    (refuses_everybody, "shows", "the server refused the connection"),
    (polls, "shows", "does not come to rest"),
    (back_to_the_sender, "shows", "bob's page shows nothing"),
    (echo, "catches up", "lost: bob"),
    (stores_only, "catches up", 'lost: bob never shows 2 "two"'),
    (stumbles_over_a_goodbye, "catches up", "KeyError: 'who was that?'"),
    (greater_or_equal, "catches up", 'duplicated: bob shows 1 "one" again'),
    (whole_log, "catches up", 'duplicated: bob shows 1 "one" again'),
    (to_everybody, "catches up", 'duplicated: ann shows 2 "two" again'),
    (newest_only, "reloads", 'lost: bob never shows 1 "one"'),
    (in_memory, "restarts", "missing: ann was told"),
    (shows_first, "stores first", "ann's page shows it"),
    (acknowledges_first, "stores first", "ann was told that it is stored"),
    (tutorial, "in order", 'reordered: bob shows 2 "two" late'),
    (hasty, "in order", 'lost: bob never shows 3 "three"'),
    (one_after_the_other, "waits for nobody", "show two messages while bob's line is frozen"),
    (without_key, "stores once", 'duplicated: ann shows 2 "one" again'),
    (keys_in_memory, "stores once", 'duplicated: ann shows 2 "one" again'),
    (ordered, "stores once", 'duplicated: ann shows 2 "one" again'),
    (unguarded, "refuses", "Refused: a message has at least one character"),
    (silently_drops, "refuses", "ann sent an empty text, and the answer names no error: None"),
    (newest_ten, "has a bad day", "lost:"),
]


@pytest.mark.parametrize("server", RIGHT, ids=[server.__name__ for server in RIGHT])
async def test_right_server_reaches_the_top(server):
    """Whether it reads its log each time, or has the newest in memory, or lets readers queue."""
    result = await climb(server)
    assert result.why == ""
    assert (result.reached, result.fell) == (len(RUNGS), None)
    assert str(result).endswith("the top: every rung is reached")
    assert "ann" in str(result.diagram())


@pytest.mark.parametrize(
    ("server", "rung", "why"), MISTAKES, ids=[server.__name__ for server, *_ in MISTAKES]
)
async def test_mistake_falls_at_its_rung(server, rung, why, monkeypatch):
    """The climb says why, in the words of the course."""
    if server in (silent, hangs, polls):
        monkeypatch.setattr(chatlab.course.ladder, "PATIENCE", SHORT)
    result = await climb(server)
    assert (result.fell.name, why in result.why) == (rung, True), result
    assert result.diagram().lanes[:1] in (["ann"], ["server"])


@pytest.mark.parametrize("rung", RUNGS[1:], ids=lambda rung: rung.name)
def test_every_rung_has_a_mistake_that_falls_there(rung):
    """No rung is for show: without it, somebody would come further."""
    assert rung.name in [name for _, name, _ in MISTAKES]


async def test_same_server_falls_in_the_same_way_again():
    """Nothing depends on time or chance, so an output can be compared with the stored one."""
    first, second = await climb(tutorial), await climb(tutorial)
    assert str(first) == str(second)
    assert str(first.diagram()) == str(second.diagram())


async def test_climb_leaves_the_lab_of_the_notebook_alone():
    """It has a lab of its own, and a learner's lab goes on."""
    async with chatlab.lab.lab.Lab(tutorial) as lab:
        ann = await lab.join("ann")
        await climb(stores_only)
        assert await ann.send("still here") == 1


async def test_blocked_server_falls_and_is_in_nobodys_way(monkeypatch):
    """A handler that never lets go of its thread cannot be stopped; the next server can climb."""
    free = threading.Event()

    def blocks(sio, log):
        @sio.on(CHAT_MESSAGE)
        async def chat_message(sid, text):
            free.wait()

    with monkeypatch.context() as patched:
        patched.setattr(workers, "PATIENCE", SHORT)
        patched.setattr(chatlab.course.ladder, "PATIENCE", SHORT)
        blocked = await climb(blocks)
    assert (blocked.reached, "is still busy" in blocked.why) == (0, True)
    assert (await climb(echo)).reached == 1
    free.set()
    for server in list(background._LIVE.values()):
        server.stop()


SOURCE = """
def server(sio):
    @sio.on("chat message")
    async def chat_message(sid, text):
        return 1 / len(text[9:])
"""


async def test_error_of_a_climb_names_the_line_of_the_server():
    """As the checks of the exercises do: a cell is in no file."""
    linecache.cache["<a cell>"] = (len(SOURCE), None, SOURCE.splitlines(True), "<a cell>")
    exec(compile(SOURCE, "<a cell>", "exec"), cell := {})
    result = await climb(cell["server"])
    assert result.why == (
        "an error came up, ZeroDivisionError: division by zero, "
        "in the line `return 1 / len(text[9:])`"
    )


async def test_answer_that_is_no_offset_is_named_by_the_climb():
    """Not by an error of Python's about two types."""

    def server(sio, log):
        stores_only(sio, log)

        @sio.on(CHAT_MESSAGE)
        async def chat_message(sid, text):
            await sio.emit(CHAT_MESSAGE, (text, await log.append(text)))
            return "ok"

    result = await climb(server)
    assert result.why.startswith("'one' was answered with 'ok', which is no offset")


async def test_climb_that_is_not_awaited_says_so():
    """Instead of a coroutine object."""
    climbing = climb(echo)
    assert repr(climbing) == "nothing has happened yet: write `await` before the call of `climb`"
    climbing.close()


async def test_interrupted_climb_closes_its_lab():
    """An interrupted cell leaves no server behind."""
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def server(sio, log):
        hangs(sio, log)
        loop.call_soon_threadsafe(begun.set)

    climbing = asyncio.create_task(climb(server))
    await begun.wait()
    climbing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await climbing


def test_climb_says_what_was_reached_and_what_is_asked():
    """One line a rung, then why, then what the rung is about."""
    assert str(Climb(1, "lost: something", History())).splitlines() == [
        " 1 shows             reached",
        " 2 catches up        fell: lost: something",
        f"   it asks: {RUNGS[1].asks}",
    ]
