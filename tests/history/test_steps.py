"""The steps: what becomes of each message, and where it belongs on each page."""

import pytest
from histories import history
from hypothesis import given
from hypothesis import strategies as st

from chatlab.history.steps import steps_of


def arrivals(steps, who):
    """What a tab got, as (number of the step, text, how)."""
    return [
        (number, arrival.text, arrival.how)
        for number, step in enumerate(steps, 1)
        for arrival in step.arrivals.get(who, [])
    ]


JOINED = ["join ann", "join bob"]
SAID = ["send ann hi", "acknowledge ann hi"]
ALL_SHOW_IT = ["show ann hi", "show bob hi"]


def test_tabs_that_drop_one_after_the_other_share_a_step():
    """As they do when a server stops; two tabs that join are two steps."""
    steps = steps_of(history(*JOINED, "drop bob", "drop ann"))
    assert [[event.who for event in step.actions] for step in steps] == [
        ["ann"], ["bob"], ["ann", "bob"]
    ]  # fmt: skip


def test_message_that_is_repeated_after_its_answer_is_a_step_more():
    """An outbox that forgets to take it out sends it again, and that can be drawn."""
    steps = steps_of(history("join ann", *SAID, "retry ann hi", "acknowledge ann hi"))
    assert [step.fate for step in steps[1:]] == ["arrived", "arrived"]


def test_send_with_an_acknowledged_offset_has_it():
    """The server says which place the message got."""
    step = steps_of(history("join ann", "send ann hi", "acknowledge ann 7 hi"))[-1]
    assert (step.fate, step.offset) == ("arrived", 7)


def test_send_without_an_acknowledged_offset_has_that_of_the_pages():
    """Two equal texts are told apart, in the order in which they were sent."""
    shown = ["show bob 1 hi", "show bob 2 hi"]
    first, second = steps_of(history(*JOINED, *SAID, *SAID, *shown))[-2:]
    assert (first.offset, second.offset) == (1, 2)


def attempts(*events):
    """What became of each attempt to send, with the offset, and whether it was a repetition."""
    steps = steps_of(history(*JOINED, *events))
    return [(step.fate, step.offset, step.again) for step in steps if step.is_send]


def test_retry_of_a_lost_message_brings_it():
    """The first attempt is lost, the second arrives, and the pages show it there."""
    events = ["send ann hi", "drop ann", "reconnect ann", "retry ann hi"]
    answered = [*events, "acknowledge ann 1 hi", "show ann 1 hi", "show bob 1 hi"]
    assert attempts(*answered) == [("lost", None, False), ("arrived", 1, True)]
    steps = steps_of(history(*JOINED, *answered))
    assert arrivals(steps, "bob") == [(6, "hi", "live")]


def test_retry_of_a_message_that_a_page_has_shown_is_known():
    """Only its acknowledgement was lost: it arrived with the first attempt."""
    events = ["send ann hi", "show bob 1 hi", "drop ann", "reconnect ann", "retry ann hi"]
    answered = [*events, "acknowledge ann 1 hi", "show ann 1 hi"]
    assert attempts(*answered) == [("arrived", 1, False), ("known", 1, True)]
    steps = steps_of(history(*JOINED, *answered))
    assert arrivals(steps, "ann") == [(3, "hi", "unanswered"), (5, "hi", "catch-up")]
    assert arrivals(steps, "bob") == [(3, "hi", "live")]


def test_retry_that_is_stored_again_is_another_message():
    """Without a key each attempt gets an offset of its own."""
    first = ["send ann hi", "show bob 1 hi", "drop ann", "reconnect ann"]
    again = ["retry ann hi", "acknowledge ann 2 hi", "show bob 2 hi"]
    assert attempts(*first, *again) == [("arrived", 1, False), ("arrived", 2, True)]


def test_message_that_is_written_offline_waits():
    """It is sent for the first time when the tab is back, and two of them in their order."""
    away = ["drop ann", "send ann hi", "send ann ho", "reconnect ann"]
    back = ["retry ann hi", "acknowledge ann 1 hi", "retry ann ho", "acknowledge ann 2 ho"]
    waits = ("waits", None, False)
    assert attempts(*away, *back) == [waits, waits, ("arrived", 1, False), ("arrived", 2, False)]


def test_retry_that_is_refused_is_refused():
    """The server has read it at last."""
    events = ["send ann hi", "drop ann", "reconnect ann", "retry ann hi", "refuse ann hi"]
    assert attempts(*events) == [("lost", None, False), ("refused", None, True)]


def test_send_without_an_answer_that_a_page_shows_has_arrived():
    """Only the acknowledgement is lost; a message that no page shows is lost itself."""
    assert steps_of(history(*JOINED, "send ann hi", "show bob 1 hi"))[-1].fate == "arrived"
    assert steps_of(history(*JOINED, "send ann hi", "show bob 1 ho"))[-1].fate == "lost"


def test_answer_belongs_to_the_sender():
    """Two tabs send the same text, and one of them is refused."""
    events = [*JOINED, "send ann hi", "send bob hi", "refuse ann hi", "acknowledge bob hi"]
    assert [step.fate for step in steps_of(history(*events))[-2:]] == ["refused", "arrived"]


def test_text_sent_twice_and_shown_twice_is_live_twice():
    """A cell that is run again sends again: without offsets this is no duplicate."""
    steps = steps_of(history(*JOINED, *SAID, *ALL_SHOW_IT, *SAID, *ALL_SHOW_IT))
    for who in ("ann", "bob"):
        assert arrivals(steps, who) == [(3, "hi", "live"), (4, "hi", "live")]


def test_text_sent_once_and_shown_twice_is_a_duplicate():
    """The control: the second time it is there again."""
    steps = steps_of(history(*JOINED, *SAID, *ALL_SHOW_IT, *ALL_SHOW_IT))
    assert arrivals(steps, "bob") == [(3, "hi", "live"), (3, "hi", "again")]


def test_text_sent_again_after_a_drop_is_lost_once():
    """What was sent to a tab without a connection is not what it is shown later."""
    steps = steps_of(history(*JOINED, "drop bob", *SAID, "reconnect bob", *SAID, "show bob hi"))
    assert arrivals(steps, "bob") == [(4, "hi", "lost"), (6, "hi", "live")]


def test_text_under_way_at_a_drop_is_lost():
    """The connection it was sent to is gone, so an equal text that comes later is another one."""
    steps = steps_of(history(*JOINED, *SAID, "drop bob", "reconnect bob", *SAID, "show bob hi"))
    assert arrivals(steps, "bob") == [(3, "hi", "lost"), (6, "hi", "live")]


def test_text_shown_after_a_reconnection_without_offsets_is_catch_up():
    """The server remembers it: it arrives in the step of the reconnection."""
    steps = steps_of(history(*JOINED, "drop bob", *SAID, "reconnect bob", "show bob hi"))
    assert arrivals(steps, "bob") == [(5, "hi", "catch-up")]


def test_tab_misses_only_what_is_sent_while_it_is_open():
    """Dropped, it is still open; before it joins and after it closes it misses nothing."""
    events = ["join ann", "send ann a", "join bob", "send ann b", "drop bob", "send ann c"]
    acknowledged = [f"acknowledge ann {text}" for text in "abcd"]
    steps = steps_of(history(*events, "close bob", "send ann d", *acknowledged))
    assert arrivals(steps, "bob") == [(4, "b", "lost"), (6, "c", "lost")]


happenings = st.sampled_from(
    [
        ["drop bob"],
        ["reconnect bob"],
        ["reload bob"],
        ["close bob", "join bob"],
        ["send ann x", "acknowledge ann x"],
        ["send ann y", "acknowledge ann y"],
        ["show bob x"],
        ["show bob y"],
        ["show bob 1 x"],
        ["show bob 2 y"],
    ]
)


@given(st.lists(happenings, max_size=12))
def test_every_message_that_a_page_shows_arrives_once_and_in_order(scenario):
    """Whatever happens, nothing that a tab shows is left out, added, or put in another place."""
    said = ["send ann x", "acknowledge ann x", "send ann y", "acknowledge ann y"]
    recorded = history(*JOINED, *said, *(event for events in scenario for event in events))
    shown = [event.text for event in recorded if event.kind == "show"]
    arrived = [text for _, text, how in arrivals(steps_of(recorded), "bob") if how != "lost"]
    assert arrived == shown


def test_page_that_is_reset_shows_old_messages_as_catch_up():
    """It has forgotten them: they are not shown again."""
    said = ["send ann hi", "acknowledge ann 1 hi", "show ann 1 hi", "show bob 1 hi"]
    again = history(*JOINED, *said, "drop bob", "reconnect bob", "reset bob", "show bob 1 hi")
    assert arrivals(steps_of(again), "bob")[-1] == (6, "hi", "catch-up")


def test_gap_is_a_step_and_the_page_stays():
    """What is shown twice all the same is shown again."""
    said = ["send ann hi", "acknowledge ann 1 hi", "show ann 1 hi", "show bob 1 hi"]
    again = history(*JOINED, *said, "drop bob", "reconnect bob", "gap bob", "show bob 1 hi")
    steps = steps_of(again)
    assert steps[-1].actions[0].kind == "gap"
    assert arrivals(steps, "bob")[-1][1:] == ("hi", "again")


def test_message_that_was_overtaken_arrives_in_a_step_of_its_own():
    """Time runs downwards at the server: its offset is larger than those of the others."""
    overtaken = ["send ann slow", "send bob fast", "acknowledge bob 1 fast"]
    steps = steps_of(history(*JOINED, *overtaken, "acknowledge ann 2 slow", "show bob 2 slow"))
    assert [(step.fate, step.offset) for step in steps if step.brings] == [
        ("held up", None),
        ("arrived", 1),
        ("arrived", 2),
    ]
    assert steps[-1].arrivals["bob"][0].text == "slow"


@pytest.mark.parametrize("answer", ["ok", True, [1], {"offset": 1}, 1.5], ids=str)
def test_answer_that_is_no_offset_hides_nothing(answer):
    """A reader's server may return anything: the offset is the one that the pages have."""
    answered = ["send ann hi", "show bob 1 hi"]
    recorded = history(*JOINED, *answered)
    recorded.record("acknowledge", "ann", "hi", answer)
    [step] = [step for step in steps_of(recorded) if step.is_send]
    assert (step.fate, step.offset, step.arrivals["bob"][0].how) == ("arrived", 1, "live")


def test_message_that_waits_behind_another_is_not_called_lost():
    """It is written, and sent when the one before it is answered."""
    waiting = ["send ann one", "write ann two", "drop ann", "reconnect ann", "retry ann one"]
    answered = ["acknowledge ann 1 one", "retry ann two", "acknowledge ann 2 two"]
    assert attempts(*waiting, *answered) == [
        ("lost", None, False),
        ("waits", None, False),
        ("arrived", 1, True),
        ("arrived", 2, False),
    ]


def test_answer_to_a_message_that_is_stored_twice_was_lost():
    """Without a key, the second attempt gets an offset of its own: the first had arrived too."""
    twice = ["send ann hi", "show bob 1 hi", "drop ann", "reconnect ann", "retry ann hi"]
    steps = steps_of(history(*JOINED, *twice, "acknowledge ann 2 hi", "show bob 2 hi"))
    first, second = [step for step in steps if step.is_send]
    assert (first.offset, second.offset) == (1, 2)
    assert "unanswered" in [one.how for one in first.arrivals["ann"]]


KEYLESS = ["send ann hi", "show ann 1 hi", "drop ann", "reconnect ann", "retry ann hi"]
STORED_AGAIN = [*KEYLESS, "acknowledge ann 2 hi", "show ann 2 hi"]


def test_message_that_a_page_shows_under_two_offsets_is_shown_again():
    """It was sent once, and stored twice, because the outbox has no keys."""
    steps = steps_of(history("join ann", *STORED_AGAIN))
    assert [how for _, _, how in arrivals(steps, "ann")] == ["unanswered", "live", "again"]
    assert [step.faulty for step in steps if step.is_send] == [False, True]


def test_equal_texts_of_two_senders_are_two_messages():
    """The control: as many are shown as were sent."""
    said = ["send bob hi", "acknowledge bob 2 hi", "show ann 2 hi", "show bob 2 hi"]
    first = ["send ann hi", "acknowledge ann 1 hi", "show ann 1 hi", "show bob 1 hi"]
    steps = steps_of(history(*JOINED, *first, *said))
    assert {how for who in ("ann", "bob") for _, _, how in arrivals(steps, who)} == {"live"}
