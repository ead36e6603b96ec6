"""A guess is kept as it was made, and shown beside what really happened."""

import pytest

from chatlab.course.guess import Guess, NoSuchAnswer
from chatlab.history.checker import Verdict

PAGE = ["hello bob", "hello ann"]


def beside(letter, happened=PAGE):
    """Show a guess where the answer (a) is more than what happened, and (c) is right."""
    return repr(Guess(letter).beside(happened, a=[*PAGE, "more"], c=PAGE))


@pytest.mark.parametrize(
    ("letter", "sentence"),
    [
        ("", "no guess yet; it is (c): ['hello bob', 'hello ann']"),
        ("c", "you guessed (c), and so it is: ['hello bob', 'hello ann']"),
        ("a", "you guessed (a); it is (c): ['hello bob', 'hello ann']"),
        ("b", "you guessed (b); it is (c): ['hello bob', 'hello ann']"),
    ],
)
def test_guess_is_shown_beside_what_happened(letter, sentence):
    """None at all, a right one, a wrong one, and one whose answer nobody could see."""
    assert beside(letter) == sentence


@pytest.mark.parametrize("letter", ["C", "(c)", " c ", "c)"])
def test_letter_may_be_written_in_another_way(letter):
    """As a capital, or in the brackets that it has in the question."""
    assert beside(letter) == beside("c")


@pytest.mark.parametrize("letter", ["d", "abc", "two", "?", 3, None])
def test_wrong_letter_is_refused_in_one_sentence(letter):
    """The sentence says what may be written, and a notebook shows nothing else."""
    with pytest.raises(NoSuchAnswer, match="is none of the answers a, b, c: write one") as refused:
        Guess(letter)
    assert refused.value._render_traceback_() == [str(refused.value)]


def test_options_are_those_of_the_question():
    """Of two answers, or of five, each may be chosen and no other."""
    assert str(Guess("e", "abcde")) == "you guessed (e)"
    with pytest.raises(NoSuchAnswer, match="'c' is none of the answers a, b:"):
        Guess("c", "ab")


def test_what_fits_no_answer_is_said_to_fit_none():
    """A reader who has changed the server sees no letter that is no longer true."""
    assert beside("c", ["else"]) == "you guessed (c); this fits no answer here: ['else']"
    assert beside("", ["else"]) == "no guess yet; this fits no answer here: ['else']"


def test_answer_in_words_is_the_beginning_of_what_happened():
    """A verdict is compared by what it says: its first words are enough."""
    unknown = Verdict((), (), doubt="nothing was sent")
    sentence = Guess("b", "ab").beside(unknown, a="valid", b="unknown")
    assert str(sentence) == "you guessed (b), and so it is: unknown: nothing was sent"
    assert "it is (a)" in Guess("b", "ab").beside(Verdict((), ()), a="valid", b="unknown")


def test_long_or_many_lines_begin_in_a_line_of_their_own():
    """What happened is not broken in the middle."""
    sentence = Guess("").beside([ConnectionError("the line"), "x" * 80], a=1)
    assert sentence.splitlines()[:2] == [
        "no guess yet; this fits no answer here:",
        "[ConnectionError('the line'),",
    ]


def test_answer_is_compared_as_it_is_shown():
    """Two errors that say the same are the same answer."""
    sentence = Guess("").beside([ConnectionError("gone")], a=[ConnectionError("gone")], b=[])
    assert sentence.startswith("no guess yet; it is (a): ")


def test_guess_is_right_if_one_of_the_answers_that_fit_is_its():
    """The beginning of what happened may be that of two answers."""
    sentence = Guess("b").beside("the first message", a="the first", b="the first message")
    assert str(sentence) == "you guessed (b), and so it is: the first message"
