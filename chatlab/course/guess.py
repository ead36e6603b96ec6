"""A guess that a reader writes before a run, to compare it with what happens.

Pure: it compares texts. A chapter also runs to its end without a guess.
"""

from __future__ import annotations

from pprint import pformat
from typing import Any

from chatlab.mistakes import BadArgument

WIDTH = 79
"""How many characters fit in a line of output; a longer text begins on a new line."""


class NoSuchAnswer(BadArgument):
    """Error for a guess that is none of the answers."""


class Guess:
    """The reader's answer to a question, (a), (b) or (c); "" means no guess yet.

    `options` are the letters that are allowed. Raises NoSuchAnswer for anything else.
    """

    def __init__(self, letter: str = "", options: str = "abc") -> None:
        self._letter = str(letter).strip(" ().").lower()
        if self._letter and (len(self._letter) > 1 or self._letter not in options):
            raise NoSuchAnswer(
                f"{letter!r} is none of the answers {', '.join(options)}: "
                "write one of these letters between the quotes, or nothing"
            )

    def beside(self, happened: Any, **answers: Any) -> Beside:
        """Return a sentence with the guess and what happened.

        `answers` has for each letter what would have happened if that answer were right: an equal
        value, or a text with which the shown value begins. Leave out answers that it cannot check.
        """
        shown = _written(happened)
        right = [letter for letter, answer in answers.items() if _fits(answer, shown)]
        space = "\n" if "\n" in shown or len(shown) > WIDTH - 40 else " "
        return Beside(f"{self}{self._comment(right)}:{space}{shown}")

    def _comment(self, right: list[str]) -> str:
        if not right:
            return "; this fits no answer here"
        return ", and so it is" if self._letter in right else f"; it is ({right[0]})"

    def __str__(self) -> str:
        return f"you guessed ({self._letter})" if self._letter else "no guess yet"


class Beside(str):
    """The sentence that a cell shows, without quotes around it."""

    __repr__ = str.__str__


def _written(value: Any) -> str:
    return value if isinstance(value, str) else pformat(value, width=WIDTH, sort_dicts=False)


def _fits(answer: Any, shown: str) -> bool:
    return shown.startswith(answer) if isinstance(answer, str) else _written(answer) == shown
