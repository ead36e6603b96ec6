"""Events: their numbers, how long they are kept, and for whom they are."""

from chatlab.recovery.events import OVERHEAD, Event, Events
from chatlab.recovery.sessions import Position, Session


def event(number, time=0.0, rooms=(None,), skipped=(), text='2["tick"]'):
    return Event(number, time, "/", rooms, skipped, [text])


def kept(*numbers):
    """Events with these numbers, each at the time of its number, and all of them delivered."""
    events = Events(0)
    for number in numbers:
        events.append(event(number, time=number))
        events.delivered = number
    return events


def test_events_after_a_number_are_those_that_were_sent():
    """Gaps in the numbers do not matter. An event that is still being stored is not among them."""
    events = kept(3, 4, 1000)
    events.append(event(1001))
    assert [one.number for one in events.after(0)] == [3, 4, 1000]
    assert [one.number for one in events.after(3)] == [4, 1000]
    assert events.after(1000) == []


def test_old_events_are_forgotten_and_large_ones_sooner():
    """`size` and `forgotten` are updated."""
    events = kept(1, 2, 3, 4)
    assert events.size == 4 * (OVERHEAD + len('2["tick"]'))
    assert events.trim(2, events.size) and events.forgotten == 2
    assert events.trim(0, events.size - 1) and events.forgotten == 3
    assert not events.trim(0, events.size)
    assert [one.number for one in events.retained] == [4]


def test_events_of_an_earlier_server_go_on():
    """Its numbers are not used again, and what it had forgotten stays forgotten."""
    events = Events(5)
    events.load([event(8), event(9)], 9, now=3.0)
    assert (events.last, events.delivered, events.forgotten) == (9, 9, 7)
    assert [one.time for one in events.retained] == [3.0, 3.0]
    events = Events(50)
    events.load([], 9, now=3.0)
    assert (events.last, events.forgotten) == (50, 9)


def test_event_is_for_those_who_were_in_its_rooms():
    """The session entered before the event, is in its namespace, and was not skipped."""
    session = Session("sid", "/", Position(0, 0), Position(0, 0), rooms={None: 0, "a": 5})
    assert event(1).is_for(session)
    assert event(6, rooms=("a",)).is_for(session)
    assert event(6, rooms=("b", "a")).is_for(session)
    assert not event(5, rooms=("a",)).is_for(session)
    assert not event(6, rooms=("b",)).is_for(session)
    assert not event(6, skipped=("sid",)).is_for(session)
    assert not event(6)._replace(namespace="/other").is_for(session)
