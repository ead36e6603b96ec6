"""The connections of a tab: when it comes back by itself, and when it stays away."""

import asyncio
from functools import partial

import pytest

from chatlab.client.connector import Connector
from chatlab.harness.background import BackgroundServer
from chatlab.server.app import create_app


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    db = tmp_path_factory.mktemp("connector") / "chat.db"
    with BackgroundServer(partial(create_app, db=db)) as server:
        yield server.url


class Connected:
    """A connector, and what it has recorded."""

    def __init__(self, url, accepted=lambda welcome: None):
        self.recorded, self.url, self.changed = [], url, asyncio.Event()
        self.returning = []  # whether it was coming back, each time that it reached the server
        self.connector = Connector(
            "ann",
            start=self._start,
            accepted=accepted,
            receive=lambda event, *values: None,
            record=self.recorded.append,
            changed=self.changed.set,
        )

    def _start(self, connection, kind):
        def auth():
            self.recorded.append(kind)
            self.returning.append(self.connector.returning)
            return {"serverOffset": 0}

        connection.open(self.url, auth, ["websocket"])

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


async def test_connector_comes_back_when_the_connection_is_lost(url):
    """With a new connection; the late loss of the old one is ignored."""
    ann = Connected(url)
    await ann.connector.connect("join")
    old = ann.connector.current
    await old.close()
    assert ann.connector.returning
    await ann.until(lambda: not ann.connector.returning)
    assert ann.connector.connected and ann.connector.current is not old
    ann.connector._lost(old)
    assert ann.connector.connected and not ann.connector.returning
    await ann.connector.hang_up()
    assert (ann.connector.connected, ann.connector.returning) == (False, False)
    assert ann.recorded == ["join", "drop", "reconnect"]


async def test_connection_that_is_lost_as_soon_as_it_is_accepted_is_opened_again(url):
    """The attempt that has just succeeded does not end the next one."""
    losses = []

    def accepted(welcome):
        if len(ann.recorded) > 1 and not losses:  # in the attempt to come back
            losses.append(ann.connector.current)
            ann.connector._lost(ann.connector.current)

    ann = Connected(url, accepted)
    await ann.connector.connect("join")
    ann.connector._lost(ann.connector.current)
    await ann.until(lambda: losses)
    await ann.until(lambda: ann.connector.connected and not ann.connector.returning)
    assert ann.recorded == ["join", "drop", "reconnect", "drop", "reconnect"]
    assert ann.returning == [False, True, True]
    await ann.connector.hang_up()


async def test_hanging_up_ends_what_waits_for_an_answer(url):
    """With a sentence that names the tab; afterwards nothing can be asked."""
    ann = Connected(url)
    await ann.connector.connect("join")
    asking = asyncio.create_task(ann.connector.ask("an event without a handler"))
    await asyncio.sleep(0)
    await ann.connector.hang_up()
    with pytest.raises(ConnectionError, match="ann hung up before the answer"):
        await asking
    with pytest.raises(ConnectionError, match="ann has no connection"):
        await ann.connector.ask("anything")
