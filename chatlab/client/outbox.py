"""The messages that a tab has to send, until the server has answered them.

Pure: it knows no socket and no clock. The tab sends one message at a time, the oldest first, so the
messages of one sender keep their order. The outbox outlives the connection and the page, as a
browser's storage does.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import uuid4


class OutgoingMessage(NamedTuple):
    """A message to send. The server recognizes a repeated one by its `client_offset`."""

    text: str
    client_offset: str | None


class Outbox:
    """The messages of one tab. Each stays until the server answers it, so nothing is lost.

    A message keeps the key that it gets at first, so nothing is stored twice. A subclass that
    changes `new_key`, `sent` or `answered` makes other promises.
    """

    def __init__(self) -> None:
        self.pending: list[OutgoingMessage] = []
        """The messages without an answer, oldest first."""

    def add(self, text: str) -> None:
        """Put a text at the end, with a new key."""
        self.pending.append(OutgoingMessage(text, self.new_key()))

    def new_key(self) -> str | None:
        """Make a key that no other message has. Without a key, None, no retry is recognized."""
        return str(uuid4())

    def sent(self, message: OutgoingMessage) -> None:
        """Do nothing: a message that was given to the connection may not arrive."""

    def answered(self, message: OutgoingMessage) -> None:
        """Remove a message that the server has stored or refused."""
        self.pending.remove(message)
