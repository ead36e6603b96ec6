"""A bad network: a TCP link that can be cut, frozen, left half-open, delayed and throttled.

A client that connects to the link's port reaches the server through it. The client can be a
simulated tab or a real browser. A link moves bytes, and must not know what they mean.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Literal, Self

from chatlab.harness.addresses import url
from chatlab.harness.listener import Listener
from chatlab.mistakes import awaited, expect
from chatlab.openable import Openable

CHUNK = 65536
"""The most bytes that a link moves at a time."""
MOST_WAITING = 1000
"""The most new connections that a frozen link holds back. It breaks any more."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Direction = Literal["up", "down"]
"""Toward the server, or toward the client."""


class Traffic:
    """The state of a link: how fast it is, which directions are frozen, what is on its way."""

    def __init__(self, delay: float, rate: float | None) -> None:
        self.delay, self.rate = delay, rate
        self.in_flight: dict[Direction, int] = {"up": 0, "down": 0}
        """Bytes that the link has read from one side and not yet written to the other. Bytes that
        the system holds for a side that does not read are not counted."""
        self._flowing = {direction: asyncio.Event() for direction in self.in_flight}
        self._holding = asyncio.Event()
        self.thaw()

    @property
    def frozen(self) -> bool:
        """Whether nothing can pass, in one direction or in both."""
        return not all(flowing.is_set() for flowing in self._flowing.values())

    def freeze(self, *directions: Direction) -> None:
        """Let nothing pass, not even the end of a connection. No side gets an error.

        With "up" nothing passes to the server, with "down" nothing to the client.
        """
        for direction in directions:
            rule = 'freeze takes "up", "down", or nothing for both'
            expect(direction in self._flowing, rule, direction)
        for direction in directions or self._flowing:
            self._flowing[direction].clear()

    def thaw(self) -> None:
        """Let everything pass again, the bytes that waited first."""
        self._holding.clear()
        for flowing in self._flowing.values():
            flowing.set()

    @awaited
    async def holds(self) -> None:
        """Wait until the link is frozen and holds something back: bytes, or a new connection."""
        await self._holding.wait()

    async def passage(self, *directions: Direction) -> None:
        """Wait until these directions are not frozen."""
        for direction in directions:
            if not self._flowing[direction].is_set():
                self._holding.set()
            await self._flowing[direction].wait()

    async def travel(self, direction: Direction, size: int) -> None:
        """Wait as long as `size` bytes need, and as long as their direction is frozen."""
        self.in_flight[direction] += size
        try:
            await asyncio.sleep(self.delay + (size / self.rate if self.rate else 0))
            await self.passage(direction)
        finally:
            self.in_flight[direction] -= size


class Wire:
    """One connection through a link. Each half, to the client and to the server, is a "leg"."""

    def __init__(self, client: Streams, server_port: int, traffic: Traffic) -> None:
        self.traffic = traffic
        self.legs = [client[1]]
        """The client's leg, then the server's once the wire is joined."""
        self.client = (client[1].get_extra_info("peername") or [None])[0]
        """The client's address; None if the client has disconnected already."""
        self.port: int | None = None
        """The port from which the server is reached, once the wire is joined."""
        self.task = asyncio.create_task(self._run(*client, server_port))

    @property
    def joined(self) -> bool:
        """Whether the server has been reached."""
        return len(self.legs) == 2

    def cut(self) -> None:
        """Break the connection: both sides notice at once."""
        self._break()  # the task may not have begun
        self.task.cancel()

    def _break(self) -> None:
        for writer in self.legs:
            writer.transport.abort()

    def strand(self) -> asyncio.StreamWriter:
        """Break the client's leg only; return the server's leg, which stays open."""
        server = self.legs.pop()
        self.cut()
        return server

    async def _run(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server_port: int
    ) -> None:
        try:
            await self.traffic.passage("up", "down")  # opening a connection needs both directions
            with suppress(OSError):  # no server listens: the client's connection breaks
                up, down = await asyncio.open_connection("127.0.0.1", server_port)
                self.legs.append(down)
                self.port = (down.get_extra_info("sockname") or [None, None])[1]
                await asyncio.gather(
                    self._carry(reader, down, "up"), self._carry(up, writer, "down")
                )
        finally:
            self._break()

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, direction: Direction
    ) -> None:
        """Carry bytes in one direction until the source ends or breaks; then end the target.

        A client may end its half and still read. What a server has ended is over: a client that
        says nothing more would hold two open files of this process.
        """
        end = target.write_eof if direction == "up" else target.close
        try:
            while data := await source.read(CHUNK):
                await self.traffic.travel(direction, len(data))
                target.write(data)
                await target.drain()
            await self.traffic.passage(direction)
            end()
        except (OSError, RuntimeError):  # the latter is uvloop's, for a target that has broken
            await self.traffic.passage(direction)
            target.transport.abort()


@awaited
class Link(Traffic, Openable):
    """A link to the server at `port` of this machine. Await it or enter it to open it.

    `delay` is in seconds for each chunk of bytes, `rate` in bytes a second (None: no limit); both
    can be changed while bytes flow. The link listens on `host`, an address of this machine, and on
    the port `listen`; 0 takes any free port.
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
        super().__init__(delay, rate)
        self.server_port, self.host = port, host
        self.port = listen
        """The port for the client, once the link is open."""
        self._wires: list[Wire] = []
        self._stranded: list[asyncio.StreamWriter] = []
        self._closed = False

    @property
    def url(self) -> str:
        """The address of the server, through this link, for a client of this machine."""
        return url(self.host, self.port)

    async def open(self) -> Self:
        """Begin to accept connections. Raises OSError if the port is taken."""
        self._listener = await Listener(self._protocol, self.host, self.port)
        self.port = self._listener.port
        return self

    async def close(self) -> None:
        """Break all connections, and accept no new ones."""
        self._closed = True
        await self._listener.close()
        self.thaw()
        self.cut()
        for writer in self._stranded:
            writer.transport.abort()
        if self._wires:
            await asyncio.wait([wire.task for wire in self._wires])

    def client_at(self, port: int) -> str | None:
        """Return the address of the client that reaches the server from this port of the link.

        The server sees the link's address instead of the client's. None: no such connection.
        """
        newest_first = reversed(self._wires)  # an old wire may have had the same port
        return next((wire.client for wire in newest_first if wire.port == port), None)

    def cut(self) -> None:
        """Break every connection: both sides notice at once. New ones can be made."""
        for wire in self._wires:
            wire.cut()

    async def lose(self) -> None:
        """Break every connection. If frozen, first wait for bytes on the way: they are lost."""
        if self.frozen:
            await self.holds()
        self.cut()
        self.thaw()

    def strand(self) -> None:
        """Leave connections half-open: the client's side breaks, the server does not notice."""
        self._stranded += [wire.strand() for wire in self._wires if wire.joined]

    def _protocol(self) -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._accept)

    def _accept(self, *client: Any) -> None:
        if self._closed or (self.frozen and len(self._waiting) >= MOST_WAITING):
            client[1].transport.abort()
            return
        wire = Wire(client, self.server_port, self)
        self._wires.append(wire)
        wire.task.add_done_callback(lambda _: self._wires.remove(wire))

    @property
    def _waiting(self) -> list[Wire]:
        return [wire for wire in self._wires if not wire.joined]
