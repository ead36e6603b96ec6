"""Connections to PostgreSQL, on which no wait is without an end.

It promises that each call ends within CONNECT + ANSWER seconds, and that its error says what is
known. It must not know any table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from asyncpg import Connection, Pool

CONNECT = 4.0
"""Seconds until there is a connection: a new one, or one of the pool that is free."""
ANSWER = 5.0
"""Seconds for an answer. Then the connection is given up: it may be cut."""
LISTEN_AGAIN = 0.2
"""Seconds after which another connection is opened to listen on, when one has ended."""
MOST = 4
"""Connections in the pool: one writes, the others read."""
ENDED = ("08", "57")
"""How the SQLSTATE begins if a connection or the database ended. A commit may have come before."""
T = TypeVar("T")


class NotReached(Exception):
    """The database was not asked: nothing has happened."""


class NotAnswered(Exception):
    """The database was asked, and what it did is not known."""


class Connections:
    """The connections of one server, on which the tables of a `schema` have their short names.

    `greet` is awaited with each new one, before it is used.
    """

    def __init__(
        self, url: str, schema: str, greet: Callable[[Connection], Awaitable[None]]
    ) -> None:
        self._url, self._schema, self._greet = url, schema, greet
        self._pool: Pool | None = None

    @property
    def name(self) -> str:
        """The host and the database: the password in the address is nobody's business."""
        try:
            address = urlsplit(self._url)
        except ValueError:  # it says nothing that could be shown
            return "the database"
        return f"{address.hostname or 'localhost'}{address.path}"

    async def open(self) -> None:
        """Prepare to connect. The first `call` does it. Raises NotReached without asyncpg."""
        try:
            import asyncpg
        except ImportError:
            raise NotReached("it needs asyncpg: pip install 'chatlab[postgres]'") from None
        self._driver = asyncpg
        self._pool = asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=MOST,
            init=self._greet,
            reset=_as_it_is,
            server_settings={"search_path": self._schema},
        )
        await self._pool

    async def close(self) -> None:
        """Close all connections, whether the database answers or not."""
        if self._pool is None:
            return
        with suppress(*self._troubles):
            async with asyncio.timeout(ANSWER):
                await self._pool.close()
        self._pool.terminate()

    async def call(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Await a function of a connection, and return its result.

        Raises NotReached, NotAnswered, or the asyncpg.PostgresError of a statement that had no
        effect.
        """
        try:
            async with asyncio.timeout(CONNECT):
                connection = await self._pool.acquire()
        except (*self._troubles, ValueError) as error:  # ValueError: of a part of the address
            raise NotReached(f"{self.name} cannot be reached: {_words(error)}") from error
        try:
            async with asyncio.timeout(ANSWER):
                return await work(connection)
        except self._troubles as error:
            if isinstance(error, self._driver.PostgresError) and not _ended(error):
                raise
            self._give_up(connection)
            raise NotAnswered(f"{self.name} did not answer: {_words(error)}") from error
        except asyncio.CancelledError:
            self._give_up(connection)  # to wait until its query is cancelled could have no end
            raise
        finally:
            await self._pool.release(connection)

    def _give_up(self, connection: Connection) -> None:
        with suppress(self._driver.InterfaceError):  # it has ended, and the pool knows
            connection.terminate()

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Call `heard` with what is notified, for ever, and with "" when something may be missed.

        A connection that is cut silently hears nothing more.
        """
        while True:
            with suppress(NotReached):
                await self._listen_once(channel, heard)
            await asyncio.sleep(LISTEN_AGAIN)

    async def _listen_once(self, channel: str, heard: Callable[[str], None]) -> None:
        ended = asyncio.Event()
        try:
            async with asyncio.timeout(CONNECT):
                connection = await self._driver.connect(self._url)
        except self._troubles as error:
            raise NotReached(f"{self.name} cannot be reached: {_words(error)}") from error
        try:
            connection.add_termination_listener(lambda _: ended.set())
            async with asyncio.timeout(ANSWER):
                await connection.add_listener(channel, lambda *heard_: heard(heard_[-1]))
            heard("")
            await ended.wait()
        except self._troubles as error:
            raise NotReached(f"{self.name} did not answer: {_words(error)}") from error
        finally:
            connection.terminate()

    @property
    def refusal(self) -> type[Exception]:
        """The error of a statement that had no effect."""
        return self._driver.PostgresError

    @property
    def _troubles(self) -> tuple[type[Exception], ...]:
        driver = self._driver
        return driver.PostgresError, driver.InterfaceError, OSError, TimeoutError


async def _as_it_is(connection: Connection) -> None:
    """Do not reset a connection after each use, which is one more wait: nobody changes it."""


def _ended(error: Any) -> bool:
    return (error.sqlstate or "08").startswith(ENDED)


def _words(error: Exception) -> str:
    return str(error) or "in time"
