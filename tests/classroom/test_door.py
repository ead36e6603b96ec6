"""The join code of a class, and how often somebody may try it."""

import re
from collections import Counter

import pytest
from support import Clock

from chatlab.classroom.door import (
    ALPHABET,
    CODE_LENGTH,
    MAX_ADDRESSES,
    WRONG_CODES,
    WRONG_CODES_A_SECOND,
    Bucket,
    Buckets,
    Door,
    check_code,
    new_code,
)
from chatlab.messages import Refused

CODE = "K7PQ2M"
PHONE, LAPTOP = "192.0.2.7", "192.0.2.8"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def door(clock):
    return Door(CODE, clock)


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
    """After too many wrong codes the next one is refused, right or wrong; later it counts."""
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
    """Another address is not affected, and a known student can join again at once."""
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
    """Pages without a code, and many students who reconnect, never count as wrong codes."""
    for _ in range(5 * WRONG_CODES):
        assert refusal(door.check, CODE, PHONE) is None
        assert refusal(door.check, None, PHONE) == "no code"


def addresses(count):
    return [f"10.0.{number // 250}.{number % 250}" for number in range(count)]


FEW = 50
"""Addresses that are counted one by one, in a test that goes far beyond them."""


def guesses(buckets, clock):
    """Let many addresses guess in turn, a few times too often; return how often they may."""
    many = addresses(3 * FEW)
    return sum(buckets.of(address).take(clock()) for address in many * (3 * WRONG_CODES))


class Forgetful(Buckets):
    """The control: it makes room for every new address, as a cache does."""

    def _make_room(self):
        while len(self) >= FEW:
            del self._buckets[next(iter(self._buckets))]
        return True


def test_many_addresses_are_no_way_around_the_limit(clock, monkeypatch):
    """They guess in turn, so that each is the one that was used longest ago. The control forgets
    what each has tried, and refuses nobody."""
    monkeypatch.setattr("chatlab.classroom.door.MAX_ADDRESSES", FEW)
    limited = Buckets(WRONG_CODES, WRONG_CODES_A_SECOND, clock)
    assert guesses(limited, clock) == (FEW + 1) * WRONG_CODES
    clock.now += 1 / WRONG_CODES_A_SECOND
    assert guesses(limited, clock) == FEW + 1
    forgetful = Forgetful(WRONG_CODES, WRONG_CODES_A_SECOND, clock)
    assert guesses(forgetful, clock) == 3 * FEW * 3 * WRONG_CODES


def test_addresses_do_not_fill_the_memory(clock, door):
    """As many as are counted, and one that is still guessing is not forgotten for others."""
    for address in addresses(3 * MAX_ADDRESSES):
        refusal(door.check, "222222", address)
        refusal(door.check, "222222", PHONE)
    assert len(door._wrong) == MAX_ADDRESSES
    assert refusal(door.check, CODE, PHONE) == "too many codes"


def test_address_that_has_waited_makes_room(clock, door):
    """Those that guess no more are forgotten for others, and so are those that never did."""
    for address in addresses(2 * MAX_ADDRESSES):
        assert refusal(door.check, CODE, address) is None
    for address in addresses(2 * MAX_ADDRESSES):
        refusal(door.check, "222222", address)
    assert refusal(door.check, CODE, LAPTOP) == "too many codes"
    clock.now += WRONG_CODES / WRONG_CODES_A_SECOND
    for address in (PHONE, LAPTOP):
        for _ in range(WRONG_CODES):
            assert refusal(door.check, "222222", address) == "wrong code"


@pytest.mark.parametrize("code", ["", "K7PQ2", "K7PQ2MM", "K7PQ20", "K7PQ2É", "K7PQ-M"])
def test_chosen_code_that_is_none_is_an_error(code):
    """It would be hard to type, or easy to guess."""
    with pytest.raises(ValueError, match="a join code has 6 characters"):
        check_code(code)


def test_chosen_code_is_taken_as_it_is_compared():
    """In small letters it is the same code."""
    assert check_code(" k7pq2m ") == CODE
