"""Who is in a class, under which name, and how much a student may send."""

import pytest
from support import Clock

from chatlab.classroom.names import check_name
from chatlab.classroom.roster import MAX_STUDENTS, MAX_TABS, MESSAGES, Roster
from chatlab.messages import MAX_TEXT, NOT_STORED, Refused, check_text

BADGE, OTHER = "b" * 32, "c" * 32


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


def test_full_class_forgets_who_is_away_longest(roster, clock):
    """And nobody who is here; if all are here, it is full."""
    for number in range(MAX_STUDENTS):
        roster.join(f"s{number}", BADGE, str(number))
    assert refusal(roster.join, "one more", BADGE, "x") == "class full"
    for number in (7, 3):
        clock.now += 1
        roster.leave(str(number))
    roster.join("one more", BADGE, "x")
    assert len(roster) == MAX_STUDENTS
    assert not roster.knows("s7", BADGE)
    assert roster.knows("s3", BADGE)


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
