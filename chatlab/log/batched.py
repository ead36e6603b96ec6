"""What all logs do alike: they commit in batches, wake who waits, and judge where a client is.

It must not know a database.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chatlab.log.contract import Log, LogError
from chatlab.log.group_commit import Batches
from chatlab.messages import (
    NOT_STORED,
    PERHAPS_STORED,
    Message,
    Place,
    Refused,
    check_client_offset,
    check_text,
)
from chatlab.mistakes import expect, is_count
from chatlab.openable import Openable

MOST_OLD = 1000
"""How many messages more than it stores a transaction deletes. If a long log is opened with a small
`keep`, millions have to go: all at once they would keep their senders waiting for half a minute."""
KEY_USED = ("client_offset used", "this client_offset belongs to another text")

Outcome = int | Exception


class Append(NamedTuple):
    """A message that is not stored yet, and the future that gives its sender the offset."""

    text: str
    client_offset: str | None
    done: asyncio.Future[int]

    def settle(self, outcome: Outcome) -> None:
        """Give the sender its offset or its error, unless the sender has stopped waiting."""
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class OneIsBad(Exception):
    """A batch is not stored, for a reason that may be the fault of one message in it."""


class BatchedLog(Openable, Log):
    """A log (see `contract.Log`) that commits in batches. A subclass opens and closes it."""

    def __init__(self, keep: int | None, on_commit: Callable[[list[Message]], None]) -> None:
        expect(keep is None or is_count(keep, 1), "a log keeps at least 1 message", keep)
        self.keep, self.on_commit = keep, on_commit
        self.head = 0
        self.trimmed = 0
        self.epoch: str | None = None
        self._ends: dict[str, int] = {}
        """For each earlier epoch, the offset of its last message."""
        self._grown = asyncio.Event()

    @abstractmethod
    async def _commit(self, batch: list[Append]) -> tuple[Sequence[Outcome], list[Message]]:
        """Store a batch; return an offset or an error for each sender, and the new messages.

        Raises OneIsBad, or the LogError that each of the senders gets.
        """

    def _begin(self) -> None:
        """Begin to take messages: a subclass calls this when it is open."""
        self._batches: Batches[Append] = Batches(self._write)

    async def append(self, text: str, client_offset: str | None = None) -> int:
        return await self._put(check_text(text), check_client_offset(client_offset))

    async def _put(self, text: str, client_offset: str | None) -> int:
        done = asyncio.get_running_loop().create_future()
        self._batches.put(Append(text, client_offset, done))
        return await done

    async def newer(self, offset: int) -> None:
        epoch = self.epoch
        while self.head <= offset and self.epoch == epoch:
            await self._grown.wait()

    def place(self, offset: int, epoch: str | None = None) -> Place:
        known = self.head if epoch in (None, self.epoch) else self._ends.get(epoch, 0)
        if offset > known:
            return Place(self.trimmed, "reset")
        if offset < self.trimmed:
            return Place(self.trimmed, "gap")
        return Place(offset, "continued")

    def _take_epochs(self, epochs: Sequence[tuple[str, int]]) -> None:
        """Take all epochs, each with the offset after which it began; the last is the one now."""
        names, begins = zip(*epochs, strict=True)
        self._ends = dict(zip(names, begins[1:], strict=False))
        self.epoch = names[-1]
        self._wake()

    def _grow(self, new: list[Message]) -> None:
        """Take committed messages that follow the head, and tell everybody."""
        self.head = new[-1].offset
        self.on_commit(new)
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def _write(self, batch: list[Append]) -> None:
        try:
            outcomes, new = await self._commit(batch)
        except OneIsBad as error:
            if len(batch) > 1:
                for item in batch:  # so that the bad one fails alone
                    await self._write([item])
                return
            outcomes, new = [LogError(NOT_STORED, str(error))], []
        except LogError as error:
            outcomes, new = [LogError(error.name, str(error)) for _ in batch], []
        except Exception as error:  # a fault of ours: no sender may wait for ever
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the log has failed", "exception": error}
            )
            outcomes, new = (
                [LogError(PERHAPS_STORED, f"the log has failed: {error}")] * len(batch),
                [],
            )
        if new:
            self._grow(new)
        for item, outcome in zip(batch, outcomes, strict=True):
            item.settle(outcome)


def outcome_of(offset: int | None) -> int | Refused:
    """Return the offset, or a refusal if there is none: the key belongs to another text."""
    return Refused(*KEY_USED) if offset is None else offset
