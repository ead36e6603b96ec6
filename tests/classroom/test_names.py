"""What can be the name of a student, and what can be a badge."""

import pytest

from chatlab.classroom.names import MAX_NAME, check_badge, check_name
from chatlab.messages import Refused, check_text

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
    ],
)
def test_name_that_could_deceive_is_refused(value):
    """Too long, or with something in it that hides the name, ends it, or turns the text around."""
    assert refusal(check_name, value) == "bad name"


@pytest.mark.parametrize("value", [None, 7, "", "short", "x" * 101, "ü" * 20, "\ud800" * 20])
def test_badge_that_is_no_secret_is_refused(value):
    """A badge is long, and of characters that can be compared."""
    assert refusal(check_badge, value) == "bad badge"
