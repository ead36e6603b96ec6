"""The bars: each is as long as its number, and the picture and the words say the same."""

from xml.etree import ElementTree

import pytest

from chatlab.course.bars import WIDTH, Bars

NUMBERS = {"a short one": 0, "<one> & another": 250, "a long one": 1000}


def drawn(bars):
    return ElementTree.fromstring(bars.svg)


def test_printed_bars_are_a_table():
    """Labels begin and numbers end below each other."""
    assert str(Bars("Sheep, counted", NUMBERS)).splitlines() == [
        "Sheep, counted",
        "a short one          0",
        "<one> & another    250",
        "a long one       1,000",
    ]


def test_bars_are_as_long_as_their_numbers():
    """The longest takes all the room, in proportion to the others."""
    bars = drawn(Bars("Sheep", NUMBERS)).findall("{*}rect[@class='bar']")
    assert [int(bar.get("width")) for bar in bars] == [0, WIDTH // 4, WIDTH]


def test_numbers_and_labels_stay_inside_the_picture():
    """A number stands behind the end of its bar, and its label before the beginning."""
    picture = drawn(Bars("Sheep", NUMBERS))
    shown = [text.text for text in picture.findall("{*}text")]
    words = [word for label, number in NUMBERS.items() for word in (label, f"{number:,}")]
    assert shown == ["Sheep", *words]
    assert max(int(text.get("x")) for text in picture.findall("{*}text")) < int(
        picture.get("width")
    )


def test_summary_names_the_extremes():
    """They are what one sees at a glance."""
    words = "Bar chart: Sheep; from 0 (a short one) to 1,000 (a long one)."
    assert Bars("Sheep", NUMBERS).summary == words


@pytest.mark.parametrize("numbers", [["a"], {"a": "1"}])
def test_what_is_no_number_for_a_label_is_refused(numbers):
    """In one sentence, which shows how it is written."""
    with pytest.raises(ValueError, match="bars need a number for each label"):
        Bars("Sheep", numbers)


@pytest.mark.parametrize("numbers", [{}, {"a": 0}, {"a": 1, "b": -1}])
def test_numbers_that_make_no_bars_are_refused(numbers):
    """Nothing to draw, no scale, or a length below 0."""
    with pytest.raises(ValueError, match="bars need numbers"):
        Bars("Sheep", numbers)
