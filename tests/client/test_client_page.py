"""The page of a simulated tab: what it makes of the server's events, without a server."""

import pytest

from chatlab.client.page import Page
from chatlab.messages import CATCHING_UP, CAUGHT_UP, CHAT_MESSAGE, WHERE, Message
from chatlab.mistakes import BadArgument


class Opened:
    """A page that has begun a connection, and what it has recorded."""

    def __init__(self, recover=False):
        self.recorded = []
        self.page = Page(
            recover,
            lambda message: self.page.add(message),
            lambda *event: self.recorded.append(event),
        )
        self.page.connect()
        self.receive = self.page.receive


def place(outcome, after, epoch="an epoch"):
    return {"outcome": outcome, "after": after, "epoch": epoch}


def test_message_without_an_offset_is_shown_and_moves_nothing():
    """The servers of the first chapters number nothing."""
    opened = Opened()
    opened.receive(CHAT_MESSAGE, "one", 1)
    opened.receive(CHAT_MESSAGE, "two")
    assert opened.page.shown == [Message(1, "one"), Message(None, "two")]
    assert opened.page.offset == opened.receive(WHERE) == 1
    assert opened.recorded == [("show", "one", 1), ("show", "two", None)]


@pytest.mark.parametrize(
    ("outcome", "left"), [("continued", ["one"]), ("gap", ["one"]), ("reset", [])]
)
def test_page_goes_to_the_place_of_the_server(outcome, left):
    """Only a reset empties it, and only a place that is not what it asked for is recorded."""
    opened = Opened()
    opened.receive(CHAT_MESSAGE, "one", 1)
    opened.receive(CATCHING_UP, place(outcome, 3))
    assert opened.page.messages == left
    assert opened.page.auth() == {"serverOffset": 3, "epoch": "an epoch"}
    assert opened.recorded[1:] == ([] if outcome == "continued" else [(outcome, None, 3)])


def test_epoch_is_forgotten_with_the_first_message_of_a_server_without_one():
    """Not before: a connection that breaks at once changes nothing."""
    opened = Opened()
    opened.receive(CATCHING_UP, place("continued", 0))
    opened.receive(CHAT_MESSAGE, "one", 1)
    opened.page.connect()
    assert opened.page.epoch == "an epoch"
    opened.receive(CHAT_MESSAGE, "two", 2)
    assert opened.page.epoch is None


def test_outcome_is_that_of_the_present_connection():
    """The values of all other events stay."""
    opened = Opened()
    opened.receive(CAUGHT_UP, {"sent": 0})
    opened.receive("tick", 7)
    opened.receive("tock")
    assert opened.page.outcome == {"sent": 0}
    opened.page.connect()
    assert opened.page.outcome is None
    assert opened.page.heard == {"tick": 7, "tock": None}


def test_position_of_the_session_is_the_last_argument_of_an_event():
    """A text is no position, and a page that does not recover remembers none."""
    opened, plain = Opened(recover=True), Opened()
    for page in (opened.page, plain.page):
        page.accept({"pid": "a secret"})
        page.receive(CHAT_MESSAGE, "one")
        page.receive(CHAT_MESSAGE, "two", 2, "position 2")
        page.receive("tick", 7, "position 3")
        page.receive("tock", 8)
    assert opened.page.session == {"pid": "a secret", "offset": "position 3"}
    assert plain.page.session == {}


def test_session_is_recovered_if_the_pid_is_the_same():
    """The first pid recovers nothing, and a server without recovery sends none."""
    page = Opened(recover=True).page
    for welcome, recovered in (
        ({"pid": "a"}, False),
        ({"pid": "a"}, True),
        ({}, False),
        ({}, False),
    ):
        page.accept(welcome)
        assert page.recovered is recovered


STRANGE = [
    (CHAT_MESSAGE, (), "nothing"),
    (CHAT_MESSAGE, (["one"], 2), "['one'], 2"),
    (CHAT_MESSAGE, ({"text": "one"},), "{'text': 'one'}"),
    (CHAT_MESSAGE, (None,), "None"),
    (CHAT_MESSAGE, (2, "one"), "2, 'one'"),
    (CHAT_MESSAGE, ("one", [2]), "'one', [2]"),
    (CHAT_MESSAGE, ("one", {"offset": 2}), "'one', {'offset': 2}"),
    (CHAT_MESSAGE, ("one", "2"), "'one', '2'"),
    (CHAT_MESSAGE, ("one", True), "'one', True"),
    (CHAT_MESSAGE, ("one", -1), "'one', -1"),
    (CATCHING_UP, (), "nothing"),
    (CATCHING_UP, (3,), "3"),
    (CATCHING_UP, ({"outcome": "continued", "after": 3},), "{'after': 3, 'outcome': 'continued'}"),
    (CATCHING_UP, (place("gap", [3]),), "{'after': [3], 'epoch': 'an epoch', 'outcome': 'gap'}"),
    (CATCHING_UP, (place(["gap"], 3),), "{'after': 3, 'epoch': 'an epoch', 'outcome': ['gap']}"),
    (CATCHING_UP, (place("join", 3),), "{'after': 3, 'epoch': 'an epoch', 'outcome': 'join'}"),
    (CATCHING_UP, (place("gap", 3, 7),), "{'after': 3, 'epoch': 7, 'outcome': 'gap'}"),
]


@pytest.mark.parametrize(("event", "values", "named"), STRANGE, ids=str)
def test_event_that_no_page_can_take_is_named_and_changes_nothing(event, values, named):
    """The sentence says what the server sends, and what a page takes; the next message comes."""
    opened = Opened()
    opened.receive(CATCHING_UP, place("continued", 0))
    opened.receive(CHAT_MESSAGE, "zero", 1)
    with pytest.raises(BadArgument) as raised:
        opened.receive(event, *values)
    assert str(raised.value).startswith(f"the server emits {event!r} with {named}: a page takes ")
    opened.receive(CHAT_MESSAGE, "one", 2)
    assert opened.recorded == [("show", "zero", 1), ("show", "one", 2)]
    assert opened.page.auth() == {"serverOffset": 2, "epoch": "an epoch"}


def test_large_event_that_no_page_can_take_is_named_in_short():
    """A list of ten thousand messages is no sentence."""
    with pytest.raises(BadArgument) as raised:
        Opened().receive(CHAT_MESSAGE, ["a message"] * 10_000)
    assert len(str(raised.value)) < 300


def test_position_in_an_event_that_no_page_can_take_counts():
    """So it does not come again; and it is no offset of a message that has none."""
    opened = Opened(recover=True)
    opened.page.accept({"pid": "a secret"})
    with pytest.raises(BadArgument):
        opened.receive(CHAT_MESSAGE, ["one"], "position 1")
    assert opened.page.session["offset"] == "position 1"
    opened.receive(CHAT_MESSAGE, "two", "position 2")
    assert opened.recorded == [("show", "two", None)]
    assert opened.page.session["offset"] == "position 2"
