"""Waiting for the tabs and their server: until nothing is under way, or until the server is gone.

It knows tabs, and the probe: a handler in the watched server that answers when all other handlers
have ended. It starts and ends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from chatlab.client import PATIENCE, ChatClient
from chatlab.harness import REST, BackgroundServer, Link
from chatlab.history import History


class OpenLab(Protocol):
    """What the modules that `Lab` is made of may use of an open lab."""

    clients: dict[str, ChatClient]
    links: dict[str, Link]
    history: History
    server: BackgroundServer
    """The first of its servers."""
    servers: list[Any]
    db: Path | str
    """The file of the message log, or the address of its database."""

    def server_of(self, name: str) -> Any:
        """Return the server to which the link of a tab leads."""

    async def quiet(self) -> None:
        """Wait until nothing is under way."""


TICK = 0.1
"""Seconds between two checks whether a process has died."""
_numbers = count(1)
"""A new number for each question to the probe, so that an old answer is not taken for a new one."""


async def wait_until_quiet(lab: OpenLab) -> None:
    """Wait until nothing is under way. Raises TimeoutError after PATIENCE seconds."""
    try:
        async with asyncio.timeout(PATIENCE):
            seen = None
            while seen != len(lab.history):  # something has happened: look again
                seen = len(lab.history)
                with suppress(ConnectionError):  # a lost connection is an event too
                    await _ask_every_tab(lab)
    except TimeoutError as error:
        guess = f"after {PATIENCE:.0f} s something is still under way: a handler that does not end?"
        raise TimeoutError(str(error) or guess) from None


async def wait_until_offline(tabs: Iterable[ChatClient]) -> None:
    """Wait until each of these tabs has noticed that its server has ended."""
    for tab in tabs:
        wish = "notice that the server is gone"
        await tab.until(lambda tab=tab: not tab.connected, wish, failing=False)


async def wait_until_dead(server: Any) -> None:
    """Wait while tabs reconnect in vain: a process that has just died may still seem alive."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while server.running and any(tab.returning for tab in server.tabs):  # noqa: ASYNC110
                await asyncio.sleep(TICK)  # nothing announces the death of a process


async def _ask_every_tab(lab: OpenLab) -> None:
    """Return when every tab has sent all it has, and has received all that is sent to it."""
    for _ in lab.servers[:2]:  # what a handler of one server stores, another one shows later
        await _ask_once(lab)


async def _ask_once(lab: OpenLab) -> None:
    opening = [tab for tab in lab.clients.values() if tab.opening and not tab.returning]
    number = next(_numbers) if opening else None
    # A tab that still sends keeps handlers busy, and the probe waits for the handlers.
    await asyncio.gather(*map(_all_sent, _online(lab)))
    # The answer of the probe arrives after everything that the server has sent to the tab before.
    await asyncio.gather(*(tab.call(REST, number) for tab in _online(lab)))
    if _online(lab):
        await asyncio.gather(*(_received(tab, number) for tab in opening))


def _online(lab: OpenLab) -> list[ChatClient]:
    """Return the tabs that have a connection, or will have one soon."""
    return [
        tab
        for name, tab in lab.clients.items()
        if tab.connected or (tab.returning and lab.server_of(name).running)
    ]


async def _all_sent(tab: ChatClient) -> None:
    """Return when a tab is connected again and has nothing more to send."""
    await tab.until(lambda: not tab.returning, "connect again", failing=False)
    await tab.until(lambda: not tab.posting, "empty its outbox", PATIENCE, failing=False)


async def _received(tab: ChatClient, number: int | None) -> None:
    """Return when a tab that is not accepted yet, and cannot ask, has the probe's event."""
    await tab.until(lambda: tab.heard.get(REST) == number or not tab.opening, failing=False)
