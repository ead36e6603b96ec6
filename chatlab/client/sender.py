"""The postman of a tab: carries the letters of its outbox to the server until each is answered.

It uses whatever connection the tab has, and waits for the next one when it breaks. It knows what a
server may answer, and nothing of sockets.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from chatlab.client.outbox import Letter, Outbox
from chatlab.messages import NOT_STORED, Refused

FIRST_RETRY, LAST_RETRY = 0.02, 1.0
"""Seconds between two attempts, to send or to reconnect: the first pause, doubled up to the last.
Each is shortened by chance, so that tabs that were cut off together do not return together."""


class Postman:
    """Sends letter after letter, each when the one before it is answered.

    `ready` waits for a connection. `ask` sends the arguments of a message and returns the answer;
    it raises ConnectionError or TimeoutError if there is none. `record` is told what happens, as
    `record(kind, text, offset)`, and `changed` is called when something has.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        ready: Callable[[], Awaitable[None]],
        ask: Callable[..., Awaitable[Any]],
        record: Callable[..., None],
        changed: Callable[[], None],
    ) -> None:
        self.outbox = outbox
        self.refused: list[tuple[str, Refused]] = []
        """The messages that the server has refused, each with its reason."""
        self._ready, self._ask, self._record, self._changed = ready, ask, record, changed
        self._round: asyncio.Task[None] | None = None
        self._old = 0
        """Letters at the front of the outbox that have waited for a connection, or an answer."""

    @property
    def busy(self) -> bool:
        """Whether letters are being carried, or wait for a connection."""
        return self._round is not None

    def begin(self) -> None:
        """Begin to empty the outbox, if that is not going on already."""
        if self._round is None and self.outbox.pending:
            self._round = asyncio.create_task(self._empty_outbox())

    def interrupt(self) -> None:
        """Hear that there is no connection: what is in the outbox now has to wait for the next."""
        self._old = len(self.outbox.pending)

    async def stop(self) -> None:
        """Stop, and leave the rest in the outbox."""
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait([self._round])
            self._round = None  # a task that never began has not done it

    async def _empty_outbox(self) -> None:
        pause = FIRST_RETRY
        try:
            while self.outbox.pending:
                await self._ready()
                letter = self._take_first()
                try:
                    answered = await self._carry(letter)
                except Exception:  # the server has failed, and says so itself: the letter stays
                    return
                if answered:
                    self.outbox.answered(letter)
                    self._changed()
                pause = FIRST_RETRY if answered else await rest(pause)
        finally:
            self._round = None
            self._changed()

    def _take_first(self) -> Letter:
        letter = self.outbox.pending[0]
        if self._old:
            self._old -= 1
            self._record("retry", letter.text)
        self.outbox.sent(letter)
        return letter

    async def _carry(self, letter: Letter) -> bool:
        """Send a letter; return whether the server has stored it or refused it."""
        arguments = letter[:1] if letter.client_offset is None else letter
        try:
            offset = accepted(await self._ask(*arguments))
        except ConnectionError:
            return False
        except TimeoutError:
            self._old += 1
            return False
        except Refused as refusal:
            if refusal.name == NOT_STORED:  # the server would, and cannot now
                self._old += 1
                return False
            self._record("refuse", letter.text)
            self.refused.append((letter.text, refusal))
        else:
            self._record("acknowledge", letter.text, offset)
        return True


def accepted(answer: Any) -> Any:
    """Return what a server has acknowledged a message with. Raises Refused if it is a refusal."""
    if isinstance(answer, dict) and "error" in answer:
        raise Refused(answer["error"], answer.get("message", ""))
    return answer


async def rest(pause: float) -> float:
    """Wait before the next attempt; return how long to wait before the one after it."""
    await asyncio.sleep(pause * random.uniform(0.5, 1))
    return min(2 * pause, LAST_RETRY)
