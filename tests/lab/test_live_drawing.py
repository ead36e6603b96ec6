"""The drawing of the live demo: what is called lost in it, and how often it is drawn."""

import pytest
from support import tutorial

import chatlab.lab.live_drawing
from chatlab.history.events import History
from chatlab.history.steps import steps_of
from chatlab.lab.lab import Lab
from chatlab.lab.live_drawing import mark_under_way
from chatlab.lab.page_reports import THE_PAGE

pytestmark = pytest.mark.usefixtures("nothing_left")


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
    assert fates(history_of(*SENT, ("gap", "bob", None, 1))) == (["arrived"], [("bob", 1)])


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

    class Slow(chatlab.lab.live_drawing.Diagram):
        def __init__(self, history):
            nonlocal now
            super().__init__(history)
            drawn.append(len(history))
            now += 10

    monkeypatch.setattr(chatlab.lab.live_drawing, "Diagram", Slow)
    monkeypatch.setattr(chatlab.lab.live_drawing.time, "monotonic", lambda: now)
    async with Lab(tutorial) as lab:
        live = lab.live()
        await lab.join("ann")
        live.picture()
        await lab.join("bob")
        assert [row.name for row in live.picture().clients] == [THE_PAGE, "ann", "bob"]
        assert drawn == [1]
        now = chatlab.lab.live_drawing.SHARE * 10 + 1
        live.picture()
        live.picture()
        assert drawn == [1, 2]
