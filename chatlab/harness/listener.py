"""A port that accepts connections for as long as this process may open files for them.

asyncio's own servers accept, at a time, as many connections as may wait: here 4096. Once the
process may open no more files each of these attempts fails, again and again, and nobody who is
connected is served meanwhile. So this module accepts one connection at a time. It must not know
what is said on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import socket
from collections.abc import Callable
from typing import Self

from chatlab.openable import Openable

try:
    import resource
except ImportError:  # Windows, where connections are no files
    resource = None

CROWD = 4096
"""How many connections may wait to be accepted, if the system allows so many. A client that finds
no place tries again after one second, then two, four, eight: with many clients this takes long."""
MOST_FILES = 10_000
"""Open files that are enough when all students of a full class reconnect at once: one student needs
three to six of them."""
RESERVE = 32
"""Files that no new connection gets: the database and the page need some. Where a process may open
only few files, it is a quarter of them."""
PAUSE = 1.0
"""Seconds until the next attempt, if the system could not accept a connection."""
NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""Errors for an address that a host name has and this machine has not."""


class Listener(Openable):
    """Accepts connections on every address of `host`, on one port. Await it or enter it to open it.

    `make` makes the asyncio protocol for a connection. `port=0` takes a free port, the same one for
    every address. The host "::" takes IPv4 too, "" is every address, and "localhost" often two.
    """

    def __init__(self, make: Callable[[], asyncio.BaseProtocol], host: str, port: int) -> None:
        self.make, self.host, self.port = make, host, port

    async def open(self) -> Self:
        """Begin to accept. Raises OSError if the address or the port cannot be used."""
        _allow_files()
        self._sockets = _listening(self.host, self.port)
        self.port = self._sockets[0].getsockname()[1]
        self._tasks = [asyncio.create_task(self._accept(one)) for one in self._sockets]
        return self

    async def close(self) -> None:
        """Stop accepting. What was accepted goes on.

        A connection is accepted in two steps. If the task ended between them, the connection would
        stay open until garbage collection. So this stops the first step, lets the second one
        finish, and then ends the task. It relies on something undocumented: `sock_accept` waits in
        a reader of the listening socket.
        """
        with contextlib.suppress(NotImplementedError):  # Windows: its loop has no readers
            for listening in self._sockets:
                asyncio.get_running_loop().remove_reader(listening)
            await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for listening in self._sockets:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            except ConnectionError:  # the client has gone already
                await asyncio.sleep(0)
            except OSError as error:
                _say_once(str(error))
                await asyncio.sleep(PAUSE)
            else:
                await self._admit(connection)

    async def _admit(self, connection: socket.socket) -> None:
        if _is_one_of_the_last(connection):
            connection.close()
            _say_once("this process has almost as many files open as it may (ulimit -n)")
            await asyncio.sleep(0)  # however many come, those who are here have their turn
            return
        loop = asyncio.get_running_loop()
        try:
            # Whole, even if the task is ended here: uvloop would leave a protocol without its end.
            await asyncio.shield(loop.connect_accepted_socket(self.make, connection))
        except OSError:  # the client has gone already
            connection.close()


def _listening(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of a host, all on one port.

    An address that this machine does not have is left out, if there is another.
    """
    dual = host == "::" and socket.has_dualstack_ipv6()
    # Not the loop's `getaddrinfo`, which leaves a thread behind: this machine knows its own names.
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, (name, _, *rest) in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                made = socket.create_server(
                    (name, port, *rest), family=family, backlog=CROWD, dualstack_ipv6=dual
                )
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                not_here = error
            else:
                made.setblocking(False)
                sockets.append(stack.enter_context(made))
                port = made.getsockname()[1]
        if not sockets:
            raise not_here
        stack.pop_all()  # nothing went wrong: they stay open
        return sockets


def _allow_files() -> None:
    """Raise the limit of open files of this process, as far as the system allows it.

    The usual limit is 1,024, for the sake of old programs; each process may raise its own.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _is_one_of_the_last(connection: socket.socket) -> bool:
    """Whether this process may open few more files than this connection."""
    if resource is None:
        return False
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A new file gets the smallest number that is free, so the number says how many are open.
    return most != resource.RLIM_INFINITY and connection.fileno() >= most - min(RESERVE, most // 4)


@functools.cache
def _say_once(reason: str) -> None:
    logging.getLogger(__name__).warning("New connections are refused: %s.", reason)
