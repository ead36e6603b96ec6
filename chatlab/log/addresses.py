"""Which log is meant by a place: a file, or the address of a database."""

from __future__ import annotations

from os import PathLike

from chatlab.log.postgres import PostgresLog
from chatlab.log.sqlite import MessageLog

POSTGRESQL = ("postgresql://", "postgres://")


def is_address(place: str | PathLike[str]) -> bool:
    """Whether a place is the address of a PostgreSQL, and not a file."""
    return str(place).startswith(POSTGRESQL)


def log_at(place: str | PathLike[str], *, keep: int | None = None) -> MessageLog | PostgresLog:
    """Make the log at a place."""
    return PostgresLog(str(place), keep=keep) if is_address(place) else MessageLog(place, keep=keep)
