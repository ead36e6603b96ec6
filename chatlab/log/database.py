"""SQLite as a server needs it: durable, and on a thread of its own.

It promises that a transaction is on the disk when it returns. It must not know any table.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from os import PathLike
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Self, TypeVar

import aiosqlite

from chatlab.log.file import DatabaseFile, is_busy

PRAGMAS = {"busy_timeout": 500, "journal_mode": "wal", "synchronous": 2}
"""What makes a commit durable. synchronous 2 is FULL: a commit returns when the disk has it.
busy_timeout is in milliseconds."""
TRIES = 10
"""How often a write waits for busy_timeout while another program has locked the database. If that
was in vain, later ones try once, until one succeeds."""
STATEMENTS = 32
"""Prepared statements in memory, each with the values that it had last: 32 MB if all were as long
as they may be."""

LOOK_EVERY = 1.0
"""Seconds without a write after which the writer looks whether its file is still there."""

T = TypeVar("T")
Job = tuple[Callable[[], Any], asyncio.Future[Any]]


class Trouble:
    """Why nothing is stored in a place: the event loop is told once, until it is over."""

    def __init__(self, place: object) -> None:
        self._place, self.reported = place, False

    def report(self, error: Exception) -> None:
        """Tell it, if nobody has yet."""
        if not self.reported:
            self.reported = True
            report = {"message": f"nothing is stored in {self._place}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(report)

    def over(self) -> None:
        """Something is stored again."""
        self.reported = False


class Writer:
    """The connection that writes, on a thread of its own. Call `open`, then `run` functions there.

    Put a whole transaction into one function: changing threads for every statement takes longer
    than the statements. The thread is a daemon: a program that forgets `close` ends all the same,
    and one that closes only while it ends can do so, which an executor would not allow.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = path
        self._file = DatabaseFile(path)
        self._db: sqlite3.Connection | None = None
        self._lock: sqlite3.Connection | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(
            target=_work, args=(self._jobs, self._look), name="sqlite", daemon=True
        )
        self._tries = TRIES
        self._trouble = Trouble(path)

    async def open(self, prepare: Callable[[sqlite3.Connection], None]) -> Self:
        """Open the database, and prepare it. Call `close` also if this fails.

        Raises sqlite3.Error, with a sentence, if the file cannot be opened, and what `prepare`
        raises.
        """
        self._thread.start()
        self._db = await self._on_thread(self._connect)
        await self.run(partial(self._patiently, prepare))
        self._file.remember()
        return self

    async def lock(self, use: str) -> None:
        """Be the only one who uses the file so, until `close`.

        Raises sqlite3.OperationalError, with a sentence, if another server does.
        """
        self._lock = await self._on_thread(partial(self._file.lock, use))

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the connection on the thread, and return its result."""
        return await self._on_thread(lambda: work(self._db))

    async def write(self, transact: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function that is one transaction; return its result.

        It is called again while another program has locked the database. Raises what it raises, and
        sqlite3.OperationalError if the file is not in its place any more: see DatabaseFile.check.
        """
        # The file may go between the first look and the commit: the second look is the promise.
        await self._check()
        result = await self.run(partial(self._patiently, transact))
        await self._check()
        self._trouble.over()
        return result

    async def _check(self) -> None:
        """Look whether the file is in its place. See DatabaseFile.check.

        It is looked for here and not on the thread: each look there would give Python's lock away
        and wait for it again, behind all that the event loop has to do.
        """
        if not self._file.in_place:
            await self.run(self._file.check)

    def report(self, error: sqlite3.Error) -> None:
        """Tell the event loop why nothing is stored: see Trouble."""
        self._trouble.report(error.with_traceback(None))  # it is no fault of the code

    def hurry(self) -> None:
        """Have no more patience with a program that has locked the database."""
        self._tries = 1

    async def close(self) -> None:
        """Close the connection, and end the thread."""
        if self._db is not None:
            await self.run(self._disconnect)
            self._db = None
        self._jobs.put(None)
        self._thread.join()

    async def _on_thread(self, work: Callable[[], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((work, done))
        return await done

    def _connect(self) -> sqlite3.Connection:
        self._file.create()
        try:
            seconds = PRAGMAS["busy_timeout"] / 1000
            options = {"isolation_level": None, "cached_statements": STATEMENTS}
            return sqlite3.connect(self._path, timeout=seconds, **options)
        except sqlite3.Error as error:
            raise type(error)(f"cannot open {self._path}: {error}") from error

    def _patiently(self, work: Callable[[sqlite3.Connection], T], db: sqlite3.Connection) -> T:
        tries = 1
        while True:
            try:
                return work(db)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or self._trouble.reported or tries >= self._tries:
                    raise
            tries += 1

    def _look(self) -> None:
        """Look whether the file is there. If it was moved, what is stored already goes with it."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._file.check(self._db)

    def _disconnect(self, db: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            self._file.check(db)
        db.close()
        if self._lock is not None:
            self._lock.close()


def _work(jobs: SimpleQueue[Job | None], idle: Callable[[], None]) -> None:
    while True:
        try:
            job = jobs.get(timeout=LOOK_EVERY)
        except Empty:
            idle()
            continue
        if job is None:
            return
        work, done = job
        if not done.cancelled():
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                done.get_loop().call_soon_threadsafe(_settle, done, *_outcome(work))


def _outcome(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return the result of a function and None, or None and what it raised."""
    try:
        return work(), None
    except BaseException as error:
        return None, error


def _settle(done: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)


def reader(path: str | PathLike[str]) -> aiosqlite.Connection:
    """Return a connection that is to be awaited, and does not keep a program alive.

    The thread of aiosqlite lives until the connection is closed, and Python waits for it at its
    end, unless it is a daemon: it becomes one if a daemon makes it.
    """
    made: list[aiosqlite.Connection] = []
    connect = partial(aiosqlite.connect, path, isolation_level=None)
    maker = Thread(target=lambda: made.append(connect()), daemon=True)
    maker.start()
    maker.join()
    return made[0]


def make_durable(db: sqlite3.Connection) -> None:
    """Set the pragmas, and check each of them. Raises sqlite3.NotSupportedError if one stays."""
    for pragma, wanted in PRAGMAS.items():
        db.execute(f"PRAGMA {pragma} = {wanted}")
        [(value,)] = db.execute(f"PRAGMA {pragma}")
        if value != wanted:
            raise sqlite3.NotSupportedError(f"{pragma} stays {value}, and it has to be {wanted}")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit everything that is written inside, or nothing if there is an error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
