"""The panel in a real browser, with something made up to look at."""

import asyncio
import threading
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from chatlab.harness.background import BackgroundServer
from chatlab.panel.panel import Panel
from chatlab.panel.picture import Client, Drawing, Frame, Picture

MARKUP = "<img src=x onerror='top.ran = true'><script>top.ran = true</script>"
LONG = "a-long-name-" * 20
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{}"><circle r="9"/></svg>'
PRESSES = """async (address) => {
  const press = { method: "POST", body: JSON.stringify({ button: "kill" }) };
  for (const type of ["application/json", "text/plain"]) {
    for (const mode of ["cors", "no-cors"]) {
      const headers = { "Content-Type": type };
      await fetch(`${address}press`, { ...press, mode, headers }).catch(() => {});
    }
  }
  return new Promise((end) => {
    const socket = new WebSocket(`${address.replace("http", "ws")}state`);
    socket.onopen = () => end("open");
    socket.onerror = () => end("refused");
  });
}"""
"""What a page may try that knows the address of a panel."""
INNER = "http://localhost:9/"
TELLS = "<script>parent.postMessage({chatlab: {offset: 7}}, '*')</script>"


class Stage:
    """What the panel shows, and what was pressed."""

    def __init__(self):
        self.picture = Picture(
            "A lab",
            {"server": "serves", "log": "5 messages"},
            ["State", "Offset"],
            [
                Client("ann", ["connected", 5], True, ["drop", "freeze"]),
                Client("bob", ["offline", 3], False, ["reconnect", "fail"]),
            ],
            ["kill"],
        )
        self.pressed, self.reports = [], []
        self.free = threading.Event()

    def change(self, **parts):
        self.picture = replace(self.picture, **parts)

    async def press(self, *client):
        self.pressed.append(client)
        if client == ("ann",):
            self.change(clients=[Client("ann", ["offline", 5], False, ["reconnect", "freeze"])])

    async def fail(self, client):
        raise ValueError(f"{client} cannot do this")

    async def wait(self, client):
        self.pressed.append(client)
        await asyncio.to_thread(self.free.wait)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.free.set()


@pytest.fixture
def served(stage):
    buttons = dict.fromkeys(["drop", "reconnect", "kill"], stage.press)
    buttons |= {"freeze": stage.wait, "fail": stage.fail}
    panel = Panel(
        lambda: stage.picture, buttons, on_report=lambda _, report: stage.reports.append(report)
    )
    with BackgroundServer(panel.app, name="panel") as server:
        server.address = f"http://localhost:{server.port}/{panel.path}"
        yield server
    server.check()


@pytest.fixture
def page(context, served):
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.goto(served.address)
    expect(page.get_by_role("status")).to_have_text("live")
    yield page
    assert page.complaints == []


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def test_screen_reader_hears_a_table_with_named_buttons(page):
    """Every button says what it does and for whom, and the words say what the marks say."""
    for width in (1000, 390):  # as a table, and as cards
        page.set_viewport_size({"width": width, "height": 700})
        expect(page.locator("body")).to_match_aria_snapshot("""
            - banner:
              - heading "A lab" [level=1]
              - status: live
              - term: server
              - definition: serves
              - term: log
              - definition: 5 messages
              - group "For all":
                - button "Kill"
            - main:
              - table "Clients":
                - rowgroup:
                  - row "Name State Offset Buttons":
                    - columnheader "Name"
                    - columnheader "State"
                    - columnheader "Offset"
                    - columnheader "Buttons"
                - rowgroup:
                  - row "ann connected 5 Drop ann Freeze ann":
                    - rowheader "ann"
                    - cell "connected"
                    - cell "5"
                    - cell "Drop ann Freeze ann":
                      - button "Drop ann": Drop
                      - button "Freeze ann": Freeze
                  - row "bob offline 3 Reconnect bob Fail bob"
        """)
    for place in ("note", "said"):
        assert page.locator(f"#{place}").get_attribute("aria-live") == "polite"


def test_button_that_is_pressed_with_the_keyboard_keeps_the_focus(page, stage):
    """Though it says something else now, and the row below it has gone."""
    drop = button(page, "Drop ann")
    drop.focus()
    page.keyboard.press("Enter")
    expect(button(page, "Reconnect ann")).to_be_focused()
    expect(page.get_by_text("drop ann: done")).to_be_visible()
    expect(page.get_by_role("rowheader")).to_have_text(["ann"])
    assert stage.pressed == [("ann",)]


def test_button_that_takes_its_time_says_so_and_is_pressed_once(page, stage):
    """Until it is done it takes no second press, and the others do."""
    freeze = button(page, "Freeze ann")
    freeze.click()
    expect(page.get_by_text("freeze ann …")).to_be_visible()
    expect(freeze).to_have_attribute("aria-disabled", "true")
    freeze.click(force=True)
    button(page, "Kill").click()
    expect(page.get_by_text("kill: done")).to_be_visible()
    stage.free.set()
    expect(page.get_by_text("freeze ann: done")).to_be_visible()
    expect(freeze).not_to_have_attribute("aria-disabled", "true")
    assert stage.pressed == ["ann", ()]


def test_button_that_fails_is_an_alert_until_the_next_press(page):
    """The sentence of the error, and nothing else is lost."""
    button(page, "Fail bob").click()
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("fail bob: ValueError: bob cannot do this")
    button(page, "Kill").click()
    expect(page.get_by_text("kill: done")).to_be_visible()
    expect(alert).to_have_count(0)
    [complaint] = page.complaints  # the browser's own, about the status of the answer
    assert "500" in complaint
    page.complaints.clear()


def test_names_and_texts_are_never_markup(page, stage):
    """Whoever chooses a name, or writes a message that a picture shows, runs nothing here."""
    rows = [Client(MARKUP, [MARKUP, 1], True, ["drop"])]
    svg = SVG.format(20).replace("</svg>", f'<script>top.ran = true</script>{MARKUP}"</svg>')
    stage.change(
        title=MARKUP,
        facts={MARKUP: MARKUP},
        clients=rows,
        note=MARKUP,
        drawing=Drawing(svg, MARKUP),
    )
    expect(page.get_by_role("rowheader")).to_have_text([MARKUP])
    for place in ("h1", "dt", "dd", "#note"):
        expect(page.locator(place)).to_have_text(MARKUP)
    expect(page.get_by_role("img")).to_have_attribute("alt", MARKUP)
    button(page, f"Drop {MARKUP}").click()
    expect(page.get_by_text(f"drop {MARKUP}: done")).to_be_visible()
    assert page.locator("script, img").count() == 2  # its own
    assert page.evaluate("window.ran") is None


def test_drawing_grows_and_its_reader_follows(page, stage):
    """The end is in view, as long as nobody has scrolled up."""
    region = page.get_by_role("region", name="Picture")
    stage.change(drawing=Drawing(SVG.format(2000), "one"))
    expect(page.get_by_role("img", name="one")).to_be_visible()
    end = "region => region.scrollTop + region.clientHeight"
    eventually(page, lambda: region.evaluate(end) > 1990)
    stage.change(drawing=Drawing(SVG.format(3000), "two"))
    eventually(page, lambda: region.evaluate(end) > 2990)
    region.evaluate("region => { region.scrollTop = 5; }")
    stage.change(drawing=Drawing(SVG.format(4000), "three"))
    image = page.get_by_role("img", name="three")
    eventually(page, lambda: image.evaluate("image => image.naturalHeight") == 4000)
    assert region.evaluate("region => region.scrollTop") == 5
    stage.change(drawing=None)
    expect(region).to_be_hidden()


def test_page_in_the_frame_is_loaded_once_and_again_when_it_is_asked_for(page, stage):
    """What it says of itself is told; what another window says is not."""
    page.route(INNER, lambda route: route.fulfill(body=TELLS, content_type="text/html"))
    stage.change(frame=Frame("Your page", INNER))
    expect(page.get_by_title("Your page")).to_be_visible()
    eventually(page, lambda: stage.reports == [{"offset": 7}])
    page.evaluate("postMessage({chatlab: {offset: 99}}, '*')")
    stage.change(note="a change that does not concern it")
    expect(page.get_by_text("a change that")).to_be_visible()
    stage.change(frame=Frame("Your page", INNER, loads=1))
    eventually(page, lambda: len(stage.reports) > 1)
    assert stage.reports == [{"offset": 7}] * 2


@pytest.mark.parametrize("width", [320, 390, 1000])
def test_narrow_screen_needs_no_sideways_scrolling(page, stage, width):
    """Long names and many buttons fit a phone; the picture scrolls by itself."""
    page.set_viewport_size({"width": width, "height": 700})
    rows = [Client(LONG, [LONG, 1], True, ["drop", "freeze", "reconnect", "fail", "kill"])]
    stage.change(clients=rows, note=LONG, drawing=Drawing(SVG.format(900), "one"))
    expect(page.get_by_role("rowheader")).to_have_text([LONG])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("Drop", "Kill"):
        expect(button(page, f"{name} {LONG}")).to_be_visible()


def test_panel_that_comes_back_is_found_again(page, stage, served):
    """While it is away, the page says so; what a button says then is a sentence."""
    served.stop()
    expect(page.get_by_role("status")).to_have_text("not connected: is the lab closed?")
    button(page, "Kill").click()
    expect(page.get_by_role("alert")).to_have_text("kill: no answer. Is the lab closed?")
    stage.change(facts={"log": "6 messages"})
    served.start()
    expect(page.get_by_role("status")).to_have_text("live")
    expect(page.get_by_role("definition")).to_have_text(["6 messages"])
    page.complaints.clear()  # the browser's own, about connections that failed


def test_page_of_another_origin_presses_nothing(page, stage, served, context):
    """It knows the address, which it should not, and sends what a browser lets it send."""
    other = context.new_page()
    other.route(
        "http://127.0.0.1:9/", lambda route: route.fulfill(body="<p>", content_type="text/html")
    )
    other.goto("http://127.0.0.1:9/")
    sent = other.evaluate(PRESSES, served.address)
    assert sent == "refused"
    assert stage.pressed == []
    button(page, "Kill").click()
    expect(page.get_by_text("kill: done")).to_be_visible()
    assert stage.pressed == [()]


def eventually(page, condition):
    """Wait until a condition holds that nothing announces."""
    for _ in range(1000):
        if condition():
            return
        page.wait_for_timeout(10)
    pytest.fail("it does not come about")
