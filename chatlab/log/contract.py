"""The contract that every log keeps, wherever it stores its messages.

It knows no database. An implementation's docstrings say only what is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from chatlab.messages import Message, Place


class Log(Protocol):
    """An append-only log of messages.

    Offsets are dense (1, 2, 3, ...) and become visible in their order: a reader that sees an offset
    sees all the smaller ones that are kept. A number is never given twice.
    """

    head: int
    """The offset of the newest committed message; 0 while there is none."""
    trimmed: int
    """The offset up to which messages are deleted; 0 while all are there. It is raised before a
    reader can miss a message."""
    epoch: str | None
    """The name of the epoch in which messages are stored now, if one has begun."""
    keep: int | None
    """How many of the newest messages are kept; None keeps all. A deleted message's key is free."""
    on_commit: Callable[[list[Message]], None]
    """Called with each committed batch, in order, before the senders get their offsets."""

    async def append(self, text: str, client_offset: str | None = None) -> int:
        """Store a message and return its offset, once it is durable.

        `client_offset` is the sender's own key: appending the same key and text again stores
        nothing and returns the first offset.

        Raises Refused for a text or key that is not valid, or ("client_offset used") for a key that
        was used with another text, and the database's error if it cannot store the message. A
        message that fails takes no offset, and the messages beside it are stored.
        """

    async def after(self, offset: int, limit: int = -1) -> list[Message]:
        """Return the messages with a greater offset, oldest first; at most `limit` of them."""

    async def find(self, client_offset: str) -> Message | None:
        """Return the message that is stored under a sender's key; None if there is none."""

    async def newer(self, offset: int) -> None:
        """Wait until the log has a message with a greater offset; return at once if it has."""

    async def begin_epoch(self) -> None:
        """Begin an epoch: one life of a server. A server does so before it takes messages.

        Offsets of an epoch are valid up to the offset at which the next one began. So a log that
        was replaced, or restored from a copy, recognizes offsets that it does not have. Kafka tells
        logs apart in this way (its leader epochs).
        """

    def place(self, offset: int, epoch: str | None = None) -> Place:
        """Return where to go on for a client that has come to `offset` in an epoch.

        A client that knows no epoch is believed, unless it is ahead of the log.
        """
