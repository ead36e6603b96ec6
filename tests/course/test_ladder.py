"""The ladder: right servers reach the top, and every typical mistake falls at its own rung."""

import asyncio
import linecache
import threading

import pytest
from climbers import COSTLY, MISTAKES, RIGHT, SLOWED, climbs, echo, hangs, stores_only
from support import tutorial

import chatlab.course.ladder
import chatlab.lab.lab
from chatlab.course import scenarios
from chatlab.course.ladder import Climb, climb
from chatlab.course.rungs import RUNGS
from chatlab.harness import background, workers
from chatlab.history.events import History
from chatlab.messages import CHAT_MESSAGE

pytestmark = pytest.mark.usefixtures("nothing_left")

SHORT = 1.0
"""Seconds after which a server that hangs has fallen, in these tests."""


NAMES = [rung.name for rung in RUNGS]
LONG = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES[-2:]]
"""The rungs for which a server has to climb for long."""


@pytest.mark.parametrize("servers", [RIGHT[:2], pytest.param(RIGHT[2:], marks=pytest.mark.slow)])
async def test_right_server_reaches_the_top(servers, unhurried):
    """Whether it reads its log each time, or has the newest in memory, or lets readers queue."""
    for server, result in zip(servers, await climbs(servers), strict=True):
        assert (server.__name__, result.why) == (server.__name__, "")
        assert (result.reached, result.fell) == (len(RUNGS), None)
        assert str(result).endswith("the top: every rung is reached")
        assert set(result.costs) == ({"", SLOWED} if server in COSTLY else {""})
        assert (SLOWED in str(result)) == (server in COSTLY)
        assert "ann" in str(result.diagram())


@pytest.mark.parametrize("rung", [*NAMES[:-2], *LONG])
async def test_mistake_falls_at_its_rung(rung, monkeypatch):
    """The climb says why, in the words of the course."""
    monkeypatch.setattr(scenarios, "GRACE", SHORT)
    if rung == "shows":
        monkeypatch.setattr(chatlab.course.ladder, "PATIENCE", 2 * SHORT)
    mistakes = {server: why for server, name, why in MISTAKES if name == rung}
    for server, result in zip(mistakes, await climbs(mistakes), strict=True):
        fell = result.fell and result.fell.name
        assert (fell, mistakes[server] in result.why) == (rung, True), (server, result)
        assert result.diagram().lanes[:1] in (["ann"], ["server"])


@pytest.mark.parametrize("rung", NAMES)
def test_every_rung_has_two_mistakes_that_fall_there(rung):
    """No rung is for show: without it, somebody would come further."""
    assert [name for _, name, _ in MISTAKES].count(rung) >= 2


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
    assert str(Climb(1, "lost: something", History(), ("",))).splitlines() == [
        " 1 shows             reached",
        " 2 catches up        fell: lost: something",
        f"   it asks: {RUNGS[1].asks}",
    ]
