"""The end of connections: stopping is quick, and clients come back."""

import aiohttp
import pytest
from support import turns, untold, wired

from chatlab.client.tab import ChatClient
from chatlab.server.ending import TRANSPORTS


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)])
async def test_stopping_server_hangs_up(served, transports):
    """The clients lose their connection at once, without a DISCONNECT, so they reconnect."""
    bob = await ChatClient(served.url, "bob", transports=transports).open()
    async with wired(served.url) as ann:
        await ann.connect()
        await served.runner.cleanup()
        end = await untold(ann.ws)
        assert end.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    await bob.until(lambda: bob.returning, "tries to come back")
    while served.runner.app[TRANSPORTS]:
        await turns()
    await bob.close()
