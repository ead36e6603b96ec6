"""Who is in a class, under which name, and how much a student may send."""

import pytest
from support import Clock

from chatlab.classroom.names import check_name
from chatlab.classroom.roster import (
    MAX_STUDENTS,
    MAX_TABS,
    MESSAGES,
    NEW_NAMES,
    NEW_NAMES_A_SECOND,
    Roster,
)
from chatlab.messages import (
    MAX_CLIENT_OFFSET,
    MAX_TEXT,
    NOT_STORED,
    Refused,
    check_client_offset,
    check_text,
)

BADGE, OTHER = "b" * 32, "c" * 32
HERE = "192.0.2.7"
"""The address of a router with a class behind it."""


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def roster(clock):
    return Roster(clock)


def refusal(action, *arguments, **options):
    """Return the name of the refusal that an action ends with; None if it is not refused."""
    try:
        action(*arguments, **options)
    except Refused as refused:
        return refused.name
    return None


@pytest.mark.parametrize("name", ["Ann", "ANN", "\uff21\uff4e\uff4e", "a\u200dnn", " ann "])
def test_name_of_somebody_else_is_refused(roster, name):
    """Also when it only looks the same; and its owner still has it."""
    roster.join("Ann", BADGE, "1")
    assert refusal(roster.join, name, OTHER, "2") == "name taken"
    assert roster.join(name, BADGE, "2").name == "Ann"
    assert roster.of("2").sids == ["1", "2"]


def test_name_stays_its_owners_while_the_owner_is_away(roster):
    """A new student cannot use the name of a student who has lost the connection."""
    roster.join("Ann", BADGE, "1")
    roster.leave("1")
    assert roster.of("1") is None
    assert refusal(roster.join, "Ann", OTHER, "2") == "name taken"
    assert roster.knows("Ann", BADGE)
    assert not roster.knows("Ann", OTHER)


def test_nothing_is_known_of_a_name_that_is_none(roster):
    """What a client says is looked at before it is compared."""
    roster.join("Ann", BADGE, "1")
    for name, badge in ((None, BADGE), ("Ann", None), ("Ann", "ü" * 32), ("x" * 10**6, BADGE)):
        assert not roster.knows(name, badge)


def test_connection_that_comes_again_is_counted_once(roster):
    """A session that is taken over has the same sid on its new connection."""
    roster.join("Ann", BADGE, "1")
    student = roster.join("Ann", BADGE, "1")
    assert student.sids == ["1"]
    roster.leave("1")
    roster.leave("1")
    assert student.sids == []


def test_students_are_listed_by_name(roster):
    """So that a row stays where it is."""
    for number, name in enumerate(["bob", "Carol", "ann"]):
        roster.join(name, BADGE, str(number))
    assert [student.name for student in roster] == ["ann", "bob", "Carol"]


def filled(roster):
    """Fill a class, from two addresses."""
    for number in range(MAX_STUDENTS):
        roster.join(f"s{number}", BADGE, str(number), f"192.0.2.{number % 2}")


def test_full_class_forgets_who_is_away_longest(roster, clock):
    """And nobody who is here; if all are here, it is full."""
    filled(roster)
    assert roster.full
    assert refusal(roster.join, "one more", BADGE, "x") == "class full"
    for number in (7, 3):
        clock.now += 1
        roster.leave(str(number))
    roster.join("one more", BADGE, "x")
    assert len(roster) == MAX_STUDENTS
    assert not roster.knows("s7", BADGE)
    assert roster.knows("s3", BADGE)


def test_name_that_has_written_is_never_forgotten(roster, clock):
    """Its messages are in the log: under its name nobody else may write there."""
    ann = roster.join("Ann", BADGE, "ann")
    ann.wrote = True
    roster.join("Bob", BADGE, "bob")  # the control: he writes nothing
    roster.leave("ann")
    roster.leave("bob")
    for number in range(MAX_STUDENTS):
        clock.now += 1
        refusal(roster.join, f"s{number}", OTHER, str(number), f"192.0.2.{number % 2}")
    assert refusal(roster.join, "Ann", OTHER, "x", "192.0.2.7") == "name taken"
    assert refusal(roster.join, "Bob", OTHER, "x", "192.0.2.7") == "class full"
    assert not roster.knows("Bob", BADGE)
    roster.leave("7")
    assert refusal(roster.join, "Bob", OTHER, "x", "192.0.2.7") is None


def test_one_address_takes_only_so_many_new_names(roster, clock):
    """So it cannot fill the class within a lesson; a class of five hundred behind it is let in."""
    names = [refusal(roster.join, f"s{number}", BADGE, str(number), HERE) for number in range(505)]
    assert names == [None] * NEW_NAMES + ["too many names"] * 5
    assert refusal(roster.join, "s7", BADGE, "again", HERE) is None  # it is not new
    assert refusal(roster.join, "else", BADGE, "elsewhere", "192.0.2.8") is None
    with pytest.raises(Refused, match="try again in 10 seconds"):
        roster.join("one more", BADGE, "x", HERE)
    clock.now += 1 / NEW_NAMES_A_SECOND
    assert refusal(roster.join, "one more", BADGE, "x", HERE) is None
    assert roster.busiest() == (HERE, NEW_NAMES + 1)
    lesson = 45 * 60
    for number in range(lesson):
        clock.now += 1
        refusal(roster.join, f"t{number}", BADGE, "y", HERE)
    assert not roster.full


def test_who_takes_names_and_leaves_keeps_nobody_out_behind_the_same_router(roster, clock):
    """Too many names from there take the place of those that are away and have written nothing."""
    roster.join("Ann", BADGE, "ann", "192.0.2.8")
    roster.leave("ann")
    for number in range(5000):
        clock.now += 0.001
        roster.join(f"s{number}", OTHER, str(number), HERE)
        if number < 3:
            roster.of(str(number)).wrote = True
        roster.leave(str(number))
    assert len(roster) == 1 + NEW_NAMES
    assert [roster.knows(f"s{number}", OTHER) for number in (0, 1, 2, 3)] == [True] * 4
    assert not roster.knows("s4000", OTHER)
    assert roster.knows("Ann", BADGE)
    assert refusal(roster.join, "Bob", BADGE, "bob", HERE) is None


def test_who_takes_names_and_leaves_takes_no_name_of_a_silent_student(roster, clock):
    """Not behind the same router either: each new name takes the place of the one before."""
    roster.join("Bob", BADGE, "bob", HERE)
    roster.leave("bob")
    for number in range(2 * NEW_NAMES):
        clock.now += 0.001
        roster.join(f"s{number}", OTHER, str(number), HERE)
        roster.leave(str(number))
    assert roster.knows("Bob", BADGE)


def test_name_that_is_freed_makes_room_where_it_came_from(roster, clock):
    """Otherwise its rightful owner behind the same router could not take it."""
    for number in range(NEW_NAMES):
        roster.join(f"s{number}", OTHER, str(number), HERE)
    assert refusal(roster.join, "Bob", BADGE, "bob", HERE) == "too many names"
    roster.free("s7")
    assert refusal(roster.join, "Bob", BADGE, "bob", HERE) is None
    assert refusal(roster.join, "Carol", BADGE, "carol", HERE) == "too many names"


def test_class_behind_one_router_joins_within_ten_minutes(roster, clock):
    """At any pace: all at once is the case above."""
    for number in range(500):
        clock.now += 600 / 500
        roster.join(f"s{number}", BADGE, str(number), HERE)
    assert len(roster) == 500


def test_name_that_is_freed_can_be_taken(roster):
    """Its student is out, with all connections; the others are not concerned."""
    for sid in ("1", "2"):
        roster.join("Iris", BADGE, sid)
    roster.join("Bob", BADGE, "3")
    assert roster.free("Iris") == ["1", "2"]
    assert (roster.of("1"), len(roster)) == (None, 1)
    roster.leave("1")  # the connection itself ends later
    assert refusal(roster.join, "lris", OTHER, "4") is None
    assert refusal(roster.join, "Iris", BADGE, "1") == "name taken"
    with pytest.raises(KeyError):
        roster.free("Iris")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Iris", "lris"),
        ("Iris", "1ris"),
        ("Iris", "IRIS"),
        ("Bill", "BI11"),
        ("Iris", "\u0406ris"),
        ("Bob", "\u0412ob"),
        ("Bob", "B0b"),
        ("Ace", "\u0410\u0441\u0435"),
        ("\u0412\u0430\u043d\u044f", "\u0412\u0410\u041d\u042f"),
        ("Jos\u00e9", "Jos\u0435\u0301"),
        ("Nina", "\u039dina"),
        ("Ann", "Ann\u200d"),
        ("Ann", "Ann "),
        ("Ann", "\U0001d400nn"),
    ],
)
def test_name_that_looks_like_another_is_taken(roster, name, other):
    """With letters of other alphabets, digits, or what nobody sees; and the other way round."""
    for one, two in ((name, other), (other, name)):
        roster = Roster(Clock())
        roster.join(one, BADGE, "1")
        assert refusal(roster.join, two, OTHER, "2") == "name taken"


@pytest.mark.parametrize(("name", "other"), [("Lia", "Ila"), ("Ian", "Lan"), ("Ann", "\u00c4nn")])
def test_name_that_can_be_told_from_another_is_not_taken(roster, name, other):
    """The control: small and capital letters count as they are drawn."""
    roster.join(name, BADGE, "1")
    assert refusal(roster.join, other, OTHER, "2") is None


def test_key_of_a_message_is_its_senders_own(roster):
    """The same under another name of its browser, another in another browser, and none for none."""
    ann, annie = roster.join("Ann", BADGE, "1"), roster.join("Annie", BADGE, "2")
    bob = roster.join("Bob", OTHER, "3")
    assert ann.own_key("key") == annie.own_key("key") != bob.own_key("key")
    assert check_client_offset(ann.own_key("x" * MAX_CLIENT_OFFSET))
    assert BADGE not in ann.own_key("key")
    assert ann.own_key(None) is None
    for key in ("", 7, "x" * (MAX_CLIENT_OFFSET + 1), "\ud800"):
        assert refusal(ann.own_key, key) == "bad client_offset"


def test_too_many_messages_are_for_later(roster, clock):
    """The refusal is the one after which an outbox tries again; others write as before."""
    ann, bob = roster.join("Ann", BADGE, "1"), roster.join("Bob", OTHER, "2")
    spent = [refusal(ann.count_message, clock()) for _ in range(MESSAGES + 1)]
    assert spent == [None] * MESSAGES + [NOT_STORED]
    assert refusal(bob.count_message, clock()) is None
    assert (
        refusal(roster.join("Ann", BADGE, "3").count_message, clock()) == NOT_STORED
    )  # no way around
    clock.now += 1
    assert [refusal(ann.count_message, clock()) for _ in range(2)] == [None, NOT_STORED]


def test_message_has_the_name_of_its_sender_in_front(roster):
    """And is as long as a message may be, with it."""
    ann = roster.join("Ann", BADGE, "1")
    longest = "x" * (MAX_TEXT - len("Ann: "))
    assert ann.signed("Bob: hello") == "Ann: Bob: hello"
    assert len(check_text(ann.signed(longest))) == MAX_TEXT
    with pytest.raises(Refused, match="with your name, a message has at most 9,995 characters"):
        ann.signed(longest + "x")


@pytest.mark.parametrize("text", [None, 7, "", ["x"], "\ud800", "x" * (MAX_TEXT + 1)])
def test_what_is_no_message_is_no_message_with_a_name_either(roster, text):
    """The name in front does not make a text of it."""
    assert refusal(roster.join("Ann", BADGE, "1").signed, text) == refusal(check_text, text)


def test_secrets_are_not_in_what_is_printed(roster):
    """A badge is not shown by accident, in a traceback for instance."""
    assert BADGE not in repr(roster.join("Ann", BADGE, "1"))


def test_student_has_only_so_many_connections(roster):
    """Each costs the server memory, whether or not it is read from."""
    for number in range(MAX_TABS):
        roster.join("Ann", BADGE, f"tab {number}")
    assert refusal(roster.join, "Ann", BADGE, "one too many") == "too many tabs"
    assert refusal(roster.join, "Bob", OTHER, "another student's") is None
    roster.leave("tab 3")
    assert refusal(roster.join, "Ann", BADGE, "in its place") is None


@pytest.mark.parametrize("unseen", ["\u3164", "\u034f", "\ufe0f", "\u115f", "\U000e0101", "\u17b5"])
def test_name_with_characters_that_nobody_sees_is_the_same_name(roster, unseen):
    """Alone they are no name, and with them nobody else is Anna."""
    assert refusal(check_name, unseen) == "bad name"
    roster.join("Anna", BADGE, "sid 1")
    for name in (f"Anna{unseen}", f"An{unseen}na", f"Anna {unseen}"):
        assert refusal(roster.join, name, OTHER, "sid 2") == "name taken", ascii(name)
