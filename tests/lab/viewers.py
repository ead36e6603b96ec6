"""Somebody who looks at the live demo of a lab, and somebody who uses the page in it."""

import asyncio
import contextlib

import aiohttp
import pytest

from chatlab.client.tab import ChatClient
from chatlab.lab.lab import Lab
from chatlab.server.app import chat

PATIENCE = 20


class Viewer:
    """Somebody who looks at the panel, and presses its buttons."""

    def __init__(self, session, url, stream):
        self.session, self.url, self.stream = session, url, stream
        self.picture = {}

    @property
    def rows(self):
        return {
            row["name"]: dict(zip(self.picture["columns"], row["values"], strict=True)) | row
            for row in self.picture["clients"]
        }

    async def sees(self, condition):
        """Look until a condition about the viewer holds, by what the panel sends."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (self.picture and condition(self)):
                    self.picture |= await self.stream.receive_json()
        except TimeoutError:
            pytest.fail(f"it is never seen: {self.picture}")

    async def press(self, button, client=None):
        """Press a button and return the answer."""
        asked = {"button": button} | ({"client": client} if client else {})
        async with self.session.post(f"{self.url}press", json=asked) as answer:
            return await answer.json()

    async def tell(self, kind, text=None, offset=None, connected=True, **more):
        """Tell what the page in the frame would."""
        news = {"kind": kind, "text": text, "offset": offset, "connected": connected}
        await self.stream.send_json(news | more)


@contextlib.asynccontextmanager
async def looking(url):
    url = url.replace("localhost", "127.0.0.1")  # looking a name up takes a thread, which stays
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}state") as stream,
    ):
        yield Viewer(session, url, stream)


@contextlib.asynccontextmanager
async def shown(server=chat, *names, **options):
    """A lab with its tabs, shown live to a viewer."""
    async with Lab(server, **options) as lab:
        for name in names:
            await lab.join(name)
        async with looking(lab.live().page.url) as viewer:
            yield lab, viewer


@contextlib.asynccontextmanager
async def human(viewer):
    """Somebody in the frame: a tab of which the lab knows nothing, behind the link of the page."""
    await viewer.sees(lambda seen: seen.picture["frame"])
    port = viewer.picture["frame"]["source"].rstrip("/").rpartition(":")[2]
    tab = await ChatClient(f"http://127.0.0.1:{port}", "human").open()
    yield tab
    await tab.close()


def button_of(name, button):
    return lambda viewer: button in viewer.rows[name]["buttons"]
