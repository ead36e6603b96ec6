"""The checker: a planted fault is never missed, and a correct history is never accused."""

import random
import re
from itertools import pairwise

import pytest
from histories import history
from hypothesis import given
from hypothesis import strategies as st

from chatlab.history.checker import check
from chatlab.history.events import Event, History
from chatlab.messages import Message

NAMES = ("ann", "bob", "carol")


def said(offset, text, *tabs):
    """The events of a message that ann sends and that some tabs show."""
    shows = [f"show {tab} {offset} {text}" for tab in tabs]
    return [f"send ann {text}", f"acknowledge ann {offset} {text}", *shows]


TALK = ["join ann", "join bob", *said(1, "one", "ann", "bob"), *said(2, "two", "ann", "bob")]


def faults(verdict):
    return [(fault.kind, fault.who, fault.message.text) for fault in verdict.faults]


def test_talk_in_which_all_goes_well_is_valid():
    """Everybody has everything, once and in order."""
    verdict = check(history(*TALK))
    assert (verdict.outcome, str(verdict)) == ("valid", "valid: every message once and in order")
    assert verdict.faults == ()


@pytest.mark.parametrize(
    ("kind", "verb"), [("acknowledge", "answered"), ("show", "sent")], ids=["answered", "sent"]
)
@pytest.mark.parametrize("offset", ["ok", True, [1], {"offset": 1}], ids=str)
def test_offset_that_is_none_is_named(kind, verb, offset):
    """A handler may return anything, "ok" say, and an emit may carry anything."""
    talk = history(*TALK)
    talk.record(kind, "ann", "three", offset)
    said = re.escape(f"'three' was {verb} with {offset!r}, which is no offset")
    with pytest.raises(ValueError, match=f"^{said}"):
        check(talk)


def test_message_that_a_connected_client_lacks_is_lost():
    """The evidence is the sending, and the connection that should have brought it."""
    verdict = check(history(*TALK, "drop bob", *said(3, "three", "ann"), "reconnect bob"))
    assert str(verdict) == 'invalid: 1 lost\nlost: bob never shows 3 "three"'
    assert verdict.faults[0].evidence == (Event("send", "ann", "three"), Event("reconnect", "bob"))


PROMISES = [
    (["send ann lost"], [("lost", "ann", "lost"), ("lost", "bob", "lost")]),
    (["send ann bad", "refuse ann bad"], []),
    (["send ann hi", "retry ann hi", *said(3, "hi", "ann", "bob")[1:]], []),
    (["send ann hi", "show ann 3 hi", "show bob 3 hi"], []),
    (["send bob one"], [("lost", "ann", "one"), ("lost", "bob", "one")]),
]


@pytest.mark.parametrize(("events", "wrong"), PROMISES, ids=lambda events: str(events[:1]))
def test_promised_message_that_never_arrives_is_lost(events, wrong):
    """Unless it was refused; a retry is no second message, and an equal text is one.

    The control: without the promise, a message without an answer may be anywhere.
    """
    made = history(*TALK, *events)
    stored = dict.fromkeys(Message(e.offset, e.text) for e in made if e.kind == "show")
    assert faults(check(made, stored, promised=True)) == wrong
    assert check(made, stored).valid


def test_message_that_is_stored_twice_by_a_retry_is_duplicated():
    """It was sent once, whatever the log holds."""
    twice = [*said(3, "hi", "ann", "bob"), "show ann 4 hi", "show bob 4 hi"]
    twice.insert(1, "retry ann hi")
    verdict = check(history(*TALK, *twice), promised=True)
    assert faults(verdict) == [("duplicated", "ann", "hi"), ("duplicated", "bob", "hi")]


def test_message_that_a_client_skipped_is_lost_though_it_is_away():
    """The evidence is the later message that jumped ahead."""
    verdict = check(history(*TALK, *said(3, "x", "ann"), *said(4, "y", "ann", "bob"), "drop bob"))
    assert faults(verdict) == [("lost", "bob", "x")]
    assert verdict.faults[0].evidence == (Event("send", "ann", "x"), Event("show", "bob", "y", 4))


def test_client_that_is_away_may_stop_early():
    """It has a beginning of the log: nothing is lost yet."""
    assert check(history(*TALK, "drop bob", *said(3, "three", "ann"))).valid


def test_page_that_is_loaded_anew_starts_from_nothing():
    """The same messages again are no duplicates, and the old page is not missed."""
    reload = ["reload bob", "show bob 1 one", "show bob 2 two"]
    assert check(history(*TALK, *reload)).valid
    assert faults(check(history(*TALK, *reload[:2]))) == [("lost", "bob", "two")]


def test_page_that_was_thrown_away_is_not_expected_to_be_complete():
    """The reload came before the message; the new page has it."""
    shows = [f"show bob {offset} {text}" for offset, text in ((1, "one"), (2, "two"), (3, "three"))]
    assert check(history(*TALK, *said(3, "three", "ann"), "reload bob", *shows)).valid


def test_message_shown_twice_on_one_page_is_duplicated():
    """The evidence is the two moments."""
    verdict = check(history(*TALK, "show bob 1 one"))
    assert faults(verdict) == [("duplicated", "bob", "one")]
    assert verdict.faults[0].evidence == (Event("show", "bob", "one", 1),) * 2


def test_message_stored_twice_is_duplicated():
    """It was sent once and has two offsets."""
    again = ["show ann 3 two", "show bob 3 two"]
    verdict = check(history(*TALK, *again))
    assert faults(verdict) == [("duplicated", "ann", "two"), ("duplicated", "bob", "two")]


def test_text_sent_twice_is_no_duplicate():
    """People repeat themselves."""
    assert check(history(*TALK, *said(3, "two", "ann", "bob"))).valid


def test_message_shown_below_a_later_one_is_reordered():
    """The evidence is the later one, then the earlier one."""
    late = [*said(3, "x", "ann"), *said(4, "y", "ann", "bob"), "show bob 3 x"]
    verdict = check(history(*TALK, *late))
    assert faults(verdict) == [("reordered", "bob", "x")]
    assert [event.offset for event in verdict.faults[0].evidence] == [4, 3]


def test_messages_of_a_sender_that_change_places_are_reordered():
    """The log holds them in another order than they were sent."""
    events = ["join ann", "send ann a", "send ann b", "acknowledge ann 2 a", "acknowledge ann 1 b"]
    verdict = check(history(*events, "show ann 1 b", "show ann 2 a"))
    assert faults(verdict) == [("reordered", "ann", "b")]


@pytest.mark.parametrize("shown", ["3 never-sent", "2 one"])
def test_message_that_nobody_sent_is_a_phantom(shown):
    """A text that was never sent, or a text under another one's offset."""
    verdict = check(history(*TALK, "drop bob", "reload bob", "show bob 1 one", f"show bob {shown}"))
    assert ("phantom", "bob", shown.split()[1]) in faults(verdict)


def test_acknowledged_message_that_nobody_shows_is_missing():
    """It is one fault of the server, not one of every page."""
    verdict = check(history(*TALK, *said(3, "three")))
    assert faults(verdict) == [("missing", "ann", "three")]


def test_acknowledged_message_that_is_not_stored_is_missing():
    """Also if nobody is there to miss it."""
    recorded = history(*TALK, "close ann", "close bob")
    assert check(recorded).outcome == "unknown"
    assert faults(check(recorded, [Message(1, "one")])) == [("missing", "ann", "two")] + [
        ("phantom", name, "two") for name in ("ann", "bob")
    ]


def test_stored_message_that_a_page_lacks_is_lost():
    """Though it was never acknowledged, and nobody has seen it."""
    recorded = history(*TALK, "send ann three")
    assert check(recorded).valid
    stored = [Message(1, "one"), Message(2, "two"), Message(3, "three")]
    assert faults(check(recorded, stored)) == [("lost", "ann", "three"), ("lost", "bob", "three")]


def test_message_without_an_answer_is_named_and_no_fault():
    """It may have arrived or not: nobody was promised anything."""
    verdict = check(history(*TALK, "send ann three"))
    assert verdict.valid
    assert verdict.unacknowledged == (Message(None, "three"),)


def test_refused_message_is_answered():
    """A refusal is an answer, and the message must not appear."""
    assert check(history(*TALK, "send ann x", "refuse ann x")).unacknowledged == ()


def test_server_without_offsets_is_judged_by_its_texts():
    """Losses are found; that the order was right cannot be said."""
    live = ["join ann", "join bob", "send ann hi", "acknowledge ann hi", "show ann hi"]
    assert faults(check(history(*live))) == [("lost", "bob", "hi")]
    assert check(history(*live, "show bob hi")).outcome == "unknown"


@pytest.mark.parametrize("events", [[], ["join ann"], [*TALK, "drop ann", "close bob"]])
def test_history_that_proves_nothing_is_unknown(events):
    """Nothing was sent, or nobody is there at the end: silence is not success."""
    verdict = check(history(*events))
    assert verdict.outcome == "unknown"
    assert str(verdict) == f"unknown: {verdict.doubt}"


def test_long_list_of_faults_is_cut():
    """The first eight are named, and the others counted."""
    verdict = check(
        history("join ann", "join bob", *(e for n in range(1, 21) for e in said(n, f"m{n}", "ann")))
    )
    assert verdict.counts["lost"] == 20
    assert len(str(verdict).splitlines()) == 10
    assert str(verdict).endswith("... and 12 more")


# Correct histories of every kind, and faults planted in them.


class World:
    """A server that keeps its promise, and clients that come and go as chance wants."""

    def __init__(self, chance):
        self.chance = chance
        self.events = []
        self.log = []
        self.cursor = {}  # who -> how much of the log its page shows
        self.up = set()

    def record(self, kind, who, message=(None, None)):
        offset, text = message
        self.events.append(Event(kind, who, text, offset))

    def step(self):
        who = self.chance.choice(NAMES)
        if who not in self.cursor:
            self.open(who, "join")
        elif who not in self.up:
            self.open(who, self.chance.choice(("reconnect", "reload")))
        elif self.chance.random() < 0.5:
            self.send(who)
        elif self.chance.random() < 0.5:
            self.advance(who, self.chance.randint(1, 3))
        else:
            self.up.discard(who)
            self.record("drop", who)

    def open(self, who, kind):
        self.up.add(who)
        if kind != "reconnect":
            self.cursor[who] = 0
        self.record(kind, who)

    def send(self, who):
        message = Message(len(self.log) + 1, f"m{len(self.events)}")
        self.record("send", who, (None, message.text))
        self.log.append(message)
        if self.chance.random() < 0.8:  # the answer is lost now and then
            self.record("acknowledge", who, message)

    def advance(self, who, count):
        for message in self.log[self.cursor[who] :][:count]:
            self.record("show", who, message)
            self.cursor[who] += 1

    def history(self):
        recorded = History()
        for event in self.events:
            recorded.record(event.kind, event.who, event.text, event.offset)
        return recorded


def world(seed):
    """A world that has come to rest: at least one message, and one client that has it."""
    made = World(random.Random(seed))
    made.open("ann", "join")
    made.send("ann")
    for _ in range(made.chance.randint(0, 40)):
        made.step()
    if "ann" not in made.up:
        made.open("ann", "reconnect")
    for who in sorted(made.up):
        made.advance(who, len(made.log))
    return made


@given(st.integers())
def test_correct_history_is_never_accused(seed):
    """Whatever the clients do, and with or without a look into the log."""
    made = world(seed)
    assert check(made.history()).outcome == "valid"
    assert check(made.history(), made.log).outcome == "valid"


def plant_lost(made, shows):
    place, event = made.chance.choice(shows)
    del made.events[place]
    return event


def plant_duplicated(made, shows):
    place, event = made.chance.choice(shows)
    made.events.insert(place + 1, event)
    return event


def plant_reordered(made, shows):
    pairs = [
        (one, other)
        for (one, first), (other, second) in pairwise(shows)
        if second.offset == first.offset + 1
    ]
    if not pairs:
        return None
    one, other = made.chance.choice(pairs)
    made.events[one], made.events[other] = made.events[other], made.events[one]
    return made.events[other]


def plant_phantom(made, shows):
    place, event = made.chance.choice(shows)
    made.events[place] = Event("show", event.who, "nobody sent this", event.offset)
    return made.events[place]


def plant_missing(made, shows):
    acknowledged = [event for event in made.events if event.kind == "acknowledge"]
    if not acknowledged:
        return None
    event = made.chance.choice(acknowledged)
    made.log.remove(Message(event.offset, event.text))
    return event


@pytest.mark.parametrize(
    ("kind", "plant"),
    [
        ("lost", plant_lost),
        ("duplicated", plant_duplicated),
        ("reordered", plant_reordered),
        ("phantom", plant_phantom),
        ("missing", plant_missing),
    ],
)
@given(st.integers())
def test_planted_fault_is_never_missed(kind, plant, seed):
    """One fault, somewhere on the page of a client that stays: it is found by kind and name."""
    made = world(seed)
    opened = max(
        place
        for place, event in enumerate(made.events)
        if event.who == "ann" and event.kind in ("join", "reload")
    )
    shows = [
        (place, event)
        for place, event in enumerate(made.events)
        if place > opened and event.who == "ann" and event.kind == "show"
    ]
    planted = plant(made, shows)
    if planted is None:
        return
    verdict = check(made.history(), made.log)
    assert (kind, planted.who, planted.text) in faults(verdict)
    assert set(verdict.faults[0].evidence) <= set(made.events)


def test_page_with_a_gap_need_not_show_what_is_gone():
    """What is gone up to there is not missing; what comes after it is."""
    talk = [*TALK, "drop bob", *said(3, "three", "ann"), *said(4, "four", "ann"), "reconnect bob"]
    with_gap = [*talk, "gap bob 3"]
    assert check(history(*with_gap, "show bob 4 four")).valid
    assert faults(check(history(*with_gap))) == [("lost", "bob", "four")]
    faulty = check(history(*talk, "show bob 4 four"))
    assert faults(faulty) == [("lost", "bob", "three")]


def test_gap_is_no_excuse_for_what_was_lost_before_it():
    """The page had gone on when the server told it."""
    verdict = check(history(*TALK[:2], *said(1, "one", "ann"), *said(2, "two", "ann", "bob"),
                            *said(3, "three", "ann"), "gap bob 3"))  # fmt: skip
    assert faults(verdict) == [("lost", "bob", "one")]


def test_page_that_was_reset_begins_anew():
    """It shows from the beginning, or from where the log begins, what it had shown before."""
    again = ["show bob 1 one", "show bob 2 two"]
    assert check(history(*TALK, "reset bob 0", *again)).valid
    assert check(history(*TALK, "reset bob 1", again[1])).valid
    assert faults(check(history(*TALK, *again)))[0] == ("duplicated", "bob", "one")
    assert faults(check(history(*TALK, "reset bob 0", again[1]))) == [("lost", "bob", "one")]


def test_trimmed_log_is_not_asked_for_what_is_gone():
    """Pages may show it, and its senders were told the truth."""
    left = [Message(2, "two")]
    assert check(history(*TALK), left, trimmed=1).valid
    assert faults(check(history(*TALK), left)) != []
    assert faults(check(history(*TALK), [], trimmed=1))[0] == ("missing", "ann", "two")
    later = history(*TALK, "join carol", "gap carol 1", "show carol 2 two")
    assert check(later, left, trimmed=1).valid


def test_page_of_another_log_is_not_measured_by_this_one():
    """A copy was put back: what it lacks is missing, and that is all there is to say."""
    before = [*TALK, *said(3, "three", "ann", "bob")]
    after = ["reset ann 0", "reset bob 0", *(f"show {tab} 1 one" for tab in ("ann", "bob"))]
    again = said(2, "other", "ann", "bob")
    left = [Message(1, "one"), Message(2, "other")]
    assert faults(check(history(*before, *after, *again), left)) == [
        ("missing", "ann", "two"), ("missing", "ann", "three"),
    ]  # fmt: skip
    faulty = faults(check(history(*before, *again), left))
    assert {kind for kind, *_ in faulty} == {"missing", "phantom", "reordered"}


def test_fault_on_a_page_of_another_log_is_still_a_fault():
    """Whatever it counted in, it had to be in order."""
    wrong = history(*TALK, "show bob 1 one", "reset bob 0", "show bob 1 one", "show bob 2 two")
    assert faults(check(wrong)) == [("duplicated", "bob", "one")]


def test_verdict_says_how_many_gaps_were_told():
    """A page that was told of deleted messages is right, and does not show every message."""
    events = ["join ann", "send ann one", "acknowledge ann 3 one", "gap ann 2", "show ann 3 one"]
    verdict = check(history(*events), [Message(3, "one")], trimmed=2)
    assert str(verdict) == "valid: every message once and in order, and told of 1 gap"
