"""What a tab has to send, until the server has answered.

Pure: it knows no socket and no clock. The tab hands its letters over one at a time, the oldest
first, so the messages of one sender keep their order; and it outlives the connection and the page,
as a browser's storage does.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import uuid4


class Letter(NamedTuple):
    """A message on its way, with the key by which the server knows it again."""

    text: str
    client_offset: str | None


class Outbox:
    """The letters of one tab. A letter stays until it is answered: so nothing is lost.

    Each has a key that is made once, however often it is sent: so nothing is stored twice. A
    subclass that changes `new_key`, `sent` or `answered` promises something else.
    """

    def __init__(self) -> None:
        self.pending: list[Letter] = []
        """The letters without an answer, oldest first."""

    def add(self, text: str) -> None:
        """Put a text at the end, with a key of its own."""
        self.pending.append(Letter(text, self.new_key()))

    def new_key(self) -> str | None:
        """Make a key that nobody else will ever make; None would be no key at all."""
        return str(uuid4())

    def sent(self, letter: Letter) -> None:
        """Hear that a letter was handed to the connection, whether or not it will arrive."""

    def answered(self, letter: Letter) -> None:
        """Hear that the server has stored a letter, or has refused it."""
        self.pending.remove(letter)
