"""The connections of a tab, one after another: it opens them, comes back, and closes them.

It knows when a tab has a connection, and not what an event on it means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from chatlab.client.connection import Connection, in_time
from chatlab.client.sender import FIRST_RETRY, rest


class Connector:
    """Gives a tab one connection at a time, and a new one when it is lost.

    `start(connection)` opens a new connection, `accepted(welcome)` gets the server's answer,
    and `receive(event, *values)` gets each event and returns the acknowledgement. `record(kind)`
    notes the losses. `changed` is called when the tab has a connection, or has none any more.
    """

    def __init__(
        self,
        name: str,
        *,
        start: Callable[[Connection], None],
        accepted: Callable[[dict[str, Any]], None],
        receive: Callable[..., Any],
        record: Callable[..., None],
        changed: Callable[[], None],
    ) -> None:
        self.current: Connection | None = None
        self._name, self._record, self._changed = name, record, changed
        self._start, self._accepted, self._receive = start, accepted, receive
        self._returning: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether the server has accepted the tab, and the connection still stands."""
        connection = self.current  # another thread may look while this one hangs up
        return connection is not None and connection.stands

    @property
    def opening(self) -> bool:
        """Whether the tab has asked the server for a connection and waits for the answer."""
        return self.current is not None and not self.connected

    @property
    def returning(self) -> bool:
        """Whether the tab has lost its connection and tries to get it back."""
        return self._returning is not None

    async def ask(self, event: str, *arguments: Any, for_caller: bool = True) -> Any:
        """Emit an event and return what the server acknowledges it with."""
        self.check()
        async with in_time(
            lambda s: TimeoutError(
                f"{self._name} has had no answer to {event!r} for {s:.0f} s: "
                "has it a handler, and does that end?"
            )
        ):
            return await self.current.ask(event, arguments, for_caller)

    def check(self) -> None:
        """Raise ConnectionError if there is no connection."""
        if not self.connected:
            raise ConnectionError(f"{self._name} has no connection: nothing is sent")

    async def connect(self) -> None:
        """Open a new connection, and wait until it is accepted."""
        self.current = connection = Connection(self._lost, for_caller=not self.returning)
        connection.on("*", partial(self._received, connection))
        self._start(connection)
        try:
            async with in_time(
                lambda s: ConnectionError(
                    f"no answer from the server for {s:.0f} s: does the handler of `connect` end?"
                )
            ):
                welcome = await connection.accepted
        except BaseException:
            if connection.reached and connection is self.current:
                self._record("drop")
            await self.hang_up()
            raise
        self._accepted(welcome)
        self._changed()

    async def drop(self, goodbye: bool = False) -> None:
        """Record that the tab gives up its connection, and hang up; with a goodbye if asked."""
        if (connection := self.current) is not None:
            self._record("drop")
            if goodbye:
                await connection.goodbye()
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close the TCP connection without a goodbye, and stop trying to come back."""
        if self._returning not in (None, asyncio.current_task()):
            self._returning.cancel()
            await asyncio.wait([self._returning])
            self._returning = None
        self._release("hung up")
        if self._closing:
            await asyncio.wait(self._closing)  # if this is cancelled, the next call waits for them

    def _received(self, connection: Connection, event: str, *values: Any) -> Any:
        """Pass on an event, unless it is a late one of a connection that was given up."""
        return self._receive(event, *values) if connection is self.current else None

    def _lost(self, connection: Connection) -> None:
        """Come back, unless the tab itself has given up the connection."""
        if connection is self.current:
            self._record("drop")
            self._release("lost the connection")
            self._returning = asyncio.create_task(self._come_back())

    def _release(self, reason: str) -> None:
        """Give up the connection, and close what is left of it in a task of its own."""
        if (connection := self.current) is not None:
            self.current = None
            connection.fail(ConnectionError(f"{self._name} {reason} before the answer"))
            self._closing.add(closing := asyncio.create_task(connection.close()))
            closing.add_done_callback(self._closing.discard)
            self._changed()

    async def _come_back(self) -> None:
        pause = FIRST_RETRY
        while not await self._is_over():
            pause = await rest(pause)
        if self._returning is asyncio.current_task():  # else the new connection is lost already
            self._returning = None
        self._changed()

    async def _is_over(self) -> bool:
        """Try to connect; return whether the tab is to stop trying.

        It stays away if it is refused, as the official client does, or if the server has failed.
        """
        try:
            await self.connect()
        except Exception as error:
            unreachable = isinstance(error, ConnectionError)
            return isinstance(error, ConnectionRefusedError) or not unreachable
        return True
