"""The page of the official Socket.IO tutorial, with the official client, against our server."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from tabs import replace_database

PAGE = Path(__file__).with_name("tutorial.html")
WAYS_TO_LEAVE = {
    "engine closed": "socket.io.engine.close()",  # what a bad network does: it comes back alone
    "disconnected": "socket.disconnect()",
}


class TutorialTab:
    """A tab with the tutorial's page."""

    def __init__(self, page, url):
        page.route(f"{url}/tutorial", lambda route: route.fulfill(path=PAGE))
        self.page, self.until = page, page.wait_for_function
        page.goto(f"{url}/tutorial")
        self.until("socket.connected")

    def run(self, script):
        self.page.evaluate(f"async () => {{ {script} }}")

    def send(self, text):
        self.page.get_by_label("Message").fill(text)
        self.page.get_by_label("Message").press("Enter")

    def shows(self, *texts):
        expect(self.page.get_by_role("listitem")).to_have_text(texts)


@pytest.fixture
def open_tab(context, server):
    """A function that opens the tutorial's page in another tab."""
    context.grant_permissions(["local-network-access"])  # a page from `route` has no address
    return lambda: TutorialTab(context.new_page(), server.url)


def test_two_tabs_see_each_other(open_tab):
    """Both tabs show what either sends, and know its offset."""
    ann, bob = open_tab(), open_tab()
    ann.send("hello bob")
    bob.shows("hello bob")
    bob.send("hello ann")
    for tab in (ann, bob):
        tab.shows("hello bob", "hello ann")
        tab.until("socket.auth.serverOffset === 2")


def test_page_starts_with_polling_and_moves_to_websocket(context, open_tab):
    """The official client's default way in: long polling first, then the upgrade."""
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    tab = open_tab()
    tab.until("socket.io.engine.transport.name == 'websocket'")
    first = next(url for url in asked if "/socket.io/?" in url)
    assert "transport=polling" in first
    tab.send("by websocket")
    tab.shows("by websocket")


@pytest.mark.parametrize("leave", WAYS_TO_LEAVE.values(), ids=WAYS_TO_LEAVE)
def test_tab_that_was_away_catches_up(open_tab, leave):
    """Five messages that were sent meanwhile are there once, in order, before the next live one."""
    ann, bob = open_tab(), open_tab()
    ann.send("1")
    bob.shows("1")
    bob.run("socket.io.reconnection(false)")  # so that it stays away until the messages are sent
    bob.run(leave)
    bob.until("!socket.connected")
    for text in "23456":
        ann.send(text)
    ann.shows(*"123456")
    bob.shows("1")
    bob.run("socket.io.reconnection(true); socket.connect()")
    bob.shows(*"123456")
    ann.send("7")
    bob.shows(*"1234567")


def test_broken_connection_heals_alone(open_tab):
    """The client comes back by itself after its transport is gone, and nothing is there twice."""
    tab = open_tab()
    tab.send("before")
    tab.shows("before")
    tab.run("""
        const lost = new Promise((done) => socket.once("disconnect", done));
        socket.io.engine.close();
        await lost;
    """)
    tab.until("socket.connected")
    tab.send("after")
    tab.shows("before", "after")


def test_reloaded_tab_shows_everything_once(open_tab):
    """A page that was reloaded asks for what comes after 0: the whole log."""
    tab = open_tab()
    for text in "123":
        tab.send(text)
    tab.shows(*"123")
    tab.page.reload()
    tab.shows(*"123")


@pytest.mark.parametrize("options", [("--keep", "3")])
def test_page_gets_what_is_left_of_a_log_that_forgets(open_tab):
    """What it is told of the gap does not disturb it: it shows the messages that there are."""
    ann, bob = open_tab(), open_tab()
    for text in "12":
        ann.send(text)
    bob.shows(*"12")
    bob.run("socket.io.reconnection(false); socket.disconnect()")
    for number in range(3, 9):
        ann.send(str(number))
        ann.until(f"socket.auth.serverOffset === {number}")
    bob.run("socket.io.reconnection(true); socket.connect()")
    bob.shows(*"12678")
    ann.send("9")
    bob.shows(*"126789")
    ann.shows(*"123456789")
    bob.page.reload()
    bob.shows(*"789")


def test_page_gets_everything_from_a_shorter_log(open_tab, server, db):
    """It does not know that it should begin anew; it shows the other log after what it has."""
    tab = open_tab()
    for number in range(1, 4):
        tab.send(f"old {number}")
        tab.until(f"socket.auth.serverOffset === {number}")
    server.kill()
    tab.until("!socket.connected")
    replace_database(db, "new 1", "new 2")
    server.start()
    tab.until("socket.connected")
    tab.shows("old 1", "old 2", "old 3", "new 1", "new 2")
    tab.send("new 3")
    tab.shows("old 1", "old 2", "old 3", "new 1", "new 2", "new 3")
    tab.until("socket.auth.serverOffset === 3")
