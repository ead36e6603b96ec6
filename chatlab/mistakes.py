"""Mistakes in a reader's cell, each told in one sentence that says what to write.

A notebook shows the sentence without a traceback: the line of the reader is in the cell above it.
This module must not know what is called.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, NoReturn, TypeVar

Thing = TypeVar("Thing", bound=Callable[..., Any])
Forgotten = Callable[[Exception], None]


class InOneSentence(Exception):
    """An error of which a notebook shows no more than its sentence."""

    def _render_traceback_(self) -> list[str]:  # IPython calls this
        return [str(self)]


class BadArgument(InOneSentence, ValueError):
    """Error for an argument that a function cannot use."""


class BadMoment(InOneSentence, RuntimeError):
    """Error for a call that is right at another time, or of another object."""


class TooLong(InOneSentence, TimeoutError):
    """Error for something that does not end, and cannot be ended."""


class NotAwaited(InOneSentence, AttributeError, TypeError):
    """Error for the use of a coroutine in the place of its result."""


def expect(fits: Any, rule: str, value: Any) -> None:
    """Raise BadArgument, with the rule and the value, unless the value fits."""
    if not fits:
        raise BadArgument(f"{rule}, not {value!r}")


def is_count(value: Any, least: int = 0) -> bool:
    """Return whether a value is a whole number from `least` up. `True` is none."""
    return type(value) is int and value >= least


class NotYetAwaited(Coroutine[Any, Any, Any]):
    """The coroutine of a call. Until it is awaited, all that it can do is to say so.

    `forgotten`, if given, gets the error of a call that never was. Else it is a warning, below the
    cell that has forgotten it.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], name: str, forgotten: Forgotten | None
    ) -> None:
        self._coroutine, self._forgotten = coroutine, forgotten or _warn
        self._sentence = f"nothing has happened yet: write `await` before the call of `{name}`"

    @property
    def _begun(self) -> bool:
        return inspect.getcoroutinestate(self._coroutine) != inspect.CORO_CREATED

    def __await__(self) -> Any:
        self._forgotten = None  # this object goes now, a moment before the coroutine begins
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        if value is not None and not self._begun:  # somebody takes this for a tab
            self._refuse()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __del__(self) -> None:
        if self._forgotten is not None and not self._begun:
            self._coroutine.close()  # so that Python does not say the same
            self._forgotten(NotAwaited(self._sentence))

    def __repr__(self) -> str:
        return repr(self._coroutine) if self._begun else self._sentence

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "cr_")):  # what Python and notebooks ask every coroutine for
            return getattr(self._coroutine, name)
        self._refuse()

    def __iter__(self) -> NoReturn:
        self._refuse()

    def __getitem__(self, key: Any) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        self.close()  # so that Python does not say the same later, in another cell
        raise NotAwaited(f"{self._sentence}, and brackets around both if something follows")


def _warn(error: Exception) -> None:
    warnings.warn(str(error), RuntimeWarning, stacklevel=3)


def awaited(thing: Thing, forgotten: Forgotten | None = None) -> Thing:
    """Let a coroutine function, or all public ones of a class, say where an `await` is missing."""
    if inspect.isclass(thing):
        for name, method in list(vars(thing).items()):
            if inspect.iscoroutinefunction(method) and not name.startswith("_"):
                setattr(thing, name, awaited(method))
        return thing

    @wraps(thing)
    def call(*arguments: Any, **options: Any) -> NotYetAwaited:
        return NotYetAwaited(thing(*arguments, **options), thing.__name__, forgotten)

    return call
