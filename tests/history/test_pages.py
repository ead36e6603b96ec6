"""The rule for what a page shows again, or late, and how a history is cut into pages."""

from collections import Counter

import pytest
from histories import history

from chatlab.history.events import Event
from chatlab.history.pages import Shown, pages_of, times_sent


def misplaced(sent, *shows):
    """What is wrong with each message that a page shows, and the place of what proves it."""
    page, events = Shown(Counter(sent)), [Event("show", "bob", *show) for show in shows]
    found = [page.add(event) for event in events]
    return [wrong and (wrong, events.index(before)) for wrong, before in found]


AGAIN = ("duplicated", 0)


@pytest.mark.parametrize(
    ("sent", "shows", "wrong"),
    [
        (["a"], [("a", 1), ("a", 1)], [None, AGAIN]),
        (["a"], [("a", 1), ("a", 2)], [None, AGAIN]),
        (["a"], [("a",), ("a",)], [None, AGAIN]),
        (["a", "a"], [("a", 1), ("a", 2), ("a", 3)], [None, None, AGAIN]),
        (["a", "a"], [("a", 1), ("a", 1)], [None, AGAIN]),
        (["a", "a"], [("a",), ("a",)], [None, None]),
        (["a", "b"], [("b", 2), ("a", 1)], [None, ("reordered", 0)]),
        (["a", "b"], [("b", 2), ("a", 1), ("a", 1)], [None, ("reordered", 0), ("duplicated", 1)]),
        (["a", "b"], [("a", 1), ("b",), ("b", 2)], [None, None, ("duplicated", 1)]),
        ([], [("a", 1), ("a", 2)], [None, AGAIN]),
    ],
)
def test_message_on_a_page_is_in_its_place_or_again_or_late(sent, shows, wrong):
    """By its offset, and by how often its text was sent."""
    assert misplaced(sent, *shows) == wrong


def test_message_counts_once_however_often_it_is_tried():
    """What is written and sent later is one message, and so is what is sent again."""
    made = history("write ann a", "retry ann a", "send bob a", "retry bob a", "acknowledge bob 1 a")
    assert times_sent(made) == {"a": 2}


def test_history_is_cut_where_a_page_begins_anew():
    """At a reload and at a reset, and not at a reconnection."""
    events = ["join bob", "show bob 1 a", "drop bob", "reconnect bob", "show bob 2 b"]
    made = history(*events, "reset bob", "show bob 1 c", "reload bob")
    pages = list(pages_of(made))
    assert [[show.text for show in page.shows] for page in pages] == [["a", "b"], ["c"], []]
    assert [page.complete for page in pages] == [False, False, True]
    assert [page.other_log for page in pages] == [True, False, False]
