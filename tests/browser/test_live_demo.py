"""The live demo of a lab in a real browser: each button, real links, and a real process."""

import asyncio
import re
import threading

import pytest
from aiohttp import web
from playwright.sync_api import expect
from tabs import Tab

from chatlab.harness.background import BackgroundServer
from chatlab.lab.lab import Lab
from chatlab.lab.page_reports import THE_PAGE
from chatlab.server.app import chat

PATIENCE = 20


class Notebook:
    """The loop of a notebook's cells, beside the browser."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, coroutine):
        """Run a cell that awaits."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Demo:
    """The live demo, found by roles and labels, as a screen reader does."""

    def __init__(self, page):
        self.page = page
        self.tab = Tab(page.frame_locator("iframe"))
        self.drawing = page.locator("figure").get_by_role("img")
        self.state, self.alert = page.get_by_role("status"), page.get_by_role("alert")

    def open(self, url):
        """Return when the page has its WebSocket: during the upgrade the page sends nothing."""
        frames = []
        self.page.on("websocket", lambda socket: socket.on("framesent", lambda f: frames.append(f)))
        self.page.goto(url)
        expect(self.state).to_have_text("live")
        self.tab.says("connected")
        self.shows(THE_PAGE, "connected")
        eventually(self.page, lambda: "5" in frames)
        return self

    def shows(self, name, *words):
        """Wait until a client's row has these words."""
        head = self.page.get_by_role("rowheader", name=name, exact=True)
        row = self.page.get_by_role("row").filter(has=head)
        for word in words:
            expect(row.get_by_role("cell", name=word, exact=True)).to_be_visible()

    def press(self, *words):
        """Press a button, and wait until it is done."""
        button, *client = words
        name = " ".join([button.capitalize(), *client])
        self.page.get_by_role("button", name=name, exact=True).click()
        expect(self.page.get_by_text(f"{' '.join(words)}: done", exact=True)).to_be_visible()

    def draws(self, fact):
        """Wait until the picture shows something, in words."""
        expect(self.drawing).to_have_attribute("alt", fact)


@pytest.fixture
def notebook():
    notebook = Notebook()
    yield notebook
    notebook.close()


@pytest.fixture
def lab(browser, notebook):
    async def begin():
        lab = await Lab(chat, process=True)
        await lab.join("ann", "bob")
        return lab

    lab = notebook.run(begin())
    yield lab
    notebook.run(lab.close())


@pytest.fixture
def demo(context, lab):
    return Demo(context.new_page()).open(lab.live().page.url)


def has(fact):
    """A pattern for what contains these words."""
    return re.compile(re.escape(fact))


def test_diagram_grows_while_somebody_uses_the_page(demo, lab, notebook):
    """What is written on the page reaches the tabs and the picture, and the way back too."""
    demo.draws(has("0 messages sent"))
    before = demo.drawing.evaluate("image => image.decode().then(() => image.naturalHeight)")
    demo.tab.send("hello from the page")
    assert notebook.run(lab.clients["ann"].sees(1)) == ["hello from the page"]
    demo.draws(has("1 message sent"))
    notebook.run(lab.clients["ann"].send("hello page"))
    demo.tab.shows("hello from the page", "hello page")
    demo.draws(has("2 messages sent"))
    for name in ("ann", "bob", THE_PAGE):
        demo.shows(name, "2 of 2")
    after = demo.drawing.evaluate("image => image.decode().then(() => image.naturalHeight)")
    assert after > before > 0
    fault = "image => decodeURIComponent(image.src).includes('class=\"fault\"')"
    assert not demo.drawing.evaluate(fault)
    assert lab.history.clients == ["ann", "bob"]
    demo.shows(THE_PAGE, "0")
    assert notebook.run(lab.verdict()).valid
    assert lab.diagram().lanes == ["ann", "server", "bob", THE_PAGE]


def test_buttons_of_a_tab_act_on_the_tab_and_its_link(demo, lab):
    """Drop, reconnect, freeze, thaw, reload: the row shows what has become of it."""
    ann = lab.clients["ann"]
    demo.shows("ann", "caught up")
    demo.press("drop", "ann")
    assert not ann.connected
    demo.shows("ann", "offline")
    demo.tab.send("where is ann?")
    demo.shows("ann", "0 of 1")
    demo.press("reconnect", "ann")
    demo.shows("ann", "caught up", "1 of 1")
    demo.press("freeze", "ann")
    assert lab.links["ann"].frozen
    demo.tab.send("frozen?")
    demo.shows("ann", "1 of 2")
    flight = demo.page.get_by_role("cell", name=has("frozen: "))
    expect(flight).to_have_text(has(" bytes down"))
    demo.press("thaw", "ann")
    demo.shows("ann", "2 of 2", "nothing")
    demo.press("reload", "ann")
    demo.draws(has("ann drops once; ann reloads once; ann catches up on "))
    demo.shows("ann", "2 of 2", "caught up")
    assert ann.messages == ["where is ann?", "frozen?"]


def test_page_loses_its_line_and_comes_back(demo, lab, notebook):
    """What is written meanwhile waits in its outbox, and is stored once; what it misses comes."""
    demo.press("drop", THE_PAGE)
    demo.tab.says("connecting …")
    demo.shows(THE_PAGE, "connecting …", "line cut")
    demo.tab.send("written offline")
    demo.tab.holds("written offline")
    demo.shows(THE_PAGE, "1")
    notebook.run(lab.clients["bob"].send("missed"))
    demo.press("reconnect", THE_PAGE)
    demo.tab.shows("missed", "written offline")
    demo.shows(THE_PAGE, "connected", "2 of 2", "0", "nothing")
    assert notebook.run(lab.clients["bob"].sees(2)) == ["missed", "written offline"]
    demo.draws(has(f'{THE_PAGE} drops once; {THE_PAGE} catches up on 1 "missed"'))


def test_page_is_frozen_and_thawed(demo, lab, notebook):
    """It notices nothing at first: what it sends is under way, and what it should see too."""
    demo.press("freeze", THE_PAGE)
    demo.tab.send("to the server")
    notebook.run(lab.clients["bob"].send("to the page"))
    demo.shows(THE_PAGE, "0 of 1", "1")
    expect(demo.page.get_by_role("cell", name=has("bytes up"))).to_have_text(has("frozen: "))
    demo.tab.says("connected")
    under_way = "image => decodeURIComponent(image.src).includes('under way')"
    eventually(demo.page, lambda: demo.drawing.evaluate(under_way))
    demo.press("thaw", THE_PAGE)
    demo.tab.shows("to the page", "to the server")
    demo.shows(THE_PAGE, "2 of 2", "0", "nothing")
    eventually(demo.page, lambda: not demo.drawing.evaluate(under_way))


def test_page_is_reloaded(demo):
    """By its own button and by the panel's: it is another page, with the same messages."""
    demo.tab.send("hello")
    demo.tab.shows("hello")
    for times, press in enumerate(
        (lambda: demo.press("reload", THE_PAGE), lambda: demo.tab.press("Reload")), 1
    ):
        demo.page.frames[1].evaluate("window.marked = true")
        press()
        demo.draws(has(f"{THE_PAGE} reloads {'once' if times == 1 else '2 times'}"))
        demo.tab.says("connected")
        demo.tab.shows("hello")
        assert not demo.page.frames[1].evaluate("window.marked")
    demo.shows(THE_PAGE, "connected", "1 of 1")


def test_process_is_killed_and_started(demo, lab):
    """It is gone at once, everybody notices, and with the next one everybody has everything."""
    demo.tab.send("before")
    demo.shows(THE_PAGE, "1 of 1")
    process = lab.server._worker.process
    demo.press("kill")
    assert process.poll() == -9
    facts = demo.page.get_by_role("definition")
    expect(facts.first).to_have_text("killed")
    demo.shows("ann", "coming back")
    demo.shows(THE_PAGE, "connecting …")
    demo.tab.send("to a dead server")
    demo.press("start")
    expect(facts.first).to_have_text("running")
    demo.tab.shows("before", "to a dead server")
    for name in ("ann", "bob", THE_PAGE):
        demo.shows(name, "2 of 2")
    assert lab.server._worker.process.pid != process.pid
    demo.draws(has("the server is killed once"))


@pytest.mark.parametrize("width", [320, 390, 1000])
def test_demo_fits_its_screen(demo, width):
    """Nothing is wider than the screen, and all three parts are there."""
    demo.page.set_viewport_size({"width": width, "height": 720})
    demo.tab.send("hello")
    demo.press("freeze", "bob")
    demo.shows(THE_PAGE, "1 of 1")
    assert demo.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for part in (demo.drawing, demo.tab.text, demo.page.get_by_role("table", name="Clients")):
        part.scroll_into_view_if_needed()
        expect(part).to_be_in_viewport()


@pytest.mark.slow
def test_demo_works_behind_the_proxy_of_jupyter(context, jupyterlab, lab):
    """The panel finds its files and its stream there, and its buttons act."""
    address = f"{jupyterlab.url}/proxy/{lab.live().server.port}/{lab.live().panel.path}"
    demo = Demo(context.new_page()).open(address)
    demo.press("drop", "ann")
    assert not lab.clients["ann"].connected
    demo.shows("ann", "offline")
    demo.tab.send("through the proxy")
    demo.draws(has("1 message sent"))


def test_closed_lab_is_seen(demo, lab, notebook):
    """The panel says that it is not connected any more."""
    demo.shows("ann", "caught up")
    notebook.run(lab.close())
    expect(demo.state).to_have_text("not connected: is the lab closed?")


def test_second_window_takes_the_page_over(demo, context, lab):
    """One page is shown in the table: the one that was loaded last, of those that are open."""
    other = Demo(context.new_page()).open(lab.live().page.url)
    demo.draws(has(f"{THE_PAGE}"))
    other.tab.send("from the second window")
    demo.draws(has("1 message sent"))
    demo.tab.shows("from the second window")
    other.page.close()
    events = lab.live().reports.events
    eventually(demo.page, lambda: [event.kind for _, event in events][-2:] == ["close", "join"])
    demo.tab.send("from the first one")
    demo.shows(THE_PAGE, "connected", "2 of 2")


AROUND = """<p id="heard"></p><iframe src="{}"></iframe><script>
onmessage = ({{ source, data }}) => {{
  if (data.chatlab) heard.textContent += "told;";
  else source.postMessage("chatlab: a panel", "*");
}};
</script>"""


@pytest.mark.parametrize(
    ("host", "heard"), [("localhost", "told;told;"), ("chat.example", "")], ids=["own", "other"]
)
def test_page_tells_only_a_page_of_its_own_host(context, lab, host, heard):
    """Anybody can put the page into a frame; what is written there is not for everybody."""

    async def around(request):
        body = AROUND.format(f"http://{host}:{lab.server.port}/")
        return web.Response(text=body, content_type="text/html")

    def build():
        app = web.Application()
        app.router.add_get("/", around)
        return app

    def forward(route):
        """Give a name of its own to the server, whose files are enough here."""
        if "socket.io/?" in route.request.url:
            route.abort()
        else:
            route.fulfill(response=route.fetch(url=route.request.url.replace(host, "127.0.0.1")))

    with BackgroundServer(build, name="around") as server:
        page = context.new_page()
        page.route("http://chat.example:*/**", forward)
        page.goto(f"http://localhost:{server.port}/")
        tab = Tab(page.frame_locator("iframe"))
        tab.says("connected" if heard else "connecting …")
        tab.send("a secret")
        if not heard:
            tab.holds("a secret")
        expect(page.locator("#heard")).to_have_text(has(heard) if heard else "")


def eventually(page, condition):
    """Wait until a condition holds that nothing announces."""
    for _ in range(1000):
        if condition():
            return
        page.wait_for_timeout(10)
    pytest.fail("it does not come about")
