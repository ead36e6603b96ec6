"""What the live demo shows: rows, facts and a drawing; and the line of the page."""

import pytest
from labs import kinds
from support import tutorial
from viewers import human, looking, shown

from chatlab.history.events import History
from chatlab.history.steps import steps_of
from chatlab.lab import view
from chatlab.lab.lab import Lab
from chatlab.lab.page_reports import CLOSED, THE_PAGE
from chatlab.lab.view import mark_under_way
from chatlab.server.app import chat

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_demo_shows_the_server_the_tabs_and_their_offsets():
    """And goes on showing them: a tab that joins later, and what is sent."""
    async with shown(chat, "ann") as (lab, viewer):
        await viewer.sees(lambda seen: seen.rows["ann"]["State"] == "caught up")
        assert viewer.picture["facts"] == {"server": "running", "newest offset": 0}
        assert viewer.rows[THE_PAGE]["State"] == CLOSED
        await lab.join("bob")
        for number in range(3):
            await lab.clients["bob"].send(str(number))
        await viewer.sees(lambda seen: seen.picture["facts"]["newest offset"] == 3)
        for name in ("ann", "bob"):
            await viewer.sees(lambda seen, name=name: seen.rows[name]["Offset"] == "3 of 3")
        assert viewer.rows["ann"]["healthy"]


async def test_server_that_tells_nothing_has_tabs_that_are_connected():
    """Nobody can say whether they have caught up."""
    async with shown(tutorial, "ann") as (_, viewer):
        await viewer.sees(lambda seen: seen.rows["ann"]["State"] == "connected")


async def test_frozen_link_holds_what_is_in_flight():
    """Both ways, in bytes; the message has no answer and is under way, until the thaw."""
    async with shown(chat, "ann", "bob") as (lab, viewer):
        ann, bob = lab.clients.values()
        await viewer.sees(lambda seen: seen.rows["ann"]["In flight"] == "nothing")
        await viewer.press("freeze", "ann")
        assert lab.links["ann"].frozen and not lab.links["bob"].frozen
        ann.post("to the server")
        await bob.send("from the server")
        await viewer.sees(
            lambda seen: (
                seen.rows["ann"]["In flight"].startswith("frozen: ")
                and " bytes up, " in seen.rows["ann"]["In flight"]
                and seen.rows["ann"]["In flight"].endswith(" bytes down")
                and seen.rows["ann"]["Not answered"] == 1
                and "under way" in seen.picture["drawing"]["svg"]
            )
        )
        assert "lost" not in viewer.picture["drawing"]["alt"]
        assert ann.connected and not viewer.rows["ann"]["healthy"]
        await viewer.press("thaw", "ann")
        await viewer.sees(
            lambda seen: (
                seen.rows["ann"]["Offset"] == "2 of 2"
                and seen.rows["ann"]["Not answered"] == 0
                and seen.rows["ann"]["In flight"] == "nothing"
                and "under way" not in seen.picture["drawing"]["svg"]
            )
        )


async def test_offset_is_never_beyond_the_newest():
    """A tab may have come further since the log was looked at."""
    async with Lab(chat) as lab:
        live, ann = lab.live(), await lab.join("ann")
        assert live.picture().facts["newest offset"] == 0
        await ann.send("one")
        assert live.view.offset(1) == "1 of 1"


async def test_page_has_a_link_of_its_own_that_is_cut_and_mended():
    """Its line stays down until it is mended; the tabs of the lab notice nothing."""
    async with shown(chat, "ann") as (lab, viewer), human(viewer) as page:
        await viewer.press("drop", THE_PAGE)
        await page.until(lambda: page.returning)
        await viewer.sees(lambda seen: seen.rows[THE_PAGE]["In flight"] == "line cut")
        assert viewer.rows[THE_PAGE]["buttons"] == ["reconnect", "reload"]
        await lab.clients["ann"].send("are you there?")
        await lab.live().line.link.holds()  # it tries to come back, and cannot
        assert page.messages == [] and not page.connected
        await viewer.press("reconnect", THE_PAGE)
        assert await page.sees(1) == ["are you there?"]
        await viewer.sees(lambda seen: seen.rows[THE_PAGE]["In flight"] == "nothing")
        assert "drop" not in kinds(lab, "ann")


async def test_page_is_frozen_and_thawed():
    """What is sent to it waits on its link."""
    async with shown(chat, "ann") as (lab, viewer), human(viewer) as page:
        await viewer.press("freeze", THE_PAGE)
        await lab.clients["ann"].send("are you there?")
        await viewer.sees(
            lambda seen: (
                seen.rows[THE_PAGE]["In flight"].startswith("frozen: ")
                and seen.rows[THE_PAGE]["In flight"].endswith(" bytes down")
            )
        )
        assert page.messages == [] and page.connected
        await viewer.press("thaw", THE_PAGE)
        assert await page.sees(1) == ["are you there?"]


async def test_reload_of_the_page_is_a_new_number_for_its_frame():
    """The browser does the rest."""
    async with shown() as (_, viewer):
        await viewer.sees(lambda seen: seen.picture["frame"]["loads"] == 0)
        await viewer.press("reload", THE_PAGE)
        await viewer.sees(lambda seen: seen.picture["frame"]["loads"] == 1)


async def test_what_the_page_tells_is_in_the_picture_and_not_in_the_history():
    """Its lane grows, and its row; the verdict on the tabs does not hear of it."""
    async with shown(chat, "ann") as (lab, viewer):
        await viewer.sees(lambda seen: "drawing" in seen.picture)
        assert THE_PAGE not in viewer.picture["drawing"]["alt"]
        await viewer.tell("load", state="connected", reached=0, pending=0)
        await viewer.tell("send", "hello", state="connected", reached=0, pending=1)
        await viewer.sees(
            lambda seen: (
                seen.rows[THE_PAGE]["State"] == "connected"
                and seen.rows[THE_PAGE]["Not answered"] == 1
                and "1 message sent" in seen.picture["drawing"]["alt"]
                and "under way" in seen.picture["drawing"]["svg"]
            )
        )
        await viewer.tell("drop", connected=False, state="connecting …")
        await viewer.sees(lambda seen: f"{THE_PAGE} drops once" in seen.picture["drawing"]["alt"])
        assert lab.history.clients == ["ann"]
        async with looking(viewer.url) as other:
            await other.sees(lambda seen: seen.rows[THE_PAGE]["State"] == "connecting …")


def history_of(*events):
    history = History()
    for event in events:
        history.record(*event)
    return history


def fates(history):
    """What becomes of each message that was sent, and what is called lost at the pages."""
    steps = steps_of(history)
    mark_under_way(steps, history)
    lost = [
        (one.who, one.offset)
        for step in steps
        for arrivals in step.arrivals.values()
        for one in arrivals
        if one.how == "lost"
    ]
    return [step.fate for step in steps if step.is_send], lost


JOINED = [("join", "ann"), ("join", "bob")]
SENT = [*JOINED, ("send", "ann", "1"), ("acknowledge", "ann", "1", 1), ("show", "ann", "1", 1)]


def test_message_that_may_still_come_is_not_called_lost():
    """Only when the page has come past its offset; the control is the picture of a history."""
    assert fates(history_of(*SENT)) == (["arrived"], [])
    assert steps_of(history_of(*SENT))[2].arrivals["bob"][0].how == "lost"
    passed = [("send", "ann", "2"), ("acknowledge", "ann", "2", 2), ("show", "bob", "2", 2)]
    assert fates(history_of(*SENT, *passed)) == (["arrived", "arrived"], [("bob", 1)])
    assert fates(history_of(*SENT, ("gap", "bob", None, 1))) == (["arrived"], [])


def test_message_without_an_answer_is_under_way_until_its_connection_is_gone():
    """Then it may be lost; and an answer tells."""
    sent = [*JOINED, ("send", "ann", "1")]
    assert fates(history_of(*sent)) == (["under way"], [])
    assert fates(history_of(*sent, ("drop", "bob"))) == (["under way"], [])
    assert fates(history_of(*sent, ("drop", "ann"))) == (["lost"], [])
    assert fates(history_of(*sent, ("refuse", "ann", "1"))) == (["refused"], [])
    assert fates(history_of(*JOINED, ("drop", "ann"), ("send", "ann", "1"))) == (["waits"], [])


async def test_long_history_leaves_time_for_everything_else(monkeypatch):
    """A picture that takes long to draw is not drawn again at once; the rest is seen all the
    same."""
    now = 0.0
    drawn = []

    class Slow(view.Diagram):
        def __init__(self, history):
            nonlocal now
            super().__init__(history)
            drawn.append(len(history))
            now += 10

    monkeypatch.setattr(view, "Diagram", Slow)
    monkeypatch.setattr(view.time, "monotonic", lambda: now)
    async with Lab(tutorial) as lab:
        live = lab.live()
        await lab.join("ann")
        live.picture()
        await lab.join("bob")
        assert [row.name for row in live.picture().clients] == [THE_PAGE, "ann", "bob"]
        assert drawn == [1]
        now = view.SHARE * 10 + 1
        live.picture()
        live.picture()
        assert drawn == [1, 2]
