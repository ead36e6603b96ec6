"""What makes a message, an offset and a key valid."""

import json
import math
import pickle
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.log import LogError
from chatlab.messages import (
    MAX_CLIENT_OFFSET,
    MAX_OFFSET,
    MAX_TEXT,
    Refused,
    check_client_offset,
    check_offset,
    check_text,
    epoch_of,
    offset_of,
    takes_pages,
)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (42, "bad text"),
        (True, "bad text"),
        (None, "bad text"),
        (["hi"], "bad text"),
        ({"text": "hi"}, "bad text"),
        (b"hi", "bad text"),
        ("", "bad text"),
        ("\ud800", "bad text"),
        ("x" * (MAX_TEXT + 1), "text too long"),
    ],
)
def test_bad_text_is_refused_by_name(value, name):
    """Whatever would not come back as it went in is refused."""
    with pytest.raises(Refused) as refusal:
        check_text(value)
    assert refusal.value.name == name
    assert refusal.value.as_dict() == {"error": name, "message": str(refusal.value)}


def test_longest_text_is_accepted():
    """The limit itself is allowed, and its JSON stays far below the transport's 1 MB."""
    longest = "\N{PILE OF POO}" * MAX_TEXT
    assert check_text(longest) == longest
    assert len(json.dumps(longest)) < 200_000


@given(st.text(min_size=1, max_size=100))
def test_accepted_text_survives_json_and_sqlite(text):
    """What is accepted comes back unchanged from the wire and from the table."""
    try:
        check_text(text)
    except Refused:
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    assert json.loads(json.dumps(text)) == text
    database = sqlite3.connect(":memory:")
    [(stored,)] = database.execute("SELECT CAST(? AS TEXT)", (text,))
    database.close()
    assert stored == text


@pytest.mark.parametrize("value", [0, 1, MAX_OFFSET])
def test_whole_number_is_an_offset(value):
    """From nothing seen yet to the largest row id."""
    assert check_offset(value) == value


@pytest.mark.parametrize(
    "value",
    [-1, MAX_OFFSET + 1, 10**30, 1.0, 1e99, math.nan, math.inf, "1", "abc", [], {}, True, None],
)
def test_anything_else_is_no_offset(value):
    """In particular True, which Python counts as 1."""
    with pytest.raises(Refused) as refusal:
        check_offset(value)
    assert refusal.value.name == "bad offset"


@pytest.mark.parametrize(
    ("auth", "offset"), [(None, 0), ({}, 0), ({"token": "x"}, 0), ({"serverOffset": 7}, 7)]
)
def test_auth_without_an_offset_has_seen_nothing(auth, offset):
    """No auth and no serverOffset both mean 0."""
    assert offset_of(auth) == offset


@pytest.mark.parametrize(
    ("auth", "name"),
    [
        ("7", "bad auth"),
        (7, "bad auth"),
        ([7], "bad auth"),
        (True, "bad auth"),
        ({"serverOffset": "7"}, "bad offset"),
        ({"serverOffset": None}, "bad offset"),
    ],
)
def test_bad_auth_is_refused_by_name(auth, name):
    """An auth of another shape is an error, not an empty page."""
    with pytest.raises(Refused) as refusal:
        offset_of(auth)
    assert refusal.value.name == name


@pytest.mark.parametrize("key", [None, "k", "x" * MAX_CLIENT_OFFSET])
def test_key_is_a_short_text_or_nothing(key):
    """A sender may give a key, and need not."""
    assert check_client_offset(key) == key


@pytest.mark.parametrize("key", ["", "x" * (MAX_CLIENT_OFFSET + 1), 7, True, ["k"], "\udfff"])
def test_bad_key_is_refused(key):
    """A key of another type or length is an error."""
    with pytest.raises(Refused) as refusal:
        check_client_offset(key)
    assert refusal.value.name == "bad client_offset"


@pytest.mark.parametrize(
    ("auth", "epoch"),
    [(None, None), ({}, None), ({"epoch": None}, None), ({"epoch": "e"}, "e"), ({"epoch": ""}, "")],
)
def test_epoch_is_a_short_text_or_nothing(auth, epoch):
    """A client may know one, and need not."""
    assert epoch_of(auth) == epoch


@pytest.mark.parametrize("auth", [{"epoch": 7}, {"epoch": ["e"]}, {"epoch": "x" * 101}, "e", [], 0])
def test_bad_epoch_is_refused(auth):
    """Another type or length is an error."""
    with pytest.raises(Refused) as refusal:
        epoch_of(auth)
    assert refusal.value.name == ("bad epoch" if isinstance(auth, dict) else "bad auth")


@pytest.mark.parametrize("auth", [None, {}, {"pages": False}, {"pages": 1}, {"pages": "true"}])
def test_pages_are_for_those_who_ask_for_them(auth):
    """With `true`, and nothing like it."""
    assert takes_pages({"pages": True})
    assert not takes_pages(auth)


def test_refusal_comes_whole_from_another_process():
    """The error of a server in a process of its own is pickled on its way."""
    refusal = pickle.loads(pickle.dumps(LogError("not stored", "no database")))
    assert (type(refusal), refusal.name, str(refusal)) == (LogError, "not stored", "no database")
