"""The contract that every log keeps, whatever database it stores its messages in.

It must not know a database. The docstrings of an implementation say only what is special there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from chatlab.messages import Message, Place, Refused


class LogError(Refused):
    """The log could not do it. The name says what is known: NOT_STORED or PERHAPS_STORED of a
    message, and NOT_AVAILABLE of everything else."""


class Log(Protocol):
    """An append-only log of messages.

    Offsets are dense (1, 2, 3, ...) and become visible in their order: a reader that sees an offset
    sees all smaller ones too, except those that are deleted. No offset is given twice.
    """

    head: int
    """The offset of the newest committed message; 0 while there is none."""
    trimmed: int
    """The offset up to which messages are deleted; 0 while none is. The log raises it before a
    reader can find that a message is missing."""
    epoch: str | None
    """The name of the epoch in which messages are stored now; None before the first one."""
    keep: int | None
    """How many of the newest messages the log keeps; None keeps all. One that was longer gets
    shorter with each transaction. The key of a deleted message can be used again."""
    on_commit: Callable[[list[Message]], None]
    """Called with each committed batch, in order, before its senders get their offsets."""

    async def append(self, text: str, client_offset: str | None = None) -> int:
        """Store a message, and return its offset when the message is durable.

        `client_offset` is the sender's own key: appending the same key and text again stores
        nothing and returns the first offset. The log does not know senders, and all of them share
        the keys: whoever knows a key can use it up. So a key has to be a secret of its sender, as a
        random UUID is. A server that knows its senders can make the key theirs, as the class does.

        Raises Refused for a text or key that is not valid, or ("client_offset used") for a key that
        was used with another text. Raises LogError if the database cannot store the message, or
        (PERHAPS_STORED) if it does not answer. A message that fails takes no offset; other messages
        in the same transaction are stored.
        """

    async def after(self, offset: int, limit: int = -1) -> list[Message]:
        """Return the messages with a greater offset, oldest first; at most `limit` of them."""

    async def find(self, client_offset: str) -> Message | None:
        """Return the message that is stored under a sender's key; None if there is none."""

    async def newer(self, offset: int) -> None:
        """Wait until the log has a message with a greater offset; return at once if it has.

        Return also if another epoch begins meanwhile, in which other messages may have the offsets.
        """

    async def begin_epoch(self) -> None:
        """Begin an epoch: the time from one start of a server to the next.

        A server calls this before it takes messages. Offsets of an epoch are valid up to the offset
        at which the next epoch began. So a log that was replaced, or restored from a copy,
        recognizes offsets that it does not have. The leader epochs of Kafka have the same purpose.

        Where several servers share a log, its epochs are of the log and not of the servers; one may
        begin at any time, when another copy of the database takes over.

        Raises an error, with a sentence, if another server has the log and it cannot have two.
        """

    async def reach(self, offset: int, epoch: str | None = None) -> None:
        """Learn what others have stored, if `place` could not judge a client of theirs without it.

        A client may come from another server, and be ahead of this one. It does nothing in a log to
        which only one server appends. Raises LogError if the database does not answer.
        """

    def place(self, offset: int, epoch: str | None = None) -> Place:
        """Return the place from which a client that got `offset` in an epoch goes on.

        Without an epoch, every offset up to the head is valid. Call `reach` before.
        """

    async def check(self) -> None:
        """Raise LogError, within a few seconds, if messages cannot be read now."""
