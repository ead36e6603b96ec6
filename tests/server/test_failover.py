"""A standby takes over from a database that is lost: what clients are told then."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

import pytest
from databases import connected

from chatlab.client import ChatClient
from chatlab.harness import BackgroundServer, Postgres
from chatlab.harness.postgres import PORT
from chatlab.history import History, check
from chatlab.server import create_app


class Standby(Postgres):
    """A copy of another database, which follows it until it takes over."""

    def __init__(self, primary):
        super().__init__()
        self._primary = primary

    def _run(self, program, *arguments):
        if program == "initdb":
            program = "pg_basebackup"
            source = ("-h", self._primary._folder, "-p", PORT, "-U", "postgres")
            arguments = ("-D", self.data, *source, "-R", "--checkpoint=fast")
        super()._run(program, *arguments)

    def take_over(self):
        self._run("pg_ctl", "-D", self.data, "-w", "promote")


def address(*databases):
    """The address of several databases, of which one can be written."""
    hosts = ",".join(quote(str(database._folder)) for database in databases)
    ports = ",".join(str(PORT) for _ in databases)
    last = f"host={hosts}&port={ports}&target_session_attrs=read-write"
    return f"postgresql://postgres@/postgres?{last}"


@pytest.fixture
def primary():
    with Postgres() as primary:
        yield primary


@pytest.fixture
def standby(primary):
    with Standby(primary) as standby:
        yield standby


@pytest.fixture
def servers(primary, standby):
    """Two servers that know both databases. What they complain of is that nothing is stored."""
    build = partial(create_app, db=address(primary, standby))
    made = [BackgroundServer(build, name=f"server {n}").start() for n in range(2)]
    yield made
    for server in made:
        server.stop()
        assert all("stored" in str(error) for error in server.errors)
        server.errors.clear()


async def test_failover_to_a_synchronous_standby_loses_nothing(primary, standby, servers):
    """What is acknowledged is there too; all go on, in another epoch."""
    async with connected(primary.url()) as db:
        await db.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await db.execute("SELECT pg_reload_conf()")
    history = History()
    async with both(servers, history) as (ann, bob):
        for n in range(20):
            await ann.send(str(n))
        before = ann.epoch
        await asyncio.to_thread(primary.stop, "immediate")
        await asyncio.to_thread(standby.take_over)
        ann.post("after")
        for tab in (ann, bob):
            await tab.sees(21)
        assert ann.epoch != before
        assert "reset" not in {event.kind for event in history}
        assert check(history, promised=True).valid


async def test_failover_to_a_standby_that_is_behind_tells_those_who_have_more(
    primary, standby, servers
):
    """It lacks a message: who has shown it is told "reset", and who has not goes on."""
    history = History()
    async with both(servers, history) as (ann, bob):
        for n in range(20):
            await ann.send(str(n))
        await bob.sees(20)
        await until_there(standby, 20)
        await asyncio.to_thread(standby.stop)
        await bob.drop()
        await ann.send("lost")
        await ann.sees(21)
        await asyncio.to_thread(primary.stop, "immediate")
        await asyncio.to_thread(standby.start)
        await asyncio.to_thread(standby.take_over)
        ann.post("after")
        await ann.until(lambda: ann.messages[-1:] == ["after"])
        bob.url = ann.url  # a server that has not asked the database yet would send him "lost"
        await bob.reconnect()
        await bob.sees(21)
        assert [event.who for event in history if event.kind == "reset"] == ["ann"]
        assert ann.messages == bob.messages == [*map(str, range(20)), "after"]


@asynccontextmanager
async def both(servers, history):
    """A tab at each server."""
    ann, bob = (
        ChatClient(server.url, name, record=history.record)
        for server, name in zip(servers, ("ann", "bob"), strict=True)
    )
    await ann.open()
    await bob.open()
    yield ann, bob
    await ann.close()
    await bob.close()


async def until_there(database, count):
    """Wait until a database has so many messages."""
    async with connected(database.url()) as db:
        while await db.fetchval("SELECT last FROM head") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a standby tells nobody
