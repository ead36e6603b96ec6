"""Objects that are opened and closed, and can be awaited or entered."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Self


class Openable:
    """Await it to open it (`log = await MessageLog(path)`), or enter it to close it at the end too.

    A subclass has the coroutines `open`, which returns the object itself, and `close`.
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
