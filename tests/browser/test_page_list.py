"""The list of messages when many of them arrive at once."""

import pytest
from playwright.sync_api import expect
from tabs import replace_database, rewrite

MANY = 3000
COUNT_LAYOUTS = """() => {
    const place = Object.getOwnPropertyDescriptor(Element.prototype, "scrollTop");
    window.layouts = 0; // the list scrolls to its end, and lays itself out, each time it is drawn
    Object.defineProperty(Element.prototype, "scrollTop", {
      get: place.get,
      set(value) { window.layouts += 1; place.set.call(this, value); },
    });
}"""


@pytest.fixture
def long_log(server, db):
    """A server whose log has many messages already."""
    server.kill()
    replace_database(db, *map(str, range(1, MANY + 1)))
    return server.start()


def layouts(context, open_tab):
    """Open the page, wait until it shows the whole log, and return how often it was laid out."""
    context.add_init_script(f"({COUNT_LAYOUTS})()")
    tab = open_tab()
    expect(tab.messages).to_have_count(MANY)
    expect(tab.messages.last).to_be_in_viewport()
    assert tab.messages.all_text_contents() == list(map(str, range(1, MANY + 1)))
    return tab.page.evaluate("window.layouts")


def test_long_log_is_drawn_in_few_steps(context, open_tab, long_log):
    """All of it is there, in order, with the newest message in view."""
    assert layouts(context, open_tab) < MANY / 10


def test_message_drawn_by_itself_lays_the_page_out_by_itself(context, open_tab, long_log):
    """The control: a list that is drawn at every message is laid out as often."""
    rewrite(
        context,
        "list.js",
        "    this.#schedule();\n  }\n\n  clear",
        "    this.#draw();\n  }\n\n  clear",
    )
    assert layouts(context, open_tab) >= MANY


def test_page_that_is_not_visible_shows_messages_too(context, open_tab, server):
    """It has no frames to draw in."""
    context.add_init_script("window.requestAnimationFrame = () => 0")
    tab = open_tab()
    tab.send("hello")
    tab.shows("hello")
