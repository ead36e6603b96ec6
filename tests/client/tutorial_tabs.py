"""Fixtures for the tests of the client: the server of the tutorial, and tabs of it."""

import asyncio
from functools import partial

import pytest

from chatlab.client.tab import ChatClient
from chatlab.harness.background import BackgroundServer
from chatlab.server.app import create_app


class Tutorial:
    """The server of the tutorial, which also records who connects, and can be held."""

    def __init__(self):
        self.auths = []
        self.sids = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def __call__(self, sio, log):
        self.sio = sio

        @sio.event
        async def connect(sid, environ, auth):
            self.auths.append(auth)
            self.sids.append(sid)
            for message in await log.after(auth["serverOffset"]):
                await sio.emit("chat message", (message.text, message.offset), to=sid)

        @sio.on("chat message")
        async def chat_message(sid, text):
            if text == "bad words":
                return {"error": "bad text", "message": "no bad words"}
            await self.may_answer.wait()
            offset = await log.append(text)
            await sio.emit("chat message", (text, offset))
            return offset

        @sio.on("double")
        async def double(sid, number):
            return 2 * number


@pytest.fixture
def tutorial():
    return Tutorial()


@pytest.fixture
def server(tmp_path, tutorial):
    with BackgroundServer(partial(create_app, tutorial, db=tmp_path / "chat.db")) as server:
        yield server
    server.check()


@pytest.fixture
async def tab(server):
    """A function that opens a tab; all tabs are closed at the end."""
    tabs = []

    async def open_tab(name="ann", **options):
        tabs.append(ChatClient(server.url, name, **options))
        return await tabs[-1].open()

    yield open_tab
    for opened in tabs:
        await opened.close()
