"""How a server learns that others have stored messages, and tells them of its own.

Notifications only make it quick: whoever misses one looks by itself. It must not know any table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from chatlab.log.connections import Connections, NotAnswered, NotReached
from chatlab.log.contract import LogError

LOOK_EVERY = 1.0
"""Seconds of silence after which a server looks for messages of others."""
TELL_EVERY = 0.002
"""Seconds from one notification to the next: each is a transaction, and wakes all servers."""
NOTIFY = "SELECT pg_notify($1, $2)"
"""Tells the other servers of the head. It is sent after the commit: a commit that notifies takes a
lock that all programs of the database cluster share."""


class Follower:
    """Calls `read` when there may be something after the `head`.

    `read` returns whether there was, and may raise LogError. On `channel`, servers tell each other
    their heads.
    """

    def __init__(
        self,
        connections: Connections,
        channel: str,
        read: Callable[[], Awaitable[bool]],
        head: Callable[[], int],
    ) -> None:
        self._connections, self._channel = connections, channel
        self._read, self._head = read, head
        self._told = 0
        self._awake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to follow."""
        self._tasks["follow"] = asyncio.create_task(self._follow())
        self._listen_anew()

    def stop(self) -> None:
        """End it."""
        for task in self._tasks.values():
            task.cancel()

    def wake(self) -> None:
        """Read soon."""
        self._awake.set()

    def tell(self, head: int) -> None:
        """Notify the other servers: at once, or as soon as TELL_EVERY has passed since the last."""
        self._told = max(self._told, head)
        telling = self._tasks.get("tell")
        if telling is None or telling.done():
            self._tasks["tell"] = asyncio.create_task(self._notify_others())

    async def _notify_others(self) -> None:
        told = 0
        with suppress(NotReached, NotAnswered):
            while told < self._told:
                told = self._told
                await self._connections.call(
                    lambda db, head=str(told): db.execute(NOTIFY, self._channel, head)
                )
                await asyncio.sleep(TELL_EVERY)

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), LOOK_EVERY)
            told = self._awake.is_set()
            self._awake.clear()
            with suppress(LogError):
                if await self._read() and not told:
                    self._listen_anew()  # nobody told of it: the connection may be cut

    def _listen_anew(self) -> None:
        if listening := self._tasks.get("listen"):
            listening.cancel()
        listening = self._connections.listen(self._channel, self._heard)
        self._tasks["listen"] = asyncio.create_task(listening)

    def _heard(self, head: str) -> None:
        """Read, unless this server has it already: it hears of its own messages too."""
        if not (head.isdecimal() and int(head) <= self._head()):
            self.wake()
