"""Which log is meant by a place: a file, or the address of a database."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from os import PathLike

from chatlab.log.postgres import PostgresLog, read_beside
from chatlab.log.sqlite import MessageLog, head_of, messages_in
from chatlab.messages import Message

POSTGRESQL = ("postgresql://", "postgres://")


def is_address(place: str | PathLike[str]) -> bool:
    """Whether a place is the address of a PostgreSQL, and not a file."""
    return str(place).startswith(POSTGRESQL)


def log_at(place: str | PathLike[str], *, keep: int | None = None) -> MessageLog | PostgresLog:
    """Make the log at a place."""
    return PostgresLog(str(place), keep=keep) if is_address(place) else MessageLog(place, keep=keep)


def messages_at(place: str | PathLike[str]) -> list[Message]:
    """Return all messages in the log at a place, which servers may have open.

    Raises sqlite3.Error or LogError if it cannot be read now.
    """
    return _read(str(place))[1] if is_address(place) else messages_in(place)


def head_at(place: str | PathLike[str]) -> int:
    """Return the offset of the newest message in the log at a place, as `messages_at` does it."""
    return _read(str(place), 0)[0] if is_address(place) else head_of(place)


def _read(url: str, limit: int | None = None) -> tuple[int, list[Message]]:
    with ThreadPoolExecutor(1) as beside:  # in this thread, a loop may be running
        return beside.submit(asyncio.run, read_beside(url, limit)).result()
