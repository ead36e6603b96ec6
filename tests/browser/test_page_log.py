"""What the page shows when the server's log is another one, was put back, or forgets.

The finished server tells the page; those of the chapters do not.
"""

import contextlib
import shutil
import sqlite3
from functools import partial

import pytest
from playwright.sync_api import expect
from support import stored, tutorial
from tabs import SMALL_CHUNKS, address, asked_from, remove_saved, replace_database, rewrite

from chatlab.harness.background import BackgroundServer
from chatlab.messages import CATCHING_UP, CHAT_MESSAGE
from chatlab.server.app import create_app

ANEW = "The server has another history: the page began anew."
WITHOUT_EPOCH = ("page.js", ", epoch: saved.epoch", "")
WITHOUT_PLACE = ("page.js", 'socket.on("catching up"', 'socket.on("not this"')
OTHER = ["other 1", "other 2", "other 3", "other 4"]
KEEP_3 = pytest.mark.parametrize("options", [("--keep", "3")])
COUNT_ANNOUNCEMENTS = """() => {
    window.said = 0;
    new MutationObserver(() => { window.said += 1; })
      .observe(document.getElementById("anew"), { childList: true });
}"""


def send_all(tab, *texts, before=()):
    """Send messages one after another; each is there before the next."""
    for number, text in enumerate(texts, 1):
        tab.send(text)
        tab.shows(*before, *texts[:number])
    tab.holds()


def leave(tab):
    tab.press("Drop the line")
    tab.says("line dropped")


def put_back(db, copy):
    """Put a copy in the place of a stopped server's database."""
    for file in db.parent.glob(f"{db.name}*"):
        file.unlink()
    shutil.copy(copy, db)


def began_anew(tab):
    """Wait until the page has said that it began anew, for a screen reader too."""
    expect(tab.page.get_by_text(ANEW)).to_be_visible()
    expect(tab.page.get_by_text(ANEW)).to_have_attribute("aria-live", "polite")


def did_not_begin_anew(tab):
    expect(tab.page.get_by_text(ANEW)).to_have_count(0)


# Another log.


def replaced(tab, server, db, *texts, gone=0):
    """Let a tab show "1" and "2", and give the server another database."""
    send_all(tab, "1", "2")
    server.kill()
    tab.says("connecting …")
    replace_database(db, *texts, gone=gone)
    server.start()
    tab.says("connected")


@pytest.mark.parametrize(
    "texts",
    [OTHER, *(pytest.param(texts, marks=pytest.mark.slow) for texts in (OTHER[:2], OTHER[:1], []))],
)
def test_other_log_takes_the_place_of_the_list(open_tab, server, db, texts):
    """However long it is: the page shows it, and nothing else, and says so once."""
    tab = open_tab()
    tab.page.evaluate(COUNT_ANNOUNCEMENTS)
    replaced(tab, server, db, *texts)
    began_anew(tab)
    tab.shows(*texts)
    tab.send("next")
    tab.shows(*texts, "next")
    expect(tab.page.get_by_text(f"offset {len(texts) + 1}")).to_be_visible()
    assert tab.page.evaluate("window.said") == 1
    asked = asked_from(tab.page, lambda: tab.press("Reload"))
    assert asked["serverOffset"] == len(texts) + 1
    tab.shows(*texts, "next")
    did_not_begin_anew(tab)


def test_longer_log_is_not_noticed_without_the_epoch(context, open_tab, server, db):
    """The control: a page that does not send it shows half of one history and half of another."""
    rewrite(context, *WITHOUT_EPOCH)
    tab = open_tab()
    replaced(tab, server, db, *OTHER)
    tab.shows("1", "2", *OTHER[2:])
    did_not_begin_anew(tab)


def test_other_log_is_noticed_after_a_reload(open_tab, server, db):
    """The page that is loaded knows the epoch of the list that it has saved."""
    tab = open_tab()
    send_all(tab, "1", "2")
    tab.page.goto("about:blank")
    server.kill()
    replace_database(db, *OTHER)
    server.start()
    asked = asked_from(tab.page, lambda: tab.page.goto(server.url))
    assert asked["serverOffset"] == 2 and asked["epoch"]
    began_anew(tab)
    tab.shows(*OTHER)


def test_outbox_messages_are_sent_to_the_other_log(open_tab, server, db):
    """What was not acknowledged belongs to no history yet: it is stored in this one."""
    tab = open_tab()
    send_all(tab, "1", "2")
    leave(tab)
    tab.send("message 1")
    tab.send("message 2")
    tab.holds("message 1", "message 2")
    server.kill()
    replace_database(db, *OTHER)
    server.start()
    tab.press("Reconnect")
    tab.shows(*OTHER, "message 1", "message 2")
    tab.holds()
    began_anew(tab)
    assert stored(db) == [*OTHER, "message 1", "message 2"]


def put_back_and_grown(open_tab, server, db):
    """Let a tab come to "4", put the server back to "2", and let the log grow beyond the tab."""
    copy = db.with_name("copy.db")
    tab = open_tab()
    send_all(tab, "1", "2")
    with (
        contextlib.closing(sqlite3.connect(db)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    send_all(tab, "3", "4", before=("1", "2"))
    leave(tab)
    server.kill()
    put_back(db, copy)
    server.start()
    other = open_tab()
    send_all(other, "other 3", "other 4", "other 5", before=("1", "2"))
    tab.press("Reconnect")
    return tab


def test_log_that_was_put_back_takes_the_place_of_the_list(open_tab, server, db):
    """A copy from before is noticed, though it has grown beyond what the page has."""
    tab = put_back_and_grown(open_tab, server, db)
    now = ["1", "2", "other 3", "other 4", "other 5"]
    tab.shows(*now)
    began_anew(tab)
    tab.press("Reload")
    tab.says("connected")
    tab.shows(*now)
    did_not_begin_anew(tab)


def test_log_that_was_put_back_is_not_noticed_without_the_epoch(context, open_tab, server, db):
    """The control: the page goes on in the middle of another history."""
    rewrite(context, *WITHOUT_EPOCH)
    tab = put_back_and_grown(open_tab, server, db)
    tab.shows("1", "2", "3", "4", "other 5")
    did_not_begin_anew(tab)


def test_restarted_server_goes_on_with_the_list(open_tab, server):
    """Each life of a server is an epoch, and what a page has from the last one still counts."""
    tab = open_tab()
    send_all(tab, "1", "2")
    epochs = [asked_from(tab.page, lambda: tab.press("Reload"))["epoch"]]
    for text in ("3", "4"):
        server.kill()
        tab.says("connecting …")
        server.start()
        tab.says("connected")
        tab.send(text)
        tab.shows(*"1234"[: int(text)])
        epochs.append(asked_from(tab.page, lambda: tab.press("Reload"))["epoch"])
        tab.says("connected")
        tab.shows(*"1234"[: int(text)])
    assert len(set(epochs)) == 3
    did_not_begin_anew(tab)


# A log that keeps the newest messages.


@KEEP_3
def test_messages_that_are_gone_have_a_marker(open_tab):
    """One for each absence, where they were missed, also after a reload; it is no message."""
    ann, bob = open_tab(), open_tab()
    send_all(ann, "1", "2")
    bob.shows("1", "2")
    leave(bob)
    send_all(ann, *"345678", before="12")
    bob.press("Reconnect")
    shown = ["1", "2", "Messages 3 to 5 are gone from the server.", "6", "7", "8"]
    for _ in range(2):
        bob.shows(*shown)
        expect(bob.page.get_by_text("offset 8")).to_be_visible()
        assert asked_from(bob.page, lambda: bob.press("Reload"))["serverOffset"] == 8
        bob.says("connected")
    leave(bob)
    send_all(ann, "9", "10", "11", "12", before="12345678")
    bob.press("Reconnect")
    shown += ["Message 9 is gone from the server.", "10", "11", "12"]
    for _ in range(2):
        bob.shows(*shown)
        bob.press("Reload")
        bob.says("connected")
    bob.send("13")
    bob.shows(*shown, "13")
    ann.shows(*map(str, range(1, 14)))
    did_not_begin_anew(bob)


@KEEP_3
def test_messages_that_are_gone_are_not_missed_without_the_marker(context, open_tab):
    """The control: a page that does not listen shows the list as if it were whole."""
    rewrite(context, *WITHOUT_PLACE)
    ann, bob = open_tab(), open_tab()
    send_all(ann, "1")
    bob.shows("1")
    leave(bob)
    send_all(ann, *"23456", before="1")
    bob.press("Reconnect")
    bob.shows("1", *"456")


@KEEP_3
def test_new_tab_is_told_what_is_gone(open_tab):
    """It begins with the marker, which a screen reader finds as an item of the list."""
    send_all(open_tab(), *"12345")
    tab = open_tab()
    tab.shows("Messages 1 to 2 are gone from the server.", *"345")
    expect(tab.page.get_by_role("main")).to_match_aria_snapshot("""
        - main:
          - list "Messages":
            - listitem: Messages 1 to 2 are gone from the server.
            - listitem: "3"
            - listitem: "4"
            - listitem: "5"
    """)


def test_other_log_without_its_beginning_is_shown_with_the_marker(open_tab, server, db):
    """The page begins anew, with what there is, and says what there is not."""
    tab = open_tab()
    replaced(tab, server, db, *OTHER, gone=1)
    shown = ["Message 1 is gone from the server.", *OTHER[1:]]
    tab.shows(*shown)
    began_anew(tab)
    tab.press("Reload")
    tab.says("connected")
    tab.shows(*shown)


@KEEP_3
def test_marker_that_is_not_kept_is_a_hole(context, open_tab):
    """If a chunk of the saved list is missing, the page asks for everything again."""
    rewrite(context, *SMALL_CHUNKS)
    ann, bob = open_tab(), open_tab()
    send_all(ann, "1")
    bob.shows("1")
    leave(bob)
    send_all(ann, *"23456", before="1")
    bob.press("Reconnect")
    bob.shows("1", "Messages 2 to 3 are gone from the server.", *"456")
    remove_saved(bob, 1)  # the chunk after message 1
    assert asked_from(bob.page, lambda: bob.press("Reload")) == {"serverOffset": 0, "pages": True}
    bob.shows("Messages 1 to 3 are gone from the server.", *"456")


def told_twice(sio, log):
    """A server that sends its place twice on one connection, as to a slow reader."""

    @sio.event
    async def connect(sid, environ, auth):
        gap = {"epoch": "E", "after": 5, "outcome": "gap"}
        for event, *arguments in (
            (CHAT_MESSAGE, "<b>1</b>", 1),
            (CATCHING_UP, gap),
            (CATCHING_UP, gap),
            (CHAT_MESSAGE, "6", 6),
        ):
            await sio.emit(event, tuple(arguments), to=sid)


def test_gap_that_is_told_twice_has_one_marker(open_tab, start):
    """Also in the middle of what is sent, to a reader who is slower than the log forgets."""
    tab = open_tab(address(start(told_twice)))
    tab.shows("<b>1</b>", "Messages 2 to 5 are gone from the server.", "6")


# Servers that do not send their place in the log.


def test_server_that_tells_nothing_is_asked_for_the_rest(open_tab, start):
    """As before: no epoch is known, none is sent, and the list goes on."""
    tab = open_tab(address(start(tutorial)))
    send_all(tab, "1", "2")
    assert asked_from(tab.page, lambda: tab.press("Reload")) == {"serverOffset": 2, "pages": True}
    tab.shows("1", "2")
    send_all(tab, "3", before=("1", "2"))
    did_not_begin_anew(tab)


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (OTHER[:2], ["next"]),  # its first message is 3, and the page has a 3 already
        (OTHER[:3], ["1", "2", "3", "next"]),
        (OTHER, ["1", "2", "3", "other 4", "next"]),
    ],
)
def test_other_log_of_a_server_that_tells_nothing_is_noticed_if_it_is_shorter(
    open_tab, start, db, texts, shown
):
    """By the first message; a log that is as long, or longer, passes for the one from before."""
    server = start(tutorial)
    tab = open_tab(address(server))
    send_all(tab, "1", "2", "3")
    server.stop()
    tab.says("connecting …")
    replace_database(db, *texts)
    server.start()
    tab.says("connected")
    tab.send("next")
    tab.shows(*shown)
    did_not_begin_anew(tab)


def everything(sio, log):
    """A server that sends the whole log to every new client."""

    @sio.event
    async def connect(sid, environ, auth):
        for message in await log.after(0):
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, (text, await log.append(text)))


def test_server_that_sends_everything_to_everybody_is_shown_once(open_tab, start):
    """What comes again takes the place of what was there, and that is no other history."""
    tab = open_tab(address(start(everything)))
    send_all(tab, "1", "2")
    for button in ("Drop the line", "Reconnect", "Reload"):
        tab.press(button)
    tab.says("connected")
    tab.send("3")
    tab.shows("1", "2", "3")
    did_not_begin_anew(tab)


def test_chapter_in_the_place_of_the_finished_server_ends_the_epoch(open_tab, server, db):
    """On the same port, with the same database: the list goes on, there and back.

    What the chapter has sent is in no epoch that the page knows: with the one from before, it would
    claim to be ahead of it.
    """
    tab = open_tab()
    send_all(tab, "1", "2")
    server.kill()
    tab.says("connecting …")
    build = partial(create_app, tutorial, db=db)
    with BackgroundServer(build, name="learner", port=int(server.port)) as chapter:
        tab.says("connected")
        assert asked_from(tab.page, lambda: tab.press("Reload"))["epoch"]
        tab.says("connected")
        send_all(tab, "3", before=("1", "2"))
        assert asked_from(tab.page, lambda: tab.press("Reload")) == {
            "serverOffset": 3,
            "pages": True,
        }
        tab.shows("1", "2", "3")
        chapter.check()
    server.start()
    tab.says("connected")
    send_all(tab, "4", before=("1", "2", "3"))
    did_not_begin_anew(tab)
