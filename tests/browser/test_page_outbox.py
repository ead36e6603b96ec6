"""The page's outbox in a real browser: messages arrive once and in order, or are reported."""

import contextlib
import sqlite3

import pytest
from playwright.sync_api import expect
from support import WITHOUT_KEY, stored, tutorial
from tabs import SMALL_CHUNKS, Tab, address, asked_from, remove_saved, rewrite

from chatlab.messages import CHAT_MESSAGE

TEXTS = ["one", "two", "three", "four"]
# What the page's WebSocket does to an acknowledgement, while a test wants it: it closes instead of
# handing it over, or it swallows it. A page that has moved to its WebSocket says so.
LOSE = """
    window.acknowledgements = "arrive";
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (data) {
      if (data === "5") window.upgraded = true;
      send.call(this, data);
    };
    const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
    Object.defineProperty(WebSocket.prototype, "onmessage", {
      set(listener) {
        set.call(this, (event) => {
          const fate = event.data.startsWith("43") ? window.acknowledgements : "arrive";
          if (fate === "arrive") return listener(event);
          window.acknowledgements = "arrive";
          if (fate === "close") this.close();
        });
      },
    });
"""
DENIED = """
    for (const area of ["localStorage", "sessionStorage"]) {
      Object.defineProperty(window, area, {
        get() { throw new DOMException("denied", "SecurityError"); },
      });
    }
"""
FULL = """
    Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
"""
FULL_AFTER = """
    const { setItem } = Storage.prototype;
    Storage.prototype.setItem = function (key, value) {
      if (window.full) throw new DOMException("full", "QuotaExceededError");
      setItem.call(this, key, value);
    };
"""
NOTHING_STORED = "This browser stores nothing: unsent messages are gone after a reload."
NO_ROOM = "This browser has no room: unsent messages are gone after a reload."
NOT_KEPT = "The list is not kept: a reload asks for all messages again."


@pytest.fixture
def open_lossy_tab(context, open_tab):
    """A function that opens a tab of which a test can lose acknowledgements."""
    context.add_init_script(LOSE)

    def open_lossy_tab():
        tab = open_tab()
        tab.page.wait_for_function("window.upgraded")
        return tab

    return open_lossy_tab


def write_offline(tab, *texts):
    """Drop the connection and write; what was written waits."""
    tab.press("Drop the line")
    tab.says("line dropped")
    for text in texts:
        tab.send(text)
    tab.holds(*texts)


def lose(tab, fate):
    tab.page.evaluate("fate => { window.acknowledgements = fate; }", fate)


def refuse(tab, text):
    """Write what the server refuses; return the item of the message."""
    tab.text.evaluate("input => input.removeAttribute('maxlength')")
    tab.send(text)
    item = tab.pending.filter(has=tab.page.get_by_role("button", name="Edit"))
    expect(item).to_contain_text("Not sent: a message has at most 10,000 characters.")
    return item


TOO_LONG = "x" * 10_001

# Waiting for the connection.


def test_tab_that_lives_sends_what_a_closed_one_has_left(open_tab, db):
    """It need not be loaded anew, and it does not send what belongs to an open tab."""
    ann, bob = open_tab(), open_tab()
    write_offline(ann, "one", "two")
    bob.send("before")
    bob.shows("before")
    ann.page.close()
    bob.shows("before", "one", "two")
    bob.holds()
    assert stored(db) == ["before", "one", "two"]


def test_reload_sends_what_was_pending_once_and_in_order(open_tab, db):
    """What was written offline is stored in the order of writing, after a reload."""
    tab = open_tab()
    write_offline(tab, *TEXTS)
    tab.press("Reload")
    tab.shows(*TEXTS)
    tab.holds()
    assert stored(db) == TEXTS


def test_closed_tab_is_sent_by_the_next(open_tab, db):
    """The messages of a tab that is gone are sent by the next tab."""
    tab = open_tab()
    write_offline(tab, *TEXTS)
    tab.page.close()
    assert stored(db) == []
    tab = open_tab()
    tab.shows(*TEXTS)
    tab.holds()
    assert stored(db) == TEXTS


def test_killed_server_gets_what_was_written_meanwhile(open_tab, server, db):
    """kill -9, four messages, a start: all are there, behind the one before."""
    tab = open_tab()
    tab.send("before")
    tab.shows("before")
    server.kill()
    tab.says("connecting …")
    for text in TEXTS:
        tab.send(text)
    tab.holds(*TEXTS)
    server.start()
    tab.shows("before", *TEXTS)
    tab.holds()
    assert stored(db) == ["before", *TEXTS]


def test_order_holds_when_the_clock_steps_back(open_tab, db):
    """A later message comes later, before a reload and after it, whatever the clock says."""
    tab = open_tab()
    tab.press("Drop the line")
    tab.page.evaluate("() => { const now = Date.now(); Date.now = () => now + 120_000; }")
    for text in TEXTS:
        tab.send(text)
        tab.page.evaluate("() => { const now = Date.now(); Date.now = () => now - 1000; }")
    tab.page.route("**/socket.io/?*", lambda route: route.abort())
    tab.press("Reload")  # and the clock is right again
    tab.holds(*TEXTS)  # the script has loaded, and takes what is written
    tab.send("five")
    tab.holds(*TEXTS, "five")
    tab.page.unroute("**/socket.io/?*")
    tab.press("Reload")
    tab.shows(*TEXTS, "five")
    assert stored(db) == [*TEXTS, "five"]


def test_written_before_the_client_has_loaded_is_sent_later(context, server, db):
    """The form works at once: its messages wait for the rest of the page."""
    page = context.new_page()
    held = []
    page.route("**/page/vendor/*", lambda route: held.append(route))
    with page.expect_request("**/page/vendor/*"):
        page.goto(server.url, wait_until="commit")
    tab = Tab(page)
    tab.send("early")
    expect(tab.pending).to_contain_text(["waits for the connection"])
    held[0].continue_()
    tab.shows("early")
    tab.holds()
    assert stored(db) == ["early"]


def test_written_before_the_script_has_loaded_stays_in_the_form(context, server):
    """No script could take it yet: the form does nothing, and the page is not left."""
    page, held = context.new_page(), []
    page.route("**/page/page.js", lambda route: held.append(route))
    with page.expect_request("**/page/page.js"):
        page.goto(server.url, wait_until="commit")
    tab = Tab(page)
    tab.send("too early")
    held[0].continue_()
    tab.says("connected")
    expect(tab.text).to_have_value("too early")


# A lost acknowledgement.


@pytest.mark.parametrize("fate", ["close", "swallow"])
def test_lost_acknowledgement_stores_once(context, open_lossy_tab, db, fate):
    """The connection breaks, or stands and is silent: the message is sent again and stored once."""
    rewrite(context, "outbox.js", "ANSWER_WITHIN = 10_000", "ANSWER_WITHIN = 500")
    tab = open_lossy_tab()
    lose(tab, fate)
    for text in TEXTS:
        tab.send(text)
    tab.shows(*TEXTS)
    tab.holds()
    assert tab.page.evaluate("window.acknowledgements") == "arrive"  # it was lost
    assert stored(db) == TEXTS


def test_lost_acknowledgement_stores_twice_without_a_key(context, open_lossy_tab, db):
    """The control: the same script without the key."""
    rewrite(context, *WITHOUT_KEY)
    tab = open_lossy_tab()
    lose(tab, "close")
    for text in TEXTS:
        tab.send(text)
    tab.shows("one", *TEXTS)
    tab.holds()
    assert stored(db) == ["one", *TEXTS]


def test_message_that_was_not_stored_is_tried_again(open_tab, db):
    """While the database fails, the message waits and shows why, and those behind it wait too."""
    tab = open_tab()
    with contextlib.closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute(
            "CREATE TRIGGER no BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
        tab.send("one")
        tab.send("two")
        sentence = "the message could not be stored: no room; it will be sent again"
        expect(tab.pending).to_have_text([f"one{sentence}", "twowaits for its turn"])
        other.execute("DROP TRIGGER no")
    tab.shows("one", "two")
    tab.holds()
    assert stored(db) == ["one", "two"]


def test_pause_grows_with_each_failure_up_to_half_a_minute(open_tab):
    """Doubled each time, and up to a half of it is chance."""
    tab = open_tab()
    for chance, longest in ((0, 15_000), (1, 30_000)):
        pauses = tab.page.evaluate(
            """async (chance) => {
              const { src } = document.querySelector("script[type=module]");
              const { pauseAfter } = await import(new URL("outbox.js", src));
              Math.random = () => chance;
              return [1, 2, 3, 7, 2000].map(pauseAfter);
            }""",
            chance,
        )
        assert pauses == [longest / 60, longest / 30, longest / 15, longest, longest]


# Two tabs that share what is stored.


def test_two_tabs_send_the_same_messages_once_and_in_order(context, open_tab, server, db):
    """Both send all of them at the same time, and no message overtakes another."""
    texts = [str(number) for number in range(30)]
    ann = open_tab()
    write_offline(ann, *texts)
    bob = Tab(context.new_page())
    bob.page.goto(server.url)
    ann.press("Reconnect")
    for tab in (ann, bob):
        tab.shows(*texts)
        tab.holds()
    assert stored(db) == texts


def test_message_that_another_tab_has_sent_leaves_the_outbox(open_tab):
    """A tab that is still offline knows that its messages were sent."""
    ann = open_tab()
    write_offline(ann, *TEXTS)
    bob = open_tab()
    bob.shows(*TEXTS)
    ann.holds()
    ann.says("line dropped")


def test_refusal_is_heard_in_the_other_tab_and_so_is_its_end(open_tab):
    """Both tabs have the message; one gets the refusal, the other one throws the message away."""
    ann = open_tab()
    ann.text.evaluate("input => input.removeAttribute('maxlength')")
    write_offline(ann, TOO_LONG)
    bob = open_tab()
    for tab in (bob, ann):
        expect(tab.pending).to_contain_text("Not sent: a message has at most 10,000 characters.")
    ann.press("Discard")
    for tab in (ann, bob):
        tab.holds()


def test_two_writers_keep_what_the_other_has_stored(open_tab, db):
    """Both write offline, by turns; both reload, and nothing is gone."""
    ann, bob = open_tab(), open_tab()
    for tab in (ann, bob):
        tab.press("Drop the line")
    for number in range(4):
        ann.send(f"ann {number}")
        bob.send(f"bob {number}")
    ann.page.close()
    bob.page.close()
    tab = open_tab()
    expect(tab.messages).to_have_count(8)
    tab.holds()
    for name in ("ann", "bob"):
        mine = [text for text in stored(db) if text.startswith(name)]
        assert mine == [f"{name} {number}" for number in range(4)]


# Refused messages.


def test_refused_message_does_not_hold_up_the_next(open_tab, db):
    """It stays, with the server's sentence, also after a reload; the next one is sent."""
    tab = open_tab()
    refuse(tab, TOO_LONG)
    tab.send("short")
    tab.shows("short")
    tab.page.route("**/socket.io/?*", lambda route: route.abort())  # so it is not sent again
    tab.press("Reload")
    tab.says("connecting …")
    tab.shows("short")
    expect(tab.pending).to_contain_text(["Not sent: a message has at most 10,000 characters."])
    assert stored(db) == ["short"]


def test_edit_takes_the_text_back_into_the_form(open_tab, db):
    """In front of what is being written there; it can be shortened and sent."""
    tab = open_tab()
    item = refuse(tab, TOO_LONG)
    tab.text.fill("and more")
    item.get_by_role("button", name="Edit").press("Enter")
    tab.holds()
    expect(tab.text).to_have_value(f"{TOO_LONG} and more")
    expect(tab.text).to_be_focused()
    tab.send("short")
    tab.shows("short")
    tab.press("Reload")
    tab.shows("short")
    tab.holds()
    assert stored(db) == ["short"]


def test_discard_throws_the_message_away(open_tab, db):
    """For good: also after a reload, it is not there."""
    tab = open_tab()
    item = refuse(tab, TOO_LONG)
    item.get_by_role("button", name="Discard").press("Enter")
    tab.holds()
    expect(tab.text).to_be_focused()
    tab.press("Reload")
    tab.says("connected")
    tab.holds()
    assert stored(db) == []


def test_message_is_shown_as_text(open_tab):
    """What waits is never HTML either."""
    tab = open_tab()
    write_offline(tab, "<img src=x onerror='window.ran = true'>")
    tab.page.reload()
    tab.shows("<img src=x onerror='window.ran = true'>")
    assert tab.page.evaluate("window.ran") is None


# A browser that does not store.


def test_denied_storage_is_said_and_all_works(context, open_tab, db):
    """Memory alone is enough for as long as the page lives; a reload asks from 0."""
    context.add_init_script(DENIED)
    tab = open_tab()
    notice = tab.page.get_by_text(NOTHING_STORED)
    expect(notice).to_be_visible()
    write_offline(tab, *TEXTS)
    tab.press("Reconnect")
    tab.shows(*TEXTS)
    tab.holds()
    expect(tab.page.get_by_text(NOT_KEPT)).to_be_visible()
    assert asked_from(tab.page, lambda: tab.press("Reload")) == {"serverOffset": 0, "pages": True}
    tab.shows(*TEXTS)
    assert stored(db) == TEXTS


def test_full_storage_is_said_and_nothing_is_lost_while_the_page_lives(context, open_tab, db):
    """The same where storing fails and reading does not."""
    context.add_init_script(FULL)
    tab = open_tab()
    expect(tab.page.get_by_text(NOTHING_STORED)).to_be_visible()
    write_offline(tab, *TEXTS)
    tab.press("Reconnect")
    tab.shows(*TEXTS)
    tab.holds()
    assert stored(db) == TEXTS


def test_storage_that_fills_up_is_said_for_as_long_as_it_matters(context, open_tab, db):
    """What was stored stays stored; the notice goes when everything was sent."""
    context.add_init_script(FULL_AFTER)
    tab = open_tab()
    write_offline(tab, "kept")
    expect(tab.page.get_by_text("This browser")).to_have_count(0)
    tab.page.evaluate("window.full = true")
    tab.send("in memory")
    expect(tab.page.get_by_text(NO_ROOM)).to_be_visible()
    tab.press("Reconnect")
    tab.shows("kept", "in memory")
    tab.holds()
    expect(tab.page.get_by_text(NO_ROOM)).to_have_count(0)
    assert stored(db) == ["kept", "in memory"]


def test_storage_full_of_others_things_is_left_alone(open_tab):
    """Items that are none of ours, and items of ours that make no sense, do no harm."""
    tab = open_tab()
    tab.page.evaluate("""() => {
        localStorage.setItem("somebody else's", "{");
        localStorage.setItem("chatlab.letter./.junk", "{");
        localStorage.setItem("chatlab.letter./.1.0123456789abcdef0123456789abcdef", "[1]");
        localStorage.setItem(
          "chatlab.letter./proxy/8888/.1.0123456789abcdef0123456789abcdef",
          JSON.stringify({ text: "for another server, behind the same proxy" }),
        );
        sessionStorage.setItem("chatlab.message./.junk", "{");
        sessionStorage.setItem("chatlab.message./.1", '[0, "saved by the page before an update"]');
    }""")
    tab.press("Reload")
    tab.says("connected")
    tab.holds()
    tab.send("hello")
    tab.shows("hello")
    assert tab.page.evaluate('localStorage.getItem("somebody else\'s")') == "{"


# Servers of the first chapters, which know nothing of keys, and some of no offsets.


def echo(sio, log):
    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, text)


def test_message_without_an_offset_is_shown_and_not_kept(context, start):
    """An echo that acknowledges nothing has taken the message; after a reload nothing is left."""
    tab = Tab(context.new_page())
    tab.page.goto(address(start(echo)))
    for text in TEXTS:
        tab.send(text)
    tab.shows(*TEXTS)
    tab.holds()
    assert asked_from(tab.page, lambda: tab.press("Reload")) == {"serverOffset": 0, "pages": True}
    tab.says("connected")
    tab.shows()
    tab.send("again")
    tab.shows("again")


def test_page_works_with_the_server_of_the_tutorial(context, start, db):
    """Its handler takes a text and nothing else."""
    tab = Tab(context.new_page())
    tab.page.goto(address(start(tutorial)))
    tab.says("connected")
    write_offline(tab, *TEXTS)
    tab.press("Reload")
    tab.shows(*TEXTS)
    tab.holds()
    assert stored(db) == TEXTS


# The list of messages, saved for a reload.


def test_reload_asks_only_for_what_is_new(open_tab):
    """The saved list is shown again, and the rest comes from the server."""
    ann, bob = open_tab(), open_tab()
    for text in TEXTS[:2]:
        ann.send(text)
    bob.shows(*TEXTS[:2])
    bob.press("Drop the line")
    for text in TEXTS[2:]:
        ann.send(text)
    ann.shows(*TEXTS)
    assert asked_from(bob.page, lambda: bob.press("Reload"))["serverOffset"] == 2
    bob.shows(*TEXTS)
    expect(bob.page.get_by_text("offset 4")).to_be_visible()
    assert asked_from(bob.page, lambda: bob.press("Reload"))["serverOffset"] == 4
    bob.shows(*TEXTS)


def test_another_tab_has_seen_nothing_yet(open_tab):
    """The list is a tab's own: a new tab asks for everything, as the control of the test above."""
    ann = open_tab()
    ann.send("one")
    ann.shows("one")
    page = ann.page.context.new_page()
    assert asked_from(page, lambda: page.goto(ann.page.url)) == {"serverOffset": 0, "pages": True}
    Tab(page).shows("one")


def test_list_that_is_not_kept_whole_is_not_kept(context, open_tab):
    """When there is no room for one message more, the reload asks for all of them."""
    context.add_init_script(FULL_AFTER)
    tab = open_tab()
    tab.send("one")
    tab.shows("one")
    tab.page.evaluate("window.full = true")
    tab.send("two")
    tab.shows("one", "two")
    expect(tab.page.get_by_text(NOT_KEPT)).to_be_visible()
    tab.page.evaluate("window.full = false")
    tab.send("three")
    tab.shows("one", "two", "three")
    assert asked_from(tab.page, lambda: tab.press("Reload")) == {"serverOffset": 0, "pages": True}
    tab.shows("one", "two", "three")


def test_list_with_a_hole_is_not_used(context, open_tab):
    """If a chunk in the middle is missing, the page asks for everything."""
    rewrite(context, *SMALL_CHUNKS)
    tab = open_tab()
    for text in TEXTS:
        tab.send(text)
    tab.shows(*TEXTS)
    remove_saved(tab, 2)
    assert asked_from(tab.page, lambda: tab.press("Reload")) == {"serverOffset": 0, "pages": True}
    tab.shows(*TEXTS)
