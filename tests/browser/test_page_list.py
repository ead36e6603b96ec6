"""The list of messages when many of them arrive at once, and when the log is long."""

import asyncio
import contextlib
import threading
from functools import partial

import pytest
from playwright.sync_api import expect
from support import PATIENCE
from tabs import Tab, address, asked_from, replace_database, rewrite

from chatlab.harness.background import BackgroundServer
from chatlab.messages import CATCHING_UP, CHAT_MESSAGE, CHAT_MESSAGES, WHERE
from chatlab.recovery.recovery import Recovery
from chatlab.server.app import chat, create_app

MANY, STAY, STEP = 3000, 2000, 500
"""Messages in the log; those that the list shows by itself; those that it adds when it is asked."""
TEXTS = [str(number) for number in range(1, MANY + 1)]
COUNT_LAYOUTS = """() => {
    const place = Object.getOwnPropertyDescriptor(Element.prototype, "scrollTop");
    window.layouts = 0; // the list scrolls to its end, and lays itself out, each time it is drawn
    Object.defineProperty(Element.prototype, "scrollTop", {
      get: place.get,
      set(value) { window.layouts += 1; place.set.call(this, value); },
    });
}"""
KILLED = """addEventListener("pagehide", (event) => event.stopImmediatePropagation());"""
"""What keeps a page from saving anything at its end, as if its tab had been killed."""
LONG = "word " * 1_900


@pytest.fixture
def texts():
    """The messages of a long log. A test that wants others is parametrized with them."""
    return TEXTS


@pytest.fixture
def long_log(server, db, texts):
    """A server whose log has many messages already."""
    server.kill()
    replace_database(db, *texts)
    return server.start()


def shows_last(tab, count):
    """Wait until the list shows the last messages of the log, so many, and no others."""
    expect(tab.messages).to_have_count(count)
    expect(tab.messages.last).to_have_text(str(MANY))
    assert tab.messages.all_text_contents() == TEXTS[-count:]


def layouts(context, open_tab, last):
    """Open the page, wait until it shows the last message; return how often it was laid out."""
    context.add_init_script(f"({COUNT_LAYOUTS})()")
    tab = open_tab()
    expect(tab.messages.last).to_have_text(last)
    expect(tab.messages.last).to_be_in_viewport()
    return tab.page.evaluate("window.layouts")


def test_long_log_is_drawn_in_few_steps(context, open_tab, long_log):
    """Its end is there, in order, with the newest message in view."""
    assert layouts(context, open_tab, TEXTS[-1]) < MANY / 10


@pytest.mark.parametrize("texts", [TEXTS[:500]])
def test_message_drawn_by_itself_lays_the_page_out_by_itself(context, open_tab, long_log, texts):
    """The control: a list that is drawn at every message is laid out as often."""
    draw_at_once = ("    this.#schedule();\n  }\n\n  clear", "    this.#draw();\n  }\n\n  clear")
    rewrite(context, "list.js", *draw_at_once)
    assert layouts(context, open_tab, texts[-1]) >= len(texts)


def test_page_that_is_not_visible_shows_messages_too(context, open_tab, server):
    """It has no frames to draw in."""
    context.add_init_script("window.requestAnimationFrame = () => 0")
    tab = open_tab()
    tab.send("hello")
    tab.shows("hello")


@pytest.mark.parametrize("texts", [[f"{number} {LONG}" for number in range(100)]])
def test_long_texts_are_fewer_items(open_tab, long_log, texts):
    """The document is bounded in characters too, and so is what is put in front of it."""
    tab = open_tab()
    expect(tab.messages.last).to_have_text(texts[-1].strip())
    assert len("".join(tab.messages.all_text_contents())) <= 250_000
    shown = tab.messages.count()
    tab.press("Earlier messages")
    expect(tab.messages.last).to_have_text(texts[-1].strip())
    expect(tab.messages).to_have_count(shown + 10)


# Earlier messages.


def earlier(tab):
    return tab.page.get_by_role("button", name="Earlier messages")


def read_everything(tab, count=STAY):
    """Press the button until there is nothing earlier, and see that the list is whole."""
    while count < MANY:
        tab.press("Earlier messages")
        count = min(count + STEP, MANY)
        shows_last(tab, count)
    expect(earlier(tab)).to_be_hidden()


def test_reader_gets_all_earlier_messages(open_tab, long_log):
    """Step by step; what was in view is still there, and new messages are shown behind it."""
    tab = open_tab()
    shows_last(tab, STAY)
    read_everything(tab)
    expect(tab.messages.nth(STEP)).to_be_in_viewport()
    expect(tab.messages.last).not_to_be_in_viewport()


def test_reader_who_has_come_back_to_the_end_has_as_many_as_before(open_tab, long_log):
    """While he reads, nothing moves; at the end, the list is as short as it was, with the new."""
    ann, bob = open_tab(), open_tab()
    shows_last(bob, STAY)
    bob.press("Earlier messages")
    shows_last(bob, STAY + STEP)
    ann.send("new")
    expect(bob.page.get_by_text(f"offset {MANY + 1}")).to_be_visible()
    shows_last(bob, STAY + STEP)
    bob.messages.last.scroll_into_view_if_needed()
    expect(bob.messages.last).to_have_text("new")
    expect(bob.messages).to_have_count(STAY)
    expect(bob.messages.first).to_have_text(str(MANY + 2 - STAY))


def test_reload_keeps_the_end_and_asks_for_the_rest(open_tab, long_log):
    """What is saved is bounded, begins somewhere in the log, and is shown at once."""
    tab = open_tab()
    shows_last(tab, STAY)
    assert asked_from(tab.page, lambda: tab.press("Reload"))["serverOffset"] == MANY
    shows_last(tab, STAY)
    read_everything(tab)


def test_tab_that_is_killed_while_it_loads_shows_everything_once(context, open_tab, long_log):
    """At whatever moment: it asks for what comes after the last message that it has saved."""
    context.add_init_script(KILLED)
    tab = open_tab()
    asked = []
    for wait in (0, 20, 50, 100, 600):
        tab.page.wait_for_timeout(wait)
        asked.append(asked_from(tab.page, tab.page.reload)["serverOffset"])
    shows_last(tab, STAY)
    assert asked == sorted(asked)
    read_everything(tab)


def test_line_that_drops_while_the_page_loads_loses_nothing(open_tab, long_log):
    """In the middle of the pages, again and again."""
    tab = open_tab()
    for _ in range(5):
        tab.press("Drop the line")
        tab.press("Reconnect")
    tab.says("connected")
    shows_last(tab, STAY)
    read_everything(tab)


def test_recovered_page_goes_on_after_the_last_page(context, db):
    """The same, if the server recovers the connection's state from the position of the page."""
    replace_database(db, *TEXTS)
    build = partial(create_app, db=db, recovery=Recovery)
    with BackgroundServer(build, name="recovering") as server:
        tab = Tab(context.new_page())
        tab.page.goto(address(server))
        for _ in range(5):
            tab.says("connected")
            tab.press("Drop the line")
            tab.press("Reconnect")
        shows_last(tab, STAY)
        read_everything(tab)
        server.check()


@pytest.mark.parametrize("options", [("--keep", "2600")])
def test_earlier_messages_that_are_gone_have_a_marker(open_tab, long_log):
    """The last step says what there is not, and that is the beginning."""
    tab = open_tab()
    tab.send("new")
    expect(tab.messages.last).to_have_text("new")
    for count in (STAY + STEP, 2601):
        tab.press("Earlier messages")
        expect(tab.messages).to_have_count(count)
    expect(tab.messages.first).to_have_text("Messages 1 to 401 are gone from the server.")
    expect(tab.messages.nth(1)).to_have_text("402")
    expect(earlier(tab)).to_be_hidden()
    expect(tab.page.get_by_role("list", name="Messages")).to_be_focused()


def earlier_first(wait):
    """Handlers of a chat that lets `wait(log)` decide on a connection for earlier messages."""

    def handlers(sio, log):
        chat(sio, log)
        connect = sio.handlers["/"]["connect"]

        async def decide(sid, environ, auth):
            if 0 < auth["serverOffset"] < MANY - STAY and not await wait(log):
                return False
            return await connect(sid, environ, auth)

        sio.on("connect", decide)

    return handlers


@pytest.fixture
def deciding_tab(context, db):
    """A function that opens a tab on a long log, of a server with `earlier_first`."""
    with contextlib.ExitStack() as stack:

        def open_tab(wait):
            replace_database(db, *TEXTS)
            build = partial(create_app, earlier_first(wait), db=db)
            server = stack.enter_context(BackgroundServer(build, name="deciding"))
            tab = Tab(context.new_page())
            tab.page.goto(address(server))
            shows_last(tab, STAY)
            return tab

        yield open_tab


def test_reader_who_gets_no_earlier_messages_can_ask_again(deciding_tab):
    """A server that refuses the second connection: the list follows its end as before."""
    refused = []

    async def refuse(log):
        refused.append(log)

    tab = deciding_tab(refuse)
    for count in (1, 2):
        with tab.page.expect_request(lambda request: request.method == "POST"):
            tab.press("Earlier messages")
        tab.send(f"new {count}")
        expect(tab.messages.last).to_have_text(f"new {count}")
    assert len(refused) == 2
    tab.press("Drop the line")
    expect(earlier(tab)).to_be_hidden()


def test_message_that_comes_before_the_earlier_ones_moves_nothing(deciding_tab):
    """The reader was at the end when he asked, and gets what he asked for."""
    shown = threading.Event()

    async def append_first(log):
        await log.append("meanwhile")
        return await asyncio.to_thread(shown.wait, PATIENCE)

    tab = deciding_tab(append_first)
    tab.press("Earlier messages")
    expect(tab.messages.last).to_have_text("meanwhile")
    shown.set()
    expect(tab.messages).to_have_count(STAY + STEP + 1)
    expect(tab.messages.first).to_have_text(str(MANY - STAY - STEP + 1))


def test_connection_for_earlier_messages_says_where_the_page_is(context, db):
    """The console of a class may ask this one, as it is the latest."""
    replace_database(db, *TEXTS)
    said = []

    def handlers(sio, log):
        chat(sio, log)
        connect = sio.handlers["/"]["connect"]

        async def connect_and_ask(sid, environ, auth):
            await connect(sid, environ, auth)
            if auth["serverOffset"] > 0:
                await sio.emit(WHERE, to=sid, callback=said.append)

        sio.on("connect", connect_and_ask)

    with BackgroundServer(partial(create_app, handlers, db=db), name="asking") as server:
        tab = Tab(context.new_page())
        tab.page.goto(address(server))
        shows_last(tab, STAY)
        tab.press("Earlier messages")
        shows_last(tab, STAY + STEP)
        assert said == [MANY]


def test_short_log_has_no_button(open_tab):
    """All of it is in the list."""
    tab = open_tab()
    tab.send("one")
    tab.shows("one")
    expect(earlier(tab)).to_be_hidden()


def test_message_of_the_reader_of_earlier_ones_is_shown(open_tab, long_log):
    """The list goes to its end: it could not be seen anywhere else."""
    tab = open_tab()
    shows_last(tab, STAY)
    tab.press("Earlier messages")
    shows_last(tab, STAY + STEP)
    tab.send("mine")
    expect(tab.messages.last).to_have_text("mine")
    tab.holds()


# A message that is written while many arrive.

SEND = """(text) => {
  document.getElementById("text").value = text;
  document.getElementById("form").requestSubmit();
}"""
"""Writes and sends a message, without a pause before the next one."""


ANSWER_LATE = 60
"""Seconds in which the second of two messages is not answered."""


def slow(sio, log):
    """A server that sends nothing of its log until it got two messages."""

    @sio.event
    async def connect(sid, environ, auth):
        place = {"epoch": "E", "after": 0, "outcome": "continued"}
        await sio.emit(CATCHING_UP, (place,), to=sid)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        if text == "second":
            page = [["old 1", 1], ["old 2", 2], ["first", 3], ["second", 4]]
            await sio.emit(CHAT_MESSAGES, (page,), to=sid)
        if text == "unanswered":
            await asyncio.sleep(ANSWER_LATE)
        return 3 if text == "first" else 4


def test_messages_keep_their_order_while_they_wait_for_their_turn(open_tab, start):
    """The first one is stored and the second is not: the first stays above it."""
    tab = open_tab(address(start(slow)))
    tab.page.evaluate("() => ['first', 'unanswered'].forEach(send)".replace("send", SEND))
    expect(tab.pending.first).to_have_text("firstsent; those before it are still coming")
    expect(tab.pending.nth(1)).to_contain_text("unanswered")


def test_message_that_is_stored_is_shown_until_its_turn_comes(open_tab, start):
    """At once as sent, below the list; then in its place, once."""
    tab = open_tab(address(start(slow)))
    tab.send("first")
    expect(tab.pending).to_have_text(["firstsent; those before it are still coming"])
    tab.shows()
    tab.send("second")
    tab.shows("old 1", "old 2", "first", "second")
    tab.holds()
