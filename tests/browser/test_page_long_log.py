"""How the page grows with the log: ten times the messages take about ten times as long, or less.

Each figure is compared with another one of the same run, never with a number of seconds.
"""

from collections import namedtuple

import pytest
from tabs import replace_database, rewrite

from chatlab.server.delivery import PAGE

FEW, MANY = 5_000, 50_000
Loaded = namedtuple("Loaded", "seconds drawn events writes items stored heap")
"""How long it took; the most characters that were drawn at a time; the events that were read, and
the writes to the storage; and at the end, the items in the document, the characters in the storage,
and the bytes in memory."""
WATCH = """
    window.drawn = 0;
    const { append } = Element.prototype;
    Element.prototype.append = function (...items) {
      append.apply(this, items);
      const text = items.map((item) => item.textContent).join("");
      if (this.id === "messages") window.drawn = Math.max(window.drawn, text.length);
    };
    window.events = window.writes = 0;
    const { parse } = JSON;
    JSON.parse = (text) => { window.events += 1; return parse(text); };
    const { setItem } = Storage.prototype;
    Storage.prototype.setItem = function (key, value) {
      window.writes += 1;
      setItem.call(this, key, value);
    };
"""
WRITE = """() => {
    document.getElementById("text").value = "mine";
    document.getElementById("form").requestSubmit();
    return document.getElementById("pending").textContent;
}"""
SHOWN = """(count) => {
    const shows = document.getElementById("offset").textContent == count;
    const last = document.getElementById("messages").lastElementChild?.textContent;
    return shows && last === "mine" ? performance.now() / 1000 : 0;
}"""
AT_REST = """() => [window.drawn, window.events, window.writes,
    document.getElementById("messages").childElementCount,
    Object.values(sessionStorage).join("").length]"""
KEPT = """() => Object.values(sessionStorage).some((value) => value.includes("mine"))"""
WITHOUT_WEBSOCKET = "window.WebSocket = undefined;"
WITHOUT_PAGES = ("page.js", "pages: true", "pages: false")
WITHOUT_CHUNKS = ("saved.js", "IN_A_CHUNK = 10_000", "IN_A_CHUNK = 1")
UNBOUNDED = ("list.js", "{ items: 2_000, characters: 250_000 }", "{ items: 1e9, characters: 1e9 }")
ALL_AT_ONCE = ("list.js", "{ items: 200, characters: 20_000 }", "{ items: 1e9, characters: 1e9 }")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def load(browser, server, db):
    """A function that opens the page, in a fresh profile, on a log of so many messages.

    It writes a message while the others arrive, and returns when the page has shown all.
    """

    def load(count, init="", changes=(), words="with a few words"):
        server.kill()
        replace_database(db, *(f"message {n} {words}" for n in range(1, count + 1)))
        server.start()
        with browser.new_context() as context:
            page = context.new_page()
            page.add_init_script(WATCH + init)
            for change in changes:
                rewrite(page, *change)
            page.goto(server.url)
            assert "mine" in page.evaluate(WRITE)
            shown = page.wait_for_function(SHOWN, arg=count + 1, polling=20, timeout=200_000)
            page.wait_for_function(KEPT)
            cdp = context.new_cdp_session(page)
            cdp.send("HeapProfiler.collectGarbage")
            heap = cdp.send("Runtime.getHeapUsage")["usedSize"]
            return Loaded(shown.json_value(), *page.evaluate(AT_REST), heap)

    return load


@pytest.mark.parametrize("init", ["", WITHOUT_WEBSOCKET], ids=["websocket", "polling"])
def test_page_on_a_long_log_grows_with_it_or_less(load, init):
    """In time; and in memory, document and storage not at all."""
    few, many = load(FEW, init), load(MANY, init)
    assert many.seconds < 2 * MANY / FEW * few.seconds
    assert many.events < 1.1 * MANY / PAGE
    assert many.writes < MANY / 100
    assert many.items == few.items < FEW
    assert many.stored < 300_000
    assert many.heap < 1.5 * few.heap


def test_page_without_pages_and_bounds_exceeds_that(load):
    """The control: with a tenth of the messages it reads, writes and holds more than the other."""
    control = load(FEW, changes=[WITHOUT_PAGES, WITHOUT_CHUNKS, UNBOUNDED])
    assert control.events > 2 * MANY / PAGE
    assert control.writes > 2 * MANY / 100
    assert control.items > FEW


def test_long_texts_are_drawn_in_small_steps(load):
    """The control draws all that has come at once, and its reader waits for that."""
    words = "word " * 1900
    drawn = load(100, words=words).drawn
    assert len(words) < drawn <= 20_000
    assert load(100, changes=[ALL_AT_ONCE], words=words).drawn > 2 * drawn
