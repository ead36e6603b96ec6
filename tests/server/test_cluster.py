"""Several servers on one log in PostgreSQL: their clients see one chat."""

import json
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import pytest
from databases import everything, frozen, url_of
from support import wired

import chatlab.log.connections
import chatlab.log.postgres
from chatlab.client import ChatClient
from chatlab.harness import BackgroundServer, Postgres
from chatlab.history import History, check
from chatlab.messages import NOT_AVAILABLE
from chatlab.recovery import Recovery
from chatlab.server import create_app


@pytest.fixture
def servers(tmp_path, request):
    """Two servers in this process."""
    made = [background(url_of(tmp_path), f"server {n}") for n in range(2)]
    yield made
    for server in made:
        server.stop()


def background(url, name):
    return BackgroundServer(partial(create_app, db=url, recovery=Recovery), name=name).start()


@asynccontextmanager
async def tab(server, history, name):
    client = ChatClient(server.url, name, record=history.record, recover=True)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


async def test_tabs_of_two_servers_see_the_same_messages_in_the_same_order(servers):
    """Whoever sends, through whichever server."""
    history = History()
    one, two = servers
    async with tab(one, history, "ann") as ann, tab(two, history, "bob") as bob:
        for n in range(40):
            (ann, bob)[n % 2].post(str(n))
        assert await ann.sees(40) == await bob.sees(40)
        assert check(history, promised=True).valid


async def test_tab_that_moves_to_another_server_goes_on_there(servers):
    """It is ahead of that server, whose log has not read yet what the other has stored."""
    history = History()
    async with tab(servers[0], history, "ann") as ann:
        for n in range(20):
            await ann.send(str(n))
            ann.url = servers[n % 2].url
            await ann.drop()
            await ann.reconnect()
        assert await ann.sees(20) == [str(n) for n in range(20)]
        assert check(history).valid


async def health(server):
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/health") as answer:
        return answer.status, await answer.text()


async def test_health_says_whether_the_log_answers(monkeypatch):
    """200 or 503, with a reason. A client that cannot be judged is refused, and never "reset"."""
    monkeypatch.setattr(chatlab.log.connections, "CONNECT", 0.5)
    history = History()
    with Postgres() as database:
        server = background(database.url(), "server")
        assert await health(server) == (200, "ok\n")
        async with tab(server, history, "ann") as ann:
            await ann.send("one")
            database.stop("immediate")
            status, reason = await health(server)
            assert status == 503 and "localhost" in reason
            ann.post("two")
            async with wired(server.url) as wire:
                refusal = json.loads((await wire.connect({"serverOffset": 9})).removeprefix("44"))
            assert refusal["data"]["error"] == NOT_AVAILABLE
            database.start()
            assert await ann.sees(2) == ["one", "two"]
            assert check(history).valid
        server.stop()
        server.errors.clear()


async def test_health_of_a_server_whose_database_hangs_is_503(monkeypatch, tmp_path):
    """Within the time of CHECK, and 200 again when it goes on: no restart is needed."""
    monkeypatch.setattr(chatlab.log.postgres, "CHECK", 0.5)
    url = url_of(tmp_path)
    with background(url, "server") as server:
        assert await health(server) == (200, "ok\n")
        with frozen(await everything(url)):
            status, reason = await health(server)
            assert status == 503 and reason.endswith("did not answer in time\n")
        assert await health(server) == (200, "ok\n")
