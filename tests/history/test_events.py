"""The history: an exact record, in order."""

from chatlab.history.events import Event, History, with_offset


def test_recorded_events_come_back_in_order():
    """A history is what was recorded, and each client's own part of it."""
    history = History()
    history.record("join", "ann")
    history.record("join", "bob")
    history.record("send", "ann", "hi")
    history.record("show", "bob", "hi", 1)
    assert list(history)[2:] == [Event("send", "ann", "hi"), Event("show", "bob", "hi", 1)]
    assert history.of("bob") == [Event("join", "bob"), Event("show", "bob", "hi", 1)]
    assert history.clients == ["ann", "bob"]
    assert len(history) == 4


def test_client_that_joins_twice_is_listed_once():
    """A name that was closed and joined again is still one client."""
    history = History()
    for kind in ("join", "close", "join"):
        history.record(kind, "ann")
    assert history.clients == ["ann"]


def of_ann(*events):
    """Record events of Ann, each a kind, with an offset if it has one."""
    history = History([Event("show", "bob", "x", 9), Event("send", "bob", "x")])
    for event in events:
        kind, _, offset = event.partition(" ")
        history.record(kind, "ann", "x", int(offset) if offset else None)
    return history


def test_messages_without_an_answer_are_counted_for_each_connection():
    """A drop ends all waiting, an answer that nobody waits for counts nothing."""
    assert of_ann("join", "send", "send", "acknowledge 1").unanswered("ann") == 1
    assert of_ann("join", "send", "show 1", "gap 3", "send", "refuse").unanswered("ann") == 1
    assert of_ann("join", "send", "send", "drop").unanswered("ann") == 0
    assert of_ann("send", "drop", "reconnect", "retry").unanswered("ann") == 1
    assert of_ann("join", "acknowledge 1", "send").unanswered("ann") == 1


def test_page_has_reached_the_offset_that_was_shown_or_told_last():
    """Not the highest one, and messages without an offset change nothing."""
    assert of_ann("join", "send", "acknowledge 4").reached("ann") == 0
    assert of_ann("show 2", "show 5", "show 3", "show").reached("ann") == 3
    assert of_ann("show 2", "gap 7").reached("ann") == 7
    assert of_ann("show 2", "reset 0").reached("ann") == 0


def test_text_that_is_none_is_recorded_as_one():
    """A reader may send anything; the words of it are what can be counted and drawn."""
    history = History()
    for text in (["a"], {"a": 1}, 5, None, "a"):
        history.record("send", "ann", text)
    assert [event.text for event in history] == ["['a']", "{'a': 1}", "5", None, "a"]


def test_what_is_no_offset_is_taken_out_where_the_offset_counts():
    """The event stays as it is in the history, for the verdict to name it."""
    history = History()
    for offset in ("ok", [1], {"offset": 1}, True, -1, 0, 7, None):
        history.record("acknowledge", "ann", "a", offset)
    assert [with_offset(event).offset for event in history] == [*[None] * 5, 0, 7, None]
    assert [event.offset for event in history][:2] == ["ok", [1]]
