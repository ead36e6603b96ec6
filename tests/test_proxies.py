"""Where HTTP_PROXY is set, and NO_PROXY is not: what is on this machine is reached all the same."""

import nbformat
import pytest
from documents import ROOT

from chatlab.client import ChatClient
from chatlab.lab import Lab
from chatlab.server import chat

DEAD = "http://127.0.0.1:9"
"""A proxy that cannot be reached; one that can be reached cannot reach this machine."""
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY")
CHAPTER = ROOT / "notebooks" / "00_start_here.ipynb"
PLAIN = "from urllib.request import urlopen\nurlopen(lab.server.url)"


@pytest.fixture(autouse=True)
def proxy(monkeypatch):
    """A proxy for everything, in the environment of this process and of the kernels it starts."""
    for name in NAMES:
        monkeypatch.setenv(name, DEAD)
        monkeypatch.setenv(name.lower(), DEAD)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)


@pytest.mark.parametrize("transports", [("websocket",), ("polling",), ("polling", "websocket")])
async def test_tab_reaches_its_server(served, transports):
    """Over each transport."""
    ann = await ChatClient(served.url, "ann", transports=transports).open()
    await ann.send("past the proxy")
    assert await ann.sees(1) == ["past the proxy"]
    await ann.close()


async def test_lab_reaches_its_server():
    """Its tabs come through their links."""
    async with Lab(chat) as lab:
        ann = await lab.join("ann")
        await ann.send("past the proxy")
        assert await ann.sees(1) == ["past the proxy"]


def test_first_chapter_reaches_its_server(kernel):
    """No cell fails that should not. The control: `urlopen` as it comes asks the proxy."""
    chapter = nbformat.read(CHAPTER, as_version=4)
    *cells, last = [cell for cell in chapter.cells if cell.cell_type == "code"]
    for cell in cells:
        may_fail = "raises-exception" in cell.metadata.get("tags", [])
        assert ("Error" in kernel.run(cell.source)) <= may_fail, cell.source
    assert kernel.run(PLAIN) == "URLError"
    assert kernel.run(last.source) == ""
