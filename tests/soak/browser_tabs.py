"""Tabs of a real browser, with the page's own script, each behind a link of its own."""

import asyncio
import contextlib
from functools import partial

import socketio
from playwright.async_api import async_playwright
from support import CHROMIUM_ARGUMENTS, chromium, rewritten, stored

from chatlab.harness import LINK_FAULTS, BackgroundServer, Link
from chatlab.server.app import create_app

HEARTBEAT = 2
DELAY = 0.05
"""Seconds on the way in each direction: a line that breaks then takes something with it."""
PATIENCE = 60_000
"""Milliseconds in which all tabs are connected and have sent everything."""
POST = """(content) => {
    const text = document.getElementById("text");
    text.value = content;
    document.getElementById("form").requestSubmit();
    return text.value;
}"""
AT_REST = """() => document.getElementById("state").textContent === "connected"
    && document.getElementById("pending").childElementCount === 0"""
SHOWS = """(count) => document.getElementById("messages").childElementCount >= count"""


class BrowserTab:
    """The chat page in a tab. Its link has a port of its own, so its storage is its own too."""

    def __init__(self, page, link, name):
        self.page, self.link, self.name = page, link, name
        self.posted = []

    async def open(self):
        await self.page.goto(f"http://localhost:{self.link.port}/")

    async def post(self):
        """Write the next message; the form is empty at once, whatever the network does."""
        self.posted.append(f"{self.name} writes {len(self.posted) + 1}")
        assert await self.page.evaluate(POST, self.posted[-1]) == ""

    async def drop(self):
        await self.press("Drop the line")

    async def reconnect(self):
        self.link.thaw()
        await self.press("Reconnect")

    async def reload(self):
        self.link.thaw()
        await self.page.reload()

    async def press(self, label):
        """Press the button, if it is there now."""
        button = self.page.locator("#connection")
        if await button.text_content() == label:
            await button.click()

    async def at_rest(self):
        """Wait until the tab is connected and its outbox is empty."""
        await self.reconnect()
        await self.page.wait_for_function(AT_REST, timeout=PATIENCE)

    async def shows(self, count):
        """Return what the list shows, when it shows so many."""
        await self.page.wait_for_function(SHOWS, arg=count, timeout=PATIENCE)
        return await self.page.locator("#messages > li").all_text_contents()


class Crowd:
    """Many tabs and a server that can be killed. Enter it to open them all.

    `changes` are what `rewritten` is to do with the page's scripts.
    """

    def __init__(self, names, db, *changes):
        self.names, self.db, self.changes = names, db, changes
        options = {"ping_interval": HEARTBEAT, "ping_timeout": HEARTBEAT}
        build = partial(create_app, db=db, server=partial(socketio.AsyncServer, **options))
        self.server = BackgroundServer(build, name="page chaos", process=True)

    async def __aenter__(self):
        path = chromium()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self.server)
            playwright = await stack.enter_async_context(async_playwright())
            browser = await playwright.chromium.launch(
                executable_path=path, args=CHROMIUM_ARGUMENTS
            )
            stack.push_async_callback(browser.close)
            self.context, self.errors = await browser.new_context(bypass_csp=True), []
            self.context.on("weberror", lambda error: self.errors.append(error.error))
            for change in self.changes:
                await self._rewrite(*change)
            tabs = await asyncio.gather(*(self._open(name, stack) for name in self.names))
            self.tabs = dict(zip(self.names, tabs, strict=True))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info):
        await self._stack.aclose()
        assert self.errors == []
        self.server.check()

    async def _rewrite(self, script, old, new):
        body = rewritten(script, old, new)
        await self.context.route(
            f"**/page/{script}",
            lambda route: route.fulfill(body=body, content_type="text/javascript"),
        )

    async def _open(self, name, stack):
        link = await stack.enter_async_context(Link(self.server.port, delay=DELAY))
        tab = BrowserTab(await self.context.new_page(), link, name)
        await tab.open()
        return tab

    async def live_through(self, day):
        """Let mishaps happen, then mend everything and wait until all is sent."""
        for kind, who in day:
            if kind == "kill":
                await self._kill()
            elif kind == "send":
                await self.tabs[who].post()
            elif kind in LINK_FAULTS:
                getattr(self.tabs[who].link, kind)()
            else:
                await getattr(self.tabs[who], kind)()
        await self.at_rest()

    async def _kill(self):
        """Kill the server while everybody writes, with all that is under way.

        Half of the links stand still: what is written there is lost. Of the others, the first
        message is stored, and its acknowledgement is lost. Everybody writes again while the server
        is away.
        """
        await self.at_rest()
        tabs, before = list(self.tabs.values()), len(stored(self.db))
        still, flowing = tabs[::2], tabs[1::2]
        for tab in still:
            tab.link.freeze()
        await _post(still)
        posting = asyncio.create_task(_post(flowing))
        while len(stored(self.db)) == before:  # noqa: ASYNC110 - only the file can say
            await asyncio.sleep(0.001)
        self.server.kill()
        for tab in tabs:
            tab.link.cut()
            tab.link.thaw()
        await posting
        await _post(tabs)
        self.server.start()

    async def at_rest(self):
        """Wait until all tabs are connected and all outboxes are empty."""
        await asyncio.gather(*(tab.at_rest() for tab in self.tabs.values()))

    async def shown(self):
        """Return what each tab shows, when it shows as much as is stored."""
        count = len(stored(self.db))
        return await asyncio.gather(*(tab.shows(count) for tab in self.tabs.values()))


async def _post(tabs):
    await asyncio.gather(*(tab.post() for tab in tabs))
