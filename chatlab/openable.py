"""A base class for objects that are opened and closed."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Self


class Openable:
    """An object that `await` opens (`log = await MessageLog(path)`).

    `async with` opens it too, and closes it at the end. A subclass has the coroutines `open`, which
    returns the object itself, and `close`. A program that forgets `close` has to end all the same:
    so a thread that waits for work must be a daemon.
    """

    async def open(self) -> Self:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
