"""The chat page in a real browser, against the real server."""

from functools import partial

import pytest
from aiohttp import web
from playwright.sync_api import expect
from support import refusing_for_now
from tabs import Tab, address, rewrite

from chatlab.harness.background import BackgroundServer
from chatlab.page import BROWSER_CLIENT
from chatlab.server import create_app

CDN = "https://cdn.socket.io/**"
MARKUP = ["<img src=x onerror='window.ran = true'>", "<script>window.ran = true</script>"]
LONG = "https://example.org/" + "very-" * 100 + "long"


def test_message_is_seen_in_both_tabs(open_tab):
    """Two tabs show the same messages in the same order, whichever tab sent them; no errors."""
    ann, bob = open_tab(), open_tab()
    complaints = []
    for tab in (ann, bob):
        tab.page.on("console", lambda message: complaints.append(message.text))
    ann.send("hello bob")
    bob.shows("hello bob")
    bob.send("hello ann")
    for tab in (ann, bob):
        tab.shows("hello bob", "hello ann")
        expect(tab.text).to_have_value("")
    assert complaints == []


def test_new_page_writes_nothing_to_the_console(context, server):
    """Loading and connecting, from the first request on, gives no error and no warning."""
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(server.url)
    expect(page.get_by_role("status")).to_have_text("connected")
    assert complaints == []


def test_dropped_tab_catches_up(open_tab):
    """The button really closes the connection: nothing arrives until the tab is back."""
    ann, bob = open_tab(), open_tab()
    ann.send("1")
    bob.shows("1")
    bob.press("Drop the line")
    bob.says("line dropped")
    for text in "2345":
        ann.send(text)
        ann.shows(*"12345"[: int(text)])
    bob.shows("1")
    bob.press("Reconnect")
    bob.shows(*"12345")
    ann.send("6")
    bob.shows(*"123456")


def test_drop_closes_the_websocket(context, server):
    """A drop ends the browser's own connection."""
    page = context.new_page()
    with page.expect_websocket() as opened:
        page.goto(server.url)
    expect(page.get_by_role("status")).to_have_text("connected")
    with opened.value.expect_event("close"):
        page.get_by_role("button", name="Drop the line").click()


BREAK_AN_UPGRADE = """
    const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
    Object.defineProperty(WebSocket.prototype, "onmessage", {
      set(listener) {
        set.call(this, function receive(event) {
          const probed = event.data === "3probe" && !window.broken;
          if (probed && document.getElementById("state").dataset.connected !== "true") {
            return setTimeout(() => receive.call(this, event));
          }
          listener(event);
          if (!probed) return;
          window.broken = true;
          window.breaks();
          this.onclose({ code: 1006 });
          this.close();
        });
      },
    });
"""
SEND = """
    document.getElementById("text").value = "during";
    document.getElementById("text").form.requestSubmit();
"""


DROP_AND_RECONNECT = "for (const press of [1, 2]) document.getElementById('connection').click();"


@pytest.mark.parametrize(
    ("meanwhile", "texts"),
    [
        ("", []),
        (SEND, ["during"]),
        (DROP_AND_RECONNECT, []),
        (SEND + DROP_AND_RECONNECT, ["during"]),
    ],
    ids=["nothing", "send", "drop", "send and drop"],
)
def test_line_that_breaks_during_the_upgrade_is_noticed_at_once(
    context, open_tab, meanwhile, texts
):
    """Between polling and WebSocket the client hears nothing, not even that the line is gone."""
    context.add_init_script(f"{BREAK_AN_UPGRADE} window.breaks = () => {{ {meanwhile} }};")
    tab = open_tab()
    tab.page.wait_for_function("window.broken")
    websockets = []
    tab.page.on("websocket", lambda websocket: websockets.append(websocket))
    tab.send("after")
    tab.shows(*texts, "after")
    tab.holds()
    assert not websockets
    with tab.page.expect_websocket():  # the connection after the next one upgrades again
        tab.press("Drop the line")
        tab.says("line dropped")
        tab.press("Reconnect")
    tab.says("connected")


def test_reloaded_tab_shows_everything_once(open_tab):
    """A page that was reloaded has what it had, in order, and nothing of it twice."""
    tab = open_tab()
    for number in range(1, 6):
        tab.send(str(number))
        tab.shows(*"12345"[:number])
    tab.press("Reload")
    tab.says("connected")
    tab.shows(*"12345")
    expect(tab.page.get_by_text("offset 5")).to_be_visible()


def test_killed_server_loses_nothing_that_was_shown(open_tab, server):
    """After kill -9 and a start on the same port the tabs are back, and every message is there."""
    ann, bob = open_tab(), open_tab()
    for text in ("before", "just before"):
        ann.send(text)
    bob.shows("before", "just before")
    server.kill()
    for tab in (ann, bob):
        tab.says("connecting …")
    server.start()
    for tab in (ann, bob):
        tab.says("connected")
    bob.send("after")
    for tab in (ann, bob):
        tab.shows("before", "just before", "after")
        tab.press("Reload")
        tab.shows("before", "just before", "after")


def test_markup_is_shown_as_text(open_tab):
    """A message is never HTML: it is read as it was written, and nothing in it runs."""
    ann, bob = open_tab(), open_tab()
    for text in MARKUP:
        ann.send(text)
    for tab in (ann, bob):
        tab.shows(*MARKUP)
        tab.page.reload()
        tab.shows(*MARKUP)
        assert tab.page.evaluate("window.ran") is None


def test_same_markup_as_html_would_run(open_tab):
    """The control: the image of the test above does run where it is not escaped."""
    tab = open_tab()
    tab.page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", MARKUP[0])
    tab.page.wait_for_function("window.ran")


def test_refused_connection_is_said_and_not_awaited(context, server):
    """A page that asks with a bad offset gets an error, and does not claim to be connecting."""
    page = context.new_page()
    rewrite(page, "page.js", "serverOffset: asked", 'serverOffset: "abc"')
    page.goto(server.url)
    expect(page.get_by_role("status")).to_have_text("not connected")
    expect(page.get_by_role("alert")).to_contain_text("The server refuses: an offset is a whole")
    expect(page.get_by_role("button", name="Reconnect")).to_be_visible()


def test_connection_that_is_refused_for_now_is_asked_for_again(context, db):
    """A server whose log cannot be read says so; the page comes again until it can."""
    hesitant, refusals = refusing_for_now(2)
    with BackgroundServer(partial(create_app, hesitant, db=db), name="hesitant") as server:
        page = context.new_page()
        page.goto(address(server))
        expect(page.get_by_role("status")).to_have_text("connected")
        expect(page.get_by_role("alert")).to_be_hidden()
    assert not refusals


def test_message_without_a_connection_waits_for_it(open_tab):
    """An offline tab keeps the message and shows that; when it is back, it sends it."""
    tab = open_tab()
    tab.press("Drop the line")
    tab.send("are you there?")
    expect(tab.pending).to_have_text(["are you there?waits for the connection"])
    expect(tab.text).to_have_value("")
    tab.press("Reconnect")
    tab.shows("are you there?")
    tab.holds()


def test_page_works_inside_another_application(context, db):
    """Below /chat/ it finds its files, its client and its server."""

    def build():
        app = web.Application()
        app.add_subapp("/chat/", create_app(db=db))
        return app

    with BackgroundServer(build, name="host") as server:
        tab = Tab(context.new_page())
        tab.page.goto(f"{address(server)}chat/")
        tab.says("connected")
        tab.send("below another")
        tab.shows("below another")


def test_page_in_a_frame_leaves_the_focus_where_it_is(context, server):
    """A notebook that shows the page goes on taking what its reader types."""
    page = context.new_page()
    frame = "<title>A notebook</title><iframe src='/' title='The page'></iframe>"
    page.route("**/notebook", lambda route: route.fulfill(body=frame, content_type="text/html"))
    page.goto(f"{server.url}/notebook")
    tab = Tab(page.frame_locator("iframe"))
    tab.says("connected")
    assert page.evaluate("() => document.activeElement.tagName") == "BODY"


def test_keyboard_alone_is_enough(open_tab):
    """Without a mouse: write and send, drop, reconnect, send by the button, reload."""
    tab = open_tab()
    keys = tab.page.keyboard
    expect(tab.text).to_be_focused()
    keys.type("one")
    keys.press("Enter")
    tab.shows("one")
    tab.holds()
    for name in ("Messages", "Reload", "Drop the line"):
        keys.press("Shift+Tab")
        expect(tab.page.locator(":focus")).to_have_accessible_name(name)
    keys.press("Space")
    tab.says("line dropped")
    keys.press("Enter")
    tab.says("connected")
    for _ in range(3):
        keys.press("Tab")
    keys.type("two")
    keys.press("Tab")
    keys.press("Space")
    tab.shows("one", "two")
    tab.holds()
    for _ in range(3):
        keys.press("Shift+Tab")
    with tab.page.expect_navigation():
        keys.press("Enter")
    tab.shows("one", "two")


def test_screen_reader_hears_state_and_messages(open_tab):
    """One status, a polite live list, another that says what it is, and a field with a label."""
    tab = open_tab()
    tab.press("Drop the line")
    tab.send("x")
    expect(tab.page.locator("body")).to_match_aria_snapshot("""
        - banner:
          - heading "chatlab"
          - status: line dropped
          - paragraph: offset 0
          - button "Reconnect"
          - button "Reload"
        - main:
          - list "Messages"
          - list "Not sent yet":
            - listitem: x waits for the connection
        - text: Message
        - textbox "Message"
        - button "Send"
    """)
    messages = tab.page.get_by_role("list", name="Messages")
    expect(messages).to_have_attribute("aria-live", "polite")


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_narrow_screen_needs_no_sideways_scrolling(open_tab, width):
    """A link without a space fits a phone, sent or not or refused; the form stays in view."""
    tab = open_tab()
    tab.page.set_viewport_size({"width": width, "height": 640})
    tab.send(LONG)
    tab.shows(LONG)
    tab.text.evaluate("input => input.removeAttribute('maxlength')")
    tab.send(LONG * 20)
    expect(tab.page.get_by_role("button", name="Discard")).to_be_visible()
    tab.press("Drop the line")
    for _ in range(10):
        tab.send(LONG)
    expect(tab.pending).to_have_count(11)
    expect(tab.pending.last).to_be_in_viewport()
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sideways = "lists => lists.every((list) => list.scrollWidth <= list.clientWidth)"
    assert tab.page.locator("ol").evaluate_all(sideways)
    expect(tab.messages).to_be_in_viewport()
    expect(tab.page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)


@pytest.fixture
def long_tab(open_tab):
    """A tab with more messages than fit on the screen."""
    tab = open_tab()
    for number in range(40):
        tab.send(f"message {number}")
    expect(tab.messages).to_have_count(40)
    return tab


def test_newest_message_is_in_view(long_tab):
    """The list scrolls with the conversation, also when the outbox takes some of its room."""
    expect(long_tab.messages.last).to_be_in_viewport(ratio=1)
    expect(long_tab.messages.first).not_to_be_in_viewport()
    long_tab.press("Drop the line")
    long_tab.send("x")
    expect(long_tab.pending).to_be_visible()
    expect(long_tab.messages.last).to_be_in_viewport(ratio=1)


def test_reader_who_scrolled_up_is_left_alone(long_tab):
    """A reader of old messages keeps them in view when a new one arrives."""
    long_tab.messages.first.scroll_into_view_if_needed()
    expect(long_tab.messages.first).to_be_in_viewport()
    long_tab.send("new")
    expect(long_tab.messages).to_have_count(41)
    expect(long_tab.messages.first).to_be_in_viewport()
    expect(long_tab.messages.last).not_to_be_in_viewport()


def without_client(page, network):
    """Take the installed Socket.IO client away; its network address answers with `network`."""
    page.route("**/page/vendor/*", lambda route: route.fulfill(status=404))
    allow = {"Access-Control-Allow-Origin": "*"}
    script = "text/javascript"
    page.route(CDN, lambda route: route.fulfill(body=network, content_type=script, headers=allow))


def test_page_without_its_client_loads_it_from_the_network(context, server):
    """Where npm was missing at the set-up, the same file comes from its CDN, and all works."""
    page = context.new_page()
    without_client(page, BROWSER_CLIENT.read_bytes())
    page.goto(server.url)
    expect(page.get_by_role("status")).to_have_text("connected")


def test_changed_client_from_the_network_is_not_run(context, server):
    """The control: one byte more, and the integrity hash keeps it out; the page says why."""
    page = context.new_page()
    without_client(page, BROWSER_CLIENT.read_bytes() + b"\n")
    page.goto(server.url)
    expect(page.get_by_role("status")).to_have_text("not connected")
    expect(page.get_by_role("alert")).to_contain_text("the Socket.IO client did not load")
    assert page.evaluate("typeof io") == "undefined"
