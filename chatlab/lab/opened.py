"""Which labs the code in a context opens: a check of an exercise draws the last one.

It knows nothing of what a lab is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_opened: ContextVar[list[Any]] = ContextVar("opened")


def note(lab: Any) -> None:
    """Note that a lab was opened."""
    _opened.get([]).append(lab)


@contextmanager
def labs_opened() -> Iterator[list[Any]]:
    """Collect the labs that the code in this context opens."""
    labs: list[Any] = []
    before = _opened.set(labs)
    try:
        yield labs
    finally:
        _opened.reset(before)
