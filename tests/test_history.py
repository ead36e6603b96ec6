"""The history: an exact record, in order."""

from chatlab.history import Event, History


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
