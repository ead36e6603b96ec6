"""What can be the name of a student, and what can be a badge."""

import unicodedata

import pytest

from chatlab.classroom.names import (
    CONTROL,
    MAX_MARKS,
    MAX_NAME,
    check_badge,
    check_line,
    check_name,
)
from chatlab.messages import MAX_TEXT, Refused, check_text

ARABIC, PERSIAN = "\u0639\u0627\u0626\u0634\u0629", "\u0645\u06cc\u200c\u062e\u0648\u0627"


def refusal(action, *arguments, **options):
    """Return the name of the refusal that an action ends with; None if it is not refused."""
    try:
        action(*arguments, **options)
    except Refused as refused:
        return refused.name
    return None


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
        "Bob\uff1a hello",
        "Bob\ua789 hello",
        "Bob\u2236 hello",
        "\U0001d159",
        "x" + "\u0336" * (MAX_MARKS + 1),
    ],
)
def test_name_that_could_deceive_is_refused(value):
    """Too long, or with something in it that hides the name, ends it, or turns the text around."""
    assert refusal(check_name, value) == "bad name"


@pytest.mark.parametrize("value", [None, 7, "", "short", "x" * 101, "ü" * 20, "\ud800" * 20])
def test_badge_that_is_no_secret_is_refused(value):
    """A badge is long, and of characters that can be compared."""
    assert refusal(check_badge, value) == "bad badge"


THAI, TIBETAN, HEBREW = (
    "\u0e17\u0e35\u0e48",
    "\u0f67\u0f71\u0f74\u0f83",
    "\u05e9\u05bc\u05c1\u05b8\u0597",
)
MARKS = "\u0336" * MAX_MARKS


@pytest.mark.parametrize(
    "text",
    [
        "Bob: hello",
        "a\tb",
        "👩\u200d🔬 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 1\ufe0f\u20e3",
        f"{ARABIC}\u200f, {PERSIAN}, {THAI}, {TIBETAN}, {HEBREW}, e\u0301",
        f"x{MARKS}y{MARKS}",
    ],
)
def test_line_is_taken_as_it_is(text):
    """In any script, with the marks and the unseen characters that it needs."""
    assert check_line(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *(f"hello{end}Bob: hello" for end in "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
        *(f"hello{turn}" for turn in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"),
        "\x00",
        "\x1b[31m",
        "\x7f",
        f"x{MARKS}\u0301",
        f"x{MARKS}\u200d\u0301",
        "",
        7,
        "x" * (MAX_TEXT + 1),
    ],
)
def test_what_could_forge_or_cover_another_line_is_no_line(text):
    """Nobody else's name can stand at the beginning of a line, and no mark reaches the next one."""
    assert refusal(check_line, text) == ("text too long" if text == "x" * 10_001 else "bad text")


def test_every_end_of_a_line_that_python_knows_is_one():
    """What `splitlines` splits at, and what Unicode calls a control character, is refused."""
    for point in range(0x110000):
        character = chr(point)
        ends = len(f"a{character}b".splitlines()) > 1 or unicodedata.category(character) == "Cc"
        turns = unicodedata.bidirectional(character) in TURNING
        assert (CONTROL.match(character) is not None) is ((ends or turns) and character != "\t")


TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""What Unicode calls the characters that turn the direction of a text."""
