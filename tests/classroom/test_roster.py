"""Who may come into a class, under which name, and how often somebody may try or write."""

import re
from collections import Counter

import pytest

from chatlab.classroom.roster import (
    ALPHABET,
    CODE_LENGTH,
    MAX_ADDRESSES,
    MAX_NAME,
    MAX_STUDENTS,
    MAX_TABS,
    MESSAGES,
    WRONG_CODES,
    WRONG_CODES_A_SECOND,
    Bucket,
    Door,
    Roster,
    check_badge,
    check_code,
    check_name,
    new_code,
)
from chatlab.messages import MAX_TEXT, NOT_STORED, Refused, check_text

CODE, BADGE, OTHER = "K7PQ2M", "b" * 32, "c" * 32
ARABIC, PERSIAN = "\u0639\u0627\u0626\u0634\u0629", "\u0645\u06cc\u200c\u062e\u0648\u0627"
PHONE, LAPTOP = "192.0.2.7", "192.0.2.8"


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def door(clock):
    return Door(CODE, clock)


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


def test_bucket_lets_a_few_pass_at_once_and_some_in_the_long_run():
    """Three at once; then one every two seconds, and never more than three for having waited."""
    bucket = Bucket(3, 0.5, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(0) == 2
    assert [bucket.take(now) for now in (1, 2, 3, 4)] == [False, True, False, True]
    assert [bucket.take(1000) for _ in range(4)] == [True, True, True, False]


def test_new_codes_are_easy_to_type_and_differ():
    """Six characters that are not taken for others; among a thousand codes there is no pair."""
    codes = {new_code() for _ in range(1000)}
    assert len(codes) == 1000
    assert all(re.fullmatch(f"[{ALPHABET}]{{{CODE_LENGTH}}}", code) for code in codes)
    assert not set("01OIL") & set(ALPHABET)
    assert set(Counter("".join(codes))) == set(ALPHABET)


@pytest.mark.parametrize("typed", [CODE, "k7pq2m", " K7P Q2M "])
def test_right_code_is_let_in_however_it_is_typed(door, typed):
    """Small letters and spaces, as phones write them."""
    assert refusal(door.check, typed, PHONE) is None


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (None, "no code"),
        ("", "no code"),
        ("K7PQ2N", "wrong code"),
        ("K7PQ2", "wrong code"),
        ("K7PQ2MM", "wrong code"),
        (" ", "wrong code"),
        ("\uff2b7PQ2M", "wrong code"),
        ("\ud800", "wrong code"),
        ("K" * 10**6, "wrong code"),
        (True, "wrong code"),
        ([CODE], "wrong code"),
        ({"code": CODE}, "wrong code"),
    ],
)
def test_any_other_code_is_refused(door, typed, name):
    """By name, whatever it is made of."""
    assert refusal(door.check, typed, PHONE) == name


def test_guessing_ends_after_a_few_codes_even_with_the_right_one(door, clock):
    """Who has guessed too often does not hear whether the next code is right; later it counts."""
    assert [refusal(door.check, "222222", PHONE) for _ in range(WRONG_CODES)] == [
        "wrong code"
    ] * WRONG_CODES
    for code in ("222222", CODE):
        with pytest.raises(Refused, match="try again in 10 seconds") as refused:
            door.check(code, PHONE)
        assert refused.value.name == "too many codes"
    clock.now += 1 / WRONG_CODES_A_SECOND
    assert refusal(door.check, CODE, PHONE) is None


def test_one_who_guesses_keeps_nobody_else_out(door):
    """Another address has patience of its own, and a student who is known comes back at once."""
    for _ in range(WRONG_CODES + 1):
        refusal(door.check, "222222", PHONE)
    assert refusal(door.check, CODE, LAPTOP) is None
    assert refusal(door.check, CODE, PHONE, known=True) is None
    assert refusal(door.check, CODE, PHONE) == "too many codes"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("192.0.2.7", "::ffff:192.0.2.8", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        (None, "no address", True),
    ],
)
def test_one_machine_is_one_address(door, one, other, same):
    """With IPv6 a machine has a whole network of them, and what cannot be read is one."""
    for _ in range(WRONG_CODES):
        refusal(door.check, "222222", one)
    assert (refusal(door.check, CODE, other) == "too many codes") is same


def test_right_codes_and_missing_ones_are_no_guesses(door):
    """A page that knows no code yet, and a crowd that comes back, are never too many."""
    for _ in range(5 * WRONG_CODES):
        assert refusal(door.check, CODE, PHONE) is None
        assert refusal(door.check, None, PHONE) == "no code"


def test_addresses_do_not_fill_the_memory(door):
    """Only the newest are remembered, and among them the one that is still guessing."""
    for number in range(3 * MAX_ADDRESSES):
        refusal(door.check, "222222", f"10.0.{number // 250}.{number % 250}")
        refusal(door.check, "222222", PHONE)
    assert len(door._buckets) == MAX_ADDRESSES
    assert refusal(door.check, CODE, PHONE) == "too many codes"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Ann", "Ann"),
        ("  Ann \n B ", "Ann B"),
        ("e\u0301", "é"),
        ("<b>Ann</b>", "<b>Ann</b>"),
        (ARABIC, ARABIC),
        (PERSIAN, PERSIAN),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("7", "7"),
        ("x" * MAX_NAME, "x" * MAX_NAME),
    ],
)
def test_name_is_taken_as_it_is_meant(typed, name):
    """Names of all scripts, with no space too many."""
    assert check_name(typed) == name
    check_text(name)  # what it becomes a part of


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        ["Ann"],
        "",
        "   ",
        "x" * (MAX_NAME + 1),
        "x" * 10**6,
        "Ann: hello",
        "Ann\x00",
        "Ann\x1b[31m",
        "\u202eAnn",
        "\u2066Ann",
        "\ufeff",
        "\u200d",
        "\ud800",
        "...",
        "\u0301",
    ],
)
def test_name_that_could_deceive_is_refused(value):
    """Too long, or with something in it that hides the name, ends it, or turns the text around."""
    assert refusal(check_name, value) == "bad name"


@pytest.mark.parametrize("value", [None, 7, "", "short", "x" * 101, "ü" * 20, "\ud800" * 20])
def test_badge_that_is_no_secret_is_refused(value):
    """A badge is long, and of characters that can be compared."""
    assert refusal(check_badge, value) == "bad badge"


@pytest.mark.parametrize("code", ["", "K7PQ2", "K7PQ2MM", "K7PQ20", "K7PQ2É", "K7PQ-M"])
def test_chosen_code_that_is_none_is_an_error(code):
    """It would be hard to type, or easy to guess."""
    with pytest.raises(ValueError, match="a join code has 6 characters"):
        check_code(code)


def test_chosen_code_is_taken_as_it_is_compared():
    """In small letters it is the same code."""
    assert check_code(" k7pq2m ") == CODE


@pytest.mark.parametrize("name", ["Ann", "ANN", "\uff21\uff4e\uff4e", "a\u200dnn", " ann "])
def test_name_of_somebody_else_is_refused(roster, name):
    """Also when it only looks the same; and its owner still has it."""
    roster.join("Ann", BADGE, "1")
    assert refusal(roster.join, name, OTHER, "2") == "name taken"
    assert roster.join(name, BADGE, "2").name == "Ann"
    assert roster.of("2").sids == ["1", "2"]


def test_name_stays_its_owners_while_the_owner_is_away(roster):
    """Nobody speaks in the name of somebody who has lost the connection."""
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
    spent = [refusal(ann.spend, clock()) for _ in range(MESSAGES + 1)]
    assert spent == [None] * MESSAGES + [NOT_STORED]
    assert refusal(bob.spend, clock()) is None
    assert refusal(roster.join("Ann", BADGE, "3").spend, clock()) == NOT_STORED  # no way around
    clock.now += 1
    assert [refusal(ann.spend, clock()) for _ in range(2)] == [None, NOT_STORED]


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
