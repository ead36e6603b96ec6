"""Waiting until something is true of a tab, or until something has failed.

It knows when to look again, and not what for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Waiting:
    """The waits for one tab. Set `changed` whenever something about the tab has changed."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._callers = 0
        """How many waits of callers there are, which an error ends."""
        self._error: BaseException | None = None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, whatever fails."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def for_caller(self, condition: Callable[[], bool], failing: bool) -> None:
        """Wait until a condition holds. Raises an error that was kept; if `failing`, any other."""
        self._callers += failing
        try:
            await self.until(lambda: self._error is not None or condition())
        finally:
            self._callers -= failing
        error, self._error = self._error, None
        if error is not None:
            raise error

    def fail(self, error: BaseException) -> bool:
        """Raise an error in a caller that waits; return whether one does."""
        if self._callers:
            self.keep(error)
        return self._callers > 0

    def keep(self, error: BaseException) -> None:
        """Raise an error in a caller that waits, or in the next one that will."""
        self._error = error
        self.changed.set()
