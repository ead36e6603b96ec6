"""Letting the mishaps of a bad day happen to the tabs, their links and the server.

A mishap is a message that is sent, a tab that drops or reloads, a link that breaks, or a server
that is killed. This module does not choose the mishaps, and does not judge the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from typing import Any

from chatlab.client import PATIENCE, ChatClient
from chatlab.harness import LINK_FAULTS, Link, Mishap

IN_FLIGHT = 100
"""The most messages that wait for their acknowledgement at a time."""
A_FEW = 5
"""The most messages that wait in an outbox although they could be sent."""


class BadDay:
    """The tabs, links and server to which mishaps happen.

    `restart` kills the server and starts it again. With `post`, messages go into the outboxes.
    Otherwise a tab sends each message once: it connects first if it has no connection, and does not
    wait for the acknowledgement. Messages are numbered.
    """

    def __init__(
        self,
        clients: dict[str, ChatClient],
        links: dict[str, Link],
        restart: Callable[[], None],
        post: bool,
    ) -> None:
        self._clients, self._links, self._restart = clients, links, restart
        self._write = self._post if post else self._send
        self._texts = (f"message {number}" for number in count(1))
        self._sending: set[asyncio.Task[None]] = set()

    async def happen(self, day: Iterable[Mishap]) -> None:
        """Let the mishaps happen, then mend every link and let every tab reconnect."""
        for mishap in day:
            if mishap.kind == "send":
                await self._write(mishap.who, next(self._texts))
            elif mishap.kind == "kill":
                self._restart()
            elif mishap.kind in LINK_FAULTS:
                getattr(self._links[mishap.who], mishap.kind)()
            else:
                await self._act(mishap.who, mishap.kind)
        for name, link in self._links.items():
            link.thaw()
            await self._reconnect(name)
        await asyncio.gather(*self._sending)

    async def _post(self, name: str, text: str) -> None:
        """Put a message into an outbox, and wait while it has too many that could be sent."""
        tab = self._clients[name]
        tab.post(text)
        await asyncio.sleep(0)
        if not self._links[name].frozen:
            await tab.until(lambda: len(tab.pending) < A_FEW or not tab.posting, "send", PATIENCE)

    async def _send(self, name: str, text: str) -> None:
        """Begin to send a message, and wait while too many messages have no acknowledgement."""
        await self._reconnect(name)
        self._sending.add(asyncio.create_task(_try(self._clients[name].send, text)))
        await asyncio.sleep(0)
        while len(self._sending) > IN_FLIGHT:
            _, self._sending = await asyncio.wait(
                self._sending, return_when=asyncio.FIRST_COMPLETED
            )

    async def _reconnect(self, name: str) -> None:
        if not self._clients[name].connected:
            await self._act(name, "reconnect")

    async def _act(self, name: str, kind: str) -> None:
        """Thaw the link of a tab, and let the tab do something: drop, for instance."""
        self._links[name].thaw()
        await _try(getattr(self._clients[name], kind))


async def _try(action: Callable[..., Any], *arguments: str) -> None:
    """Let a tab do something that may fail on a bad network."""
    with suppress(ConnectionError, TimeoutError):
        await action(*arguments)
