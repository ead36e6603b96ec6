"""The second ladder: what a server has to do when it runs twice, with its log in PostgreSQL."""

import pytest
from climbers import AT_ONCE, climbs
from climbers_of_two import MISTAKES, RIGHT, from_the_beginning
from support import tutorial

import chatlab.lab.place
from chatlab.course import several_servers
from chatlab.course.ladder import climb
from chatlab.course.rungs import LADDERS, RUNGS_OF_TWO
from chatlab.harness import postgres
from chatlab.mistakes import BadArgument, BadMoment

pytestmark = pytest.mark.usefixtures("nothing_left", "unhurried")

SHORT = 2.0
"""Seconds that a sender waits, in these tests, for an answer that does not come."""
NAMES = [rung.name for rung in RUNGS_OF_TWO]
LONG = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES[-2:]]
"""The rungs for which a server has to climb for long."""


@pytest.mark.parametrize(
    "server", [*RIGHT[:2], *(pytest.param(server, marks=pytest.mark.slow) for server in RIGHT[2:])]
)
async def test_right_server_reaches_the_top(server):
    """Whether each tab has a task that reads the log, or all tabs of a server have one."""
    result = await climb(server, servers=2)
    assert (result.reached, result.fell, result.why) == (len(RUNGS_OF_TWO), None, "")
    assert str(result).endswith("the top: every rung is reached")


@pytest.mark.parametrize("rung", [*NAMES[:-2], *LONG])
async def test_mistake_falls_at_its_rung(rung, monkeypatch):
    """On the last one, one server after the other: they share the database that ends there."""
    monkeypatch.setattr(several_servers, "SOON", SHORT)
    mistakes = {server: why for server, name, why in MISTAKES if name == rung}
    results = await climbs(mistakes, 1 if rung == NAMES[-1] else AT_ONCE, servers=2)
    for server, result in zip(mistakes, results, strict=True):
        fell = result.fell and result.fell.name
        assert (fell, mistakes[server] in result.why) == (rung, True), (server, result)


@pytest.mark.parametrize("rung", NAMES)
def test_every_rung_has_two_mistakes_that_fall_there(rung):
    """No rung is for show: without it, somebody would come further."""
    assert [name for _, name, _ in MISTAKES].count(rung) >= 2


async def test_same_server_falls_in_the_same_way_again():
    """Nothing depends on time or chance, so an output can be compared with the stored one."""
    first, second = [await climb(from_the_beginning, servers=2) for _ in "ab"]
    assert str(first) == str(second)
    assert str(first.diagram()) == str(second.diagram())


async def test_climb_lists_the_rungs_of_its_ladder():
    """One line a rung, then why, then what the rung is about."""
    assert str(await climb(tutorial, servers=2)).splitlines() == [
        ' 1 shows everywhere  fell: ann at server 0 sent "one", and bob at server 1 never shows it',
        "   it asks: a message is on every page, whichever server it went through.",
    ]


@pytest.mark.parametrize("servers", [0, 3, "2", None])
async def test_number_without_a_ladder_is_a_sentence(servers):
    """Before anything starts."""
    assert servers not in LADDERS
    with pytest.raises(BadArgument, match="a ladder for one server, and one for two"):
        await climb(tutorial, servers=servers)


async def test_climb_without_postgresql_is_a_sentence(monkeypatch):
    """It is no fault of the server, so that does not fall."""
    monkeypatch.setattr(postgres, "PACKAGES", ())
    monkeypatch.setattr(chatlab.lab.place, "shared_postgres", postgres.Postgres)
    with pytest.raises(BadMoment, match="PostgreSQL is not installed here: pip install"):
        await climb(tutorial, servers=2)
