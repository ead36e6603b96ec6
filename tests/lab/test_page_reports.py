"""What the page in a frame reports about itself, as a history."""

import pytest

from chatlab.history.checker import check
from chatlab.history.diagram import Diagram
from chatlab.history.events import Event, History
from chatlab.lab.page_reports import CLOSED, THE_PAGE, PageReports

ONE, OTHER = "one window", "another window"


def reported(*news, viewer=ONE, reports=None, place=0):
    """Let a viewer's page report; return the reports."""
    reports = reports or PageReports()
    for kind, *message in news:
        told = dict(zip(("text", "offset"), message, strict=False))
        reports.receive(viewer, {"kind": kind, "connected": True, **told}, place)
    return reports


def kinds(reports):
    return [event.kind for _, event in reports.events]


def test_page_that_is_loaded_joins_and_reloads_later():
    """The first load is a join, each later one a reload, and who has left joins again."""
    reports = reported(("load",), ("drop",), ("reconnect",), ("load",))
    reports.receive(ONE, None, 0)
    reported(("load",), reports=reports)
    assert kinds(reports) == ["join", "drop", "reconnect", "reload", "close", "join"]
    assert {event.who for _, event in reports.events} == {THE_PAGE}


def test_state_of_the_page_is_what_it_said_last():
    """Until it leaves: then there is none."""
    reports = PageReports()
    assert (reports.state, reports.connected) == (CLOSED, False)
    news = {"state": "connecting …", "connected": False, "reached": 3, "pending": 2}
    reports.receive(ONE, news, 0)
    assert reports.events == []  # it has had no connection yet
    assert (reports.state, reports.reached, reports.pending) == ("connecting …", 3, 2)
    reports.receive(ONE, news | {"state": "connected", "connected": True, "kind": "load"}, 0)
    assert (reports.state, reports.connected) == ("connected", True)
    reports.receive(ONE, None, 0)
    assert (reports.state, reports.connected, reports.reached) == (CLOSED, False, 0)


def test_page_whose_panel_has_lost_its_stream_joins_again():
    """It says only how it is: it was loaded long ago."""
    reports = reported(("load",))
    reports.receive(ONE, None, 0)
    reports.receive(OTHER, {"connected": True, "state": "connected"}, 0)
    assert kinds(reports) == ["join", "close", "join"]


def test_window_that_is_loaded_last_is_the_page():
    """The other one is not heard any more, and its end is no end of the page."""
    reports = reported(("load",))
    reported(("send", "hello"), ("load",), viewer=OTHER, reports=reports)
    reported(("send", "ignored"), reports=reports)
    reports.receive(ONE, None, 0)
    assert kinds(reports) == ["join", "close", "join"]
    assert reports.connected
    reported(("send", "hello"), viewer=OTHER, reports=reports)
    assert kinds(reports)[-1] == "send"


def test_window_that_is_still_open_is_the_page_again():
    """The second one is closed: the first one counts, with what it said last."""
    reports = reported(("load",))
    reported(("load",), viewer=OTHER, reports=reports)
    reports.receive(ONE, {"connected": True, "state": "connected", "reached": 1}, 0)
    reports.receive(OTHER, None, 0)
    assert kinds(reports) == ["join", "close", "join", "close", "join"]
    assert (reports.state, reports.reached) == ("connected", 1)
    reports.receive(ONE, None, 0)
    assert kinds(reports)[-1] == "close"
    assert reports.state == CLOSED


def test_messages_are_recorded_as_those_of_a_tab():
    """Sent, sent again, answered, shown; gaps and resets with their offsets."""
    reports = reported(
        ("load",),
        ("send", "hello"),
        ("retry", "hello"),
        ("acknowledge", "hello", 1),
        ("show", "hello", 1),
        ("show", "without an offset"),
        ("send", ""),
        ("refuse", ""),
        ("gap", None, 4),
        ("reset", None, 0),
    )
    told = [(event.kind, event.text, event.offset) for _, event in reports.events]
    assert told == [
        ("join", None, None),
        ("send", "hello", None),
        ("retry", "hello", None),
        ("acknowledge", "hello", 1),
        ("show", "hello", 1),
        ("show", "without an offset", None),
        ("send", "", None),
        ("refuse", "", None),
        ("gap", None, 4),
        ("reset", None, 0),
    ]


def test_message_that_an_earlier_page_has_left_is_sent_for_the_first_time():
    """Nobody has seen it being written."""
    reports = reported(("load",), ("retry", "left"), ("retry", "left"), ("acknowledge", "left", 1))
    assert kinds(reports) == ["join", "send", "retry", "acknowledge"]


@pytest.mark.parametrize(
    "news",
    [
        ("acknowledge", "never sent", 1),
        ("refuse", "never sent"),
        ("send", 1),
        ("send", None),
        ("show", ["x"], 1),
        ("gap", None, "4"),
        ("reset", None, -1),
        ("gap", None, True),
        ("stop",),
        ("kill",),
        (["send"], "x"),
        ({}, "x"),
    ],
)
def test_what_makes_no_sense_is_left_out(news):
    """A browser may tell anything; what is left can be drawn."""
    reports = reported(("load",), news, ("show", "x", "1"))
    assert kinds(reports) == ["join", "show"]
    assert reports.events[-1][1].offset is None
    reports.receive(ONE, {"state": 5, "connected": "yes", "reached": 1.5, "pending": None}, 0)
    assert (reports.connected, reports.reached, reports.pending) == (False, 0, 0)
    assert Diagram(reports.merged_into(History())).svg


def test_what_is_told_stands_between_what_was_recorded():
    """Each event at the place where it was heard; nothing is lost, and nothing is changed."""
    history = History()
    history.record("join", "ann")
    reports = reported(("load",), place=1)
    history.record("send", "ann", "1")
    history.record("acknowledge", "ann", "1", 1)
    reported(("show", "1", 1), reports=reports, place=2)
    reported(("drop",), reports=reports, place=3)
    history.record("close", "ann")
    merged = [(event.who, event.kind) for event in reports.merged_into(history)]
    assert merged == [
        ("ann", "join"),
        (THE_PAGE, "join"),
        ("ann", "send"),
        (THE_PAGE, "show"),
        ("ann", "acknowledge"),
        (THE_PAGE, "drop"),
        ("ann", "close"),
    ]
    assert len(history) == 4


def test_messages_of_the_page_are_sent_by_somebody_and_its_page_is_not_judged():
    """A verdict finds neither a message that nobody sent, nor one that the page should show."""
    history = History([Event("join", "ann"), Event("show", "ann", "hello", 1)])
    reports = reported(("load",), ("send", "hello"), ("acknowledge", "hello", 1), place=1)
    assert [fault.kind for fault in check(history).faults] == ["phantom"]
    assert check(reports.sends_merged_into(history)).valid
    assert reports.sends_merged_into(history).clients == ["ann"]
    assert not check(reports.merged_into(history)).valid
