"""A bad network: a TCP link that can be cut, frozen, left half-open, delayed and throttled.

A client that connects to the link's port reaches the server through it: a simulated tab or a real
browser, the link cannot tell. It moves bytes, and knows nothing of what they mean.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from chatlab.harness.background import CROWD, stop_listening
from chatlab.openable import Openable

CHUNK = 65536
"""Bytes that are moved at a time."""
MOST_WAITING = 1000
"""New connections that a frozen link holds: what comes beyond that is broken off."""
TAB_FAULTS = ("drop", "reload", "reconnect")
LINK_FAULTS = ("cut", "freeze", "thaw", "strand")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Direction = Literal["up", "down"]
"""Toward the server, or toward the client."""


@dataclass(eq=False)
class _Wire:
    """One connection through a link: the client's leg and the server's leg."""

    client: Streams
    server: Streams
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def cut(self) -> None:
        for _, writer in (self.client, self.server):
            writer.transport.abort()
        for task in self.tasks:
            task.cancel()


class Link(Openable):
    """A link to the server at `port` of this machine. Await it or enter it to open it.

    `delay` is in seconds for each chunk of bytes, `rate` in bytes a second (None: no limit); both
    can be changed while bytes flow. Clients of other machines reach it if `host` is an address of
    this machine in their network; `listen` is the port for them, and 0 takes any free one.
    """

    def __init__(
        self,
        port: int,
        *,
        delay: float = 0,
        rate: float | None = None,
        host: str = "127.0.0.1",
        listen: int = 0,
    ) -> None:
        self.server_port, self.delay, self.rate = port, delay, rate
        self.host = host
        self.port = listen
        """The port for the client, once the link is open."""
        self._wires: set[_Wire] = set()
        self._by_port: dict[int, _Wire] = {}
        self._accepting: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        """New connections that cannot pass yet."""
        self._closed = False
        self._stranded: list[asyncio.StreamWriter] = []
        self._flowing: dict[Direction, asyncio.Event] = {
            "up": asyncio.Event(),
            "down": asyncio.Event(),
        }
        self.in_flight: dict[Direction, int] = {"up": 0, "down": 0}
        """Bytes that have left one side and have not been handed to the other: a frozen link holds
        them. What the system holds for a side that does not read is not known here."""
        self._holding = asyncio.Event()
        self.thaw()

    @property
    def url(self) -> str:
        """The address of the server, by way of this link, for a client of this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "") else self.host
        return f"http://{host}:{self.port}"

    @property
    def frozen(self) -> bool:
        """Whether something cannot pass, in one direction or in both."""
        return not all(flowing.is_set() for flowing in self._flowing.values())

    async def open(self) -> Self:
        """Begin to accept connections. Raises OSError if the port is taken."""
        self._server = await asyncio.start_server(
            self._accepted, self.host, self.port, backlog=CROWD
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        """Cut everything and accept nothing more."""
        self._closed = True
        await stop_listening(self._server)
        self.thaw()
        self.cut()
        for writer in self._stranded:
            writer.transport.abort()
        if self._accepting:
            await asyncio.wait(self._accepting)

    def client_at(self, port: int) -> str | None:
        """Return the address of the client that reaches the server from this port of the link's.

        The server sees the link in the place of the client. None: there is no such connection.
        """
        wire = self._by_port.get(port)
        return _place(wire.client, "peername")[0] if wire else None

    # What can happen to a network.

    def cut(self) -> None:
        """Break every connection: both sides notice at once. New ones can be made."""
        for wire in list(self._wires):
            wire.cut()
        for task, writer in list(self._waiting.items()):
            writer.transport.abort()
            task.cancel()

    def freeze(self, *directions: Direction) -> None:
        """Let nothing pass, not even the news that a side has closed: both sides wait.

        With "up" nothing passes to the server, with "down" nothing to the client.
        """
        for direction in directions or self._flowing:
            self._flowing[direction].clear()

    def thaw(self) -> None:
        """Let everything pass again, the bytes that waited first."""
        self._holding.clear()
        for flowing in self._flowing.values():
            flowing.set()

    async def holds(self) -> None:
        """Wait until a frozen link holds something back: bytes, or a new connection."""
        await self._holding.wait()

    async def lose(self) -> None:
        """Break every connection, once a frozen link holds something back: it is lost."""
        if self.frozen:
            await self.holds()
        self.cut()
        self.thaw()

    def strand(self) -> None:
        """Leave connections half-open: the client's side breaks, and the server is not told."""
        for wire in list(self._wires):
            wire.client[1].transport.abort()
            for task in wire.tasks:
                task.cancel()
            self._stranded.append(wire.server[1])

    def _accepted(self, *client: Any) -> None:
        """Take a connection, in a task of its own: a closed link none, a frozen one so many."""
        if self._closed or len(self._waiting) >= MOST_WAITING:
            client[1].transport.abort()
            return
        self._accepting.add(task := asyncio.create_task(self._join(client)))
        task.add_done_callback(self._accepting.discard)

    async def _join(self, client: Streams) -> None:
        await self._admission(client[1])
        try:
            server = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:  # no server there: the client's connection ends, as it would without us
            client[1].transport.abort()
            return
        wire = _Wire(client, server)
        port = _place(server, "sockname")[1]
        self._by_port[port] = wire
        wire.tasks = [
            asyncio.create_task(self._carry(client[0], server[1], "up")),
            asyncio.create_task(self._carry(server[0], client[1], "down")),
        ]
        self._wires.add(wire)
        if self._closed:
            wire.cut()
        await asyncio.wait(wire.tasks)
        self._wires.discard(wire)
        if self._by_port.get(port) is wire:  # and not one that has the port after it
            del self._by_port[port]
        if server[1] not in self._stranded:
            wire.cut()

    async def _admission(self, writer: asyncio.StreamWriter) -> None:
        """Wait until a new connection may pass."""
        self._waiting[task := asyncio.current_task()] = writer
        try:
            for direction in self._flowing:
                await self._passage(direction)
        finally:
            del self._waiting[task]

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, direction: Direction
    ) -> None:
        """Carry bytes in one direction until the source ends or breaks, and that news too."""
        try:
            while data := await source.read(CHUNK):
                with self._under_way(direction, len(data)):
                    await asyncio.sleep(self.delay + (len(data) / self.rate if self.rate else 0))
                    await self._passage(direction)
                    target.write(data)
                await target.drain()
            await self._passage(direction)
            target.write_eof()
        except OSError:
            await self._passage(direction)
            target.transport.abort()

    @contextmanager
    def _under_way(self, direction: Direction, size: int) -> Iterator[None]:
        self.in_flight[direction] += size
        try:
            yield
        finally:
            self.in_flight[direction] -= size

    async def _passage(self, direction: Direction) -> None:
        """Wait until what has come this far may pass."""
        if not self._flowing[direction].is_set():
            self._holding.set()
        await self._flowing[direction].wait()


def _place(streams: Streams, end: str) -> tuple[Any, Any]:
    """Return the address and the port of an end of a connection: nothing if it is gone already."""
    return (*(streams[1].get_extra_info(end) or (None, None)),)[:2]


class Mishap(NamedTuple):
    """Something that happens on a bad day: to a client's tab, to its link, or to the server."""

    kind: str
    """"send", "kill", or one of TAB_FAULTS or LINK_FAULTS."""
    who: str


def bad_day(
    seed: int, names: Iterable[str], length: int, *, kills: int = 0, sends: float = 0.6
) -> list[Mishap]:
    """Make up a bad day: `length` mishaps, the same ones for the same seed.

    `sends` is the share of them in which somebody sends a message. The server is killed `kills`
    times, at moments spread over the day.
    """
    chance, people = random.Random(seed), sorted(names)
    day = [
        Mishap(
            "send" if chance.random() < sends else chance.choice(TAB_FAULTS + LINK_FAULTS),
            chance.choice(people),
        )
        for _ in range(length)
    ]
    for number in range(kills, 0, -1):
        day.insert(number * length // (kills + 1), Mishap("kill", "server"))
    return day
