"""One connection of a tab: however it ends, nothing of it is left."""

import asyncio
from functools import partial

import pytest
import socketio

from chatlab.client.connection import Connection
from chatlab.harness.background import BackgroundServer
from chatlab.server.app import create_app

EVERY_TRANSPORT = [["websocket"], ["polling"], ["polling", "websocket"]]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server with a loop of its own, so that all tasks of this loop are the connection's."""
    db = tmp_path_factory.mktemp("connection") / "chat.db"
    with BackgroundServer(partial(create_app, db=db)) as server:
        yield server.url


class Opened:
    """A connection to a server, and what it has reported."""

    def __init__(self, url, transports):
        self.losses = []
        self.before = asyncio.all_tasks()
        self.connection = Connection(self.losses.append)
        self.session = self.connection.eio.http
        self.accepted = self.connection.accepted
        self.connection.open(url, lambda: {"serverOffset": 0}, transports)

    def leaves_nothing(self):
        """Whether its sessions are closed and its tasks have ended."""
        sessions = [self.session, self.connection.eio.http]
        return all(session is None or session.closed for session in sessions) and (
            asyncio.all_tasks() <= self.before
        )


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
async def test_connection_is_accepted_and_tells_its_end(url, transports):
    """It is lost once, however many signs of the end there are."""
    opened = Opened(url, transports)
    await opened.accepted
    assert opened.losses == []
    await opened.connection.close()
    assert opened.connection in opened.losses
    await opened.connection.close()  # once more does no harm
    assert opened.leaves_nothing()


async def test_engineio_leaves_the_session_to_the_connection(url):
    """It would close it in a task that is cancelled, and an error of aiohttp's would be left."""
    opened = Opened(url, ["websocket"])
    await opened.accepted
    await opened.connection.eio.disconnect(abort=True)
    assert not opened.session.closed
    await opened.connection.close()
    assert opened.leaves_nothing()


@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
@pytest.mark.parametrize("turns", range(0, 120, 7))
async def test_connection_that_is_given_up_at_any_moment_leaves_nothing(url, transports, turns):
    """Before there is a socket, in the handshake, in the upgrade, when it is accepted."""
    opened = Opened(url, transports)
    for _ in range(turns):
        await asyncio.sleep(0)
    await opened.connection.close()
    assert opened.leaves_nothing()


@pytest.mark.parametrize("which", ["read_loop_task", "write_loop_task"])
@pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
async def test_connection_is_lost_when_its_reader_or_writer_ends(url, transports, which):
    """Half a connection is none: on polling the other half would go on as if nothing were wrong."""
    opened = Opened(url, transports)
    await opened.accepted
    loop = getattr(opened.connection.eio, which)
    while not loop.done():  # Python 3.11 swallows a cancellation if a packet comes just then
        loop.cancel()
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert opened.connection in opened.losses
    await opened.connection.close()
    assert opened.leaves_nothing()


async def test_connection_that_is_given_up_before_it_begins_is_not_opened(url):
    """Its future is cancelled already."""
    opened = Opened(url, ["websocket"])
    opened.accepted.cancel()
    await opened.connection.close()
    assert opened.connection.eio.state == "disconnected"
    assert opened.leaves_nothing()


async def test_names_that_no_documentation_promises_are_there():
    """The contract with Engine.IO's and Socket.IO's clients, for all that a connection uses."""
    client = socketio.AsyncClient()
    assert callable(client.eio.handlers["message"])
    assert client.eio.http is client.eio.read_loop_task is client.eio.write_loop_task is None
    assert client.namespaces == {}
