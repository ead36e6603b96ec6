"""Make the pictures of the README, in docs/: `make pictures`.

Both show what really happened: a scenario with the server of chapter 03, drawn by chatlab, and the
chat page in Chromium. The diagram has the same bytes on every machine. The picture of the page
depends on the browser and the fonts of the machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.async_api import Page, async_playwright, expect

from chatlab import Lab, chat

ROOT = Path(__file__).parents[1]
DIAGRAM, PAGE = ROOT / "docs" / "diagram.svg", ROOT / "docs" / "page.png"
SIZE, SCALE = {"width": 560, "height": 510}, 2
"""The size of the page, and how many pixels of the picture stand for one of the page."""
TALK = [
    ("ann", "hello bob"),
    ("ann", "are you there?"),
    ("bob", "back again, the train was in a tunnel"),
    ("ann", "bring some milk"),
    ("ann", "and bread"),
]
BROWSER = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--font-render-hinting=none"]


def server_of(chapter: str) -> Callable[..., None]:
    """Return the server that a chapter defines first, from its own cell."""
    cells = json.loads((ROOT / "notebooks" / chapter).read_text())["cells"]
    sources = ("".join(cell["source"]) for cell in cells if "server" in tags(cell))
    names: dict[str, Callable[..., None]] = {}
    exec(next(sources), names)
    return names["server"]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


async def draw_diagram() -> str:
    """Return the picture of a scenario with one good catch-up, and then one that goes wrong."""
    async with Lab(server_of("03_catch_up.ipynb")) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("hello bob")
        await lab.quiet()
        await bob.drop()
        await ann.send("are you there?")
        await bob.reconnect()
        await lab.quiet()
        await bob.drop()
        await ann.send("bring some milk")
        pause = await lab.pause(bob.reconnect())
        await ann.send("and bread")
        await lab.quiet()
        await pause.go_on()
        await lab.quiet()
        return lab.diagram().svg


async def photograph_page() -> bytes:
    """Return the picture of a page without a connection, and of a message that waits for it."""
    async with Lab(chat) as lab, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=BROWSER
        )
        page = await browser.new_page(viewport=SIZE, device_scale_factor=SCALE)
        await page.goto(lab.page().url)
        await live_through_a_drop(lab, page)
        return await page.screenshot(animations="disabled")


async def live_through_a_drop(lab: Lab, page: Page) -> None:
    """Let a page get messages of simulated tabs, drop its connection, and then write a message."""
    state, pending = page.get_by_role("status"), page.get_by_role("list", name="Not sent yet")
    await expect(state).to_have_text("connected")
    tabs = dict(zip(("ann", "bob"), await lab.join("ann", "bob"), strict=True))
    for name, text in TALK:
        await tabs[name].send(text)
        await expect(page.get_by_text(text, exact=True)).to_be_visible()
    await page.get_by_role("button", name="Drop the line").click()
    await expect(state).to_have_text("line dropped")
    await page.get_by_label("Message", exact=True).fill("I have both!")
    await page.get_by_role("button", name="Send").click()
    await expect(pending).to_contain_text("waits for the connection")


async def main() -> None:
    DIAGRAM.parent.mkdir(exist_ok=True)
    DIAGRAM.write_text(await draw_diagram() + "\n")
    PAGE.write_bytes(await photograph_page())


if __name__ == "__main__":
    if shutil.which("chromium") is None:
        sys.exit("The picture of the page needs Chromium, and none is on the PATH.")
    asyncio.run(main())
