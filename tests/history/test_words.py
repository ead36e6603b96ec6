"""The words of a diagram: a text that is too long is cut where it would not fit."""

import pytest

from chatlab.history.drawing import LANE
from chatlab.history.words import ROOM, short


@pytest.mark.parametrize(
    ("letter", "pixels"),
    [("i", 3), ("x", 7), ("A", 9), ("m", 12), ("W", 13), ("本", 13), ("😀", 18)],
)
def test_long_text_is_cut_before_the_next_lane(letter, pixels):
    """However wide its letters are, a text ends in an ellipsis within the room it has."""
    cut = short(letter * 1_000_000)
    assert cut == letter * (len(cut) - 1) + "…"
    assert 8 <= len(cut) <= ROOM
    assert 12 + pixels * len(cut) < LANE


def test_text_that_fits_is_not_cut():
    """The ellipsis stands only where something is left out."""
    assert short("x" * ROOM) == "x" * ROOM
    assert short("x" * (ROOM + 1)) == "x" * (ROOM - 1) + "…"
