"""The sender of a tab: it sends the messages of the outbox until each is answered.

It uses the tab's connection, and waits for the next one when it breaks. It knows what a server may
answer, and nothing of sockets.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from chatlab.client.outbox import Outbox, OutgoingMessage
from chatlab.messages import SEND_AGAIN, Refused
from chatlab.mistakes import BadMoment

FIRST_RETRY, LAST_RETRY = 0.02, 1.0
"""Seconds between two attempts to send or to connect: the first pause is doubled up to the last.
Chance shortens each pause, so that tabs that were cut off together do not return together."""


class Sender:
    """Sends one message after the other, each when the one before it is answered.

    `ready` waits for a connection. `ask(*arguments, for_caller=...)` sends the arguments of a
    message and returns the answer, or raises ConnectionError or TimeoutError.
    `record(kind, text, offset)` notes what happens; `changed` is called when a message of the
    outbox is answered, and when the sender stops, `failed` with an error of the outbox.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        ready: Callable[[], Awaitable[None]],
        ask: Callable[..., Awaitable[Any]],
        record: Callable[..., None],
        changed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.refused: list[tuple[str, Refused]] = []
        self._outbox = outbox
        self._ready, self._ask, self._record, self._changed = ready, ask, record, changed
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._recorded = False
        """Whether the sending of the first message in the outbox is in the history already."""

    @property
    def pending(self) -> list[str]:
        """The texts in the outbox: the server has not answered them yet."""
        return [message.text for message in self._outbox.pending]

    @property
    def busy(self) -> bool:
        """Whether it sends messages, or waits for a connection to send them."""
        return self._task is not None

    async def send_once(self, text: str) -> Any:
        """Send a text without the outbox; return the value of the acknowledgement.

        Raises what `ask` raises, and Refused.
        """
        self._record("send", text)
        try:
            answer = accepted(await self._ask(text, for_caller=True))
        except Refused:
            self._record("refuse", text)
            raise
        self._record("acknowledge", text, answer)
        return answer

    def add(self, text: str, connected: bool) -> None:
        """Put a text into the outbox, and send it if there is nothing that it has to wait for.

        Raises BadMoment if there is something else in the outbox than OutgoingMessage.
        """
        at_once = connected and not self._outbox.pending
        self._record("send" if at_once else "write", text)
        self._recorded = self._recorded or at_once
        self._outbox.add(text)
        self._check_outbox()
        self.begin()

    def _check_outbox(self) -> None:
        for message in self._outbox.pending:
            if not isinstance(message, OutgoingMessage):
                what = f"{message!r}, where `OutgoingMessage(text, key)` should be"
                raise BadMoment(f"{self._name_of_outbox} has in `pending` {what}")

    @property
    def _name_of_outbox(self) -> str:
        return f"the outbox {type(self._outbox).__name__}"

    def begin(self) -> None:
        """Begin to empty the outbox, unless that is going on already."""
        if self._task is None and self._outbox.pending:
            self._task = asyncio.create_task(self._empty_outbox())

    def interrupt(self) -> None:
        """Note that the connection has gone: the messages have to wait for the next one."""
        self._recorded = False

    async def stop(self) -> None:
        """Stop, and leave the rest in the outbox."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None  # a task that is cancelled before it begins does not do this

    async def _empty_outbox(self) -> None:
        try:
            await self._send_all()
        except Exception as error:  # the outbox may be a reader's
            self._failed(error)
        finally:
            self._task = None
            self._changed()

    async def _send_all(self) -> None:
        pause = FIRST_RETRY
        while self._outbox.pending:
            await self._ready()
            message = self._outbox.pending[0]
            if not self._recorded:
                self._record("retry", message.text)
            self._recorded = False
            taken = self._taken_out(self._outbox.sent, message)
            try:
                answered = await self._send(message)
            except Exception:  # the server has failed, and reports it: the message stays
                return
            if answered:
                taken += self._taken_out(self._outbox.answered, message)
                self._changed()
                if not taken:
                    still = f"keeps {message.text!r} in `pending`, although it is answered"
                    raise BadMoment(f"{self._name_of_outbox} {still}: `answered` takes it out")
            pause = FIRST_RETRY if answered else await rest(pause)

    def _taken_out(self, tell: Callable[[OutgoingMessage], None], message: OutgoingMessage) -> int:
        """Tell the outbox what has become of a message; return how many it takes out then."""
        before = len(self._outbox.pending)
        tell(message)
        return before - len(self._outbox.pending)

    async def _send(self, message: OutgoingMessage) -> bool:
        """Send a message; return whether the server has stored or refused it."""
        arguments = message[:1] if message.client_offset is None else message
        try:
            offset = accepted(await self._ask(*arguments, for_caller=False))
        except ConnectionError:
            return False  # `interrupt` has counted it
        except (TimeoutError, Refused) as error:
            if isinstance(error, TimeoutError) or error.name in SEND_AGAIN:
                return False
            self._record("refuse", message.text)
            self.refused.append((message.text, error))
        else:
            self._record("acknowledge", message.text, offset)
        return True


def accepted(answer: Any) -> Any:
    """Return the value of an acknowledgement. Raises Refused if it is a refusal."""
    if isinstance(answer, dict) and "error" in answer:
        raise Refused(answer["error"], answer.get("message", ""))
    return answer


async def rest(pause: float) -> float:
    """Wait before the next attempt; return the pause for the attempt after it."""
    await asyncio.sleep(pause * random.uniform(0.5, 1))
    return min(2 * pause, LAST_RETRY)
