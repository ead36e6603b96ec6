"""The file of a database: who may read it, who serves it, and whether it is still there.

It must not know what is in the database.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from os import PathLike

PARTS = ("", "-wal", "-shm")
"""How the names of the files of one database end. Committed rows may be in "-wal" alone."""
OWNER_ONLY = 0o600
"""The rights of a new file: messages and sessions are no business of other users."""
CLOSING = 1.0
"""Seconds to wait for an earlier server to let go of the file."""
COARSE = 2.0
"""Seconds: two changes of a folder may get the same time if less is between them. It is a few
milliseconds in most file systems, and two seconds in FAT."""
LOOK_CLOSELY_EVERY = 1.0
"""Seconds after which the files themselves are looked for, whatever their folder says: some file
systems do not keep its time."""


class DatabaseFile:
    """The file at `path`. Its names are compared in full, whatever links lead to it."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.path.realpath(path)
        self._opened: list[tuple[int, int] | None] | None = None
        """What identifies each of the files, when they are open; None for one that is missing."""
        self._gone = False
        self._parts = PARTS
        self._unchanged: tuple[int, int, float, float] | None = None
        """The state of the folder when all files were there; None if it was changed just before."""
        self._closely = 0.0
        """When to look for the files themselves again."""

    def create(self) -> None:
        """Make the file if there is none. SQLite gives "-wal" and "-shm" the same rights.

        Raises sqlite3.OperationalError if "-wal" has rows of a file that was moved away, which
        SQLite would delete, and for a database in memory, which no second connection can read.
        """
        if os.path.basename(self.path) == ":memory:":
            raise sqlite3.OperationalError("it has to be a file, since two connections use it")
        if not os.path.exists(self.path) and _size(f"{self.path}-wal"):
            raise sqlite3.OperationalError(
                f"{self.path} is gone, but {self.path}-wal is there, with messages of it: "
                "put the file back, or delete the other one too"
            )
        _create(self.path, OWNER_ONLY)

    def remember(self) -> None:
        """Remember which files these are. Call this when SQLite has opened all of them."""
        self._opened = self._found()

    @property
    def in_place(self) -> bool:
        """Whether the files that are open are where they were, and always have been.

        As long as the folder has not changed, its files have the names that they had: so one look
        at the folder is enough, most of the time.
        """
        if self._opened is None:
            return True
        folder = _state(os.path.dirname(self.path))
        trusted = folder is not None and folder == self._unchanged
        if self._gone or (trusted and time.monotonic() < self._closely):
            return not self._gone
        return self._look_closely(folder)

    def _look_closely(self, folder: tuple[int, int, float, float] | None) -> bool:
        """Look for the files, and remember the state of their folder if they are there."""
        now = time.time()
        there = self._found() == self._opened
        settled = folder is not None and now - max(folder[2:]) > COARSE
        self._unchanged = folder if there and settled else None
        self._closely = time.monotonic() + LOOK_CLOSELY_EVERY
        return there

    def check(self, db: sqlite3.Connection) -> None:
        """Raise sqlite3.OperationalError if the files that `db` has open are not in their place.

        SQLite would go on writing into a file that was moved or deleted, and nobody would find it
        there. After that it fails for ever, even if the file comes back: somebody may have changed
        it.
        """
        if self.in_place:
            return
        if not self._gone:
            with suppress(sqlite3.Error):  # take what is in "-wal" along with the file that moved
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._gone = True
        raise sqlite3.OperationalError(
            "the database was moved, replaced or deleted while the server had it open"
        )

    def lock(self, use: str) -> sqlite3.Connection:
        """Return the right to be the only one who uses the file so, until it is closed.

        The lock is a transaction that never ends, in a small database beside the file: so it works
        wherever SQLite does, and ends with its process, also after `kill -9`. Raises sqlite3.Error,
        with a sentence, if another server has the lock, or if the file cannot have one.
        """
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise sqlite3.OperationalError(f"cannot find {self.path}: {error.strerror}") from error
        if found.st_nlink > 1:
            raise sqlite3.OperationalError(
                "it has a second name, a hard link, and SQLite would lose rows"
            )
        _create(f"{self.path}.{use}", found.st_mode & 0o777)
        lock = _locked(f"{self.path}.{use}")
        self._parts += (f".{use}",)  # without it, another server would get a lock of its own
        self.remember()
        return lock

    def _found(self) -> list[tuple[int, int] | None]:
        """Return what identifies each of the files; None for one that is not there."""
        return [_identity(f"{self.path}{part}") for part in self._parts]


def is_busy(error: sqlite3.Error) -> bool:
    """Whether an error says that somebody else has locked the database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _locked(path: str) -> sqlite3.Connection:
    try:
        lock = sqlite3.connect(path, timeout=CLOSING, isolation_level=None)
    except sqlite3.Error as error:
        raise type(error)(f"cannot open {path}: {error}") from error
    try:
        lock.execute("BEGIN IMMEDIATE")
        while _holder(lock) != os.getpid():  # another one may come between COMMIT and BEGIN
            lock.execute(f"PRAGMA user_version = {os.getpid()}")
            lock.execute("COMMIT")
            lock.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        reason = f"cannot lock {path}: {error}"
        if is_busy(error):
            reason = "another server has it open"
            with suppress(sqlite3.Error):  # it is just writing there who it is
                reason += f", process {_holder(lock)}"
        lock.close()
        raise type(error)(reason) from error
    return lock


def _holder(lock: sqlite3.Connection) -> int:
    """Return the process that has the lock, or had it last."""
    return lock.execute("PRAGMA user_version").fetchone()[0]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _state(folder: str) -> tuple[int, int, float, float] | None:
    """Return what identifies a folder, and when a name in it was last changed.

    The last time cannot be set back: a program that restores a backup sets the other one.
    """
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime, found.st_ctime


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _create(path: str, mode: int) -> None:
    """Make an empty file, if there is none: to close one that exists would end SQLite's locks."""
    with suppress(OSError):  # SQLite says what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, mode))
        os.chmod(path, mode)  # whatever the umask
