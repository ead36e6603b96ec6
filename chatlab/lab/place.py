"""Where the log of a lab is: a file in a new folder, or a new database in PostgreSQL.

It knows no server and no tab.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

from chatlab.harness import shared_postgres
from chatlab.log import LogError, messages_at
from chatlab.messages import Message
from chatlab.mistakes import BadMoment
from chatlab.recovery import Recovery, store_at

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")
_numbers = count(1)


class Place:
    """A new and empty place for a log. The labs of this process share one PostgreSQL."""

    def __init__(self, kind: Kind) -> None:
        self.database = shared_postgres().start() if kind == "postgresql" else None
        self._folder = tempfile.TemporaryDirectory(prefix="chatlab-")
        self._stored: list[Message] | None = None
        self.db: Path | str = Path(self._folder.name) / "chat.db"
        """The file of the log, or the address of its database."""
        if self.database is not None:
            self._name = f"lab{next(_numbers)}"
            self.db = self.database.make_database(self._name)

    def stored(self) -> list[Message] | None:
        """Return the messages in the log, or those at the last look if it cannot be read now."""
        with suppress(sqlite3.Error, LogError):
            self._stored = messages_at(self.db)
        return self._stored

    def sessions(self, store: bool, clock: Callable[[], float]) -> Callable[[], Recovery]:
        """Return what makes the sessions of a server. With `store`, they are at this place too."""
        return partial(_sessions, self.db if store else None, clock)

    def remove(self) -> None:
        """Delete the log."""
        self._folder.cleanup()
        if self.database is not None:
            with suppress(BadMoment):  # it is stopped: the database goes with this process
                self.database.drop_database(self._name)


def _sessions(place: Path | str | None, clock: Callable[[], float]) -> Recovery:
    return Recovery(store=store_at(place) if place else None, clock=clock)
