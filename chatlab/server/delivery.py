"""Delivery: every connection gets the log as one ordered stream, whatever the network does.

A connection has a cursor, the offset of the last message that was handed to its socket. One loop
moves it: send the page of messages after the cursor, and when there is none, wait for the log to
grow. Catch-up and live are the same loop, so there is no moment at which one could overtake the
other, and nothing to join. It knows Socket.IO and the log, and nothing of what a client may say.

The log is all that is kept of the messages: a session that is recovered has a cursor in it.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import Any

import socketio
from engineio.async_socket import AsyncSocket
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.packet import EVENT

from chatlab.log import Log
from chatlab.messages import CATCHING_UP, CAUGHT_UP, CHAT_MESSAGE, Message, Place
from chatlab.recovery import Position, Session, recovered, session_of, with_offset
from chatlab.server.frames import frame, writable
from chatlab.server.queue import PollQueue

PAGE = 50
"""Messages that are read and handed over at a time. More of them are hardly quicker, and a reader
that has stopped holds a page and a full queue of them."""
PAGE_SIZE = 64_000
"""Characters after which a page ends, if it has a message."""
HIGH_WATER = 50
"""Packets that may wait in the queue of one connection before its reader is waited for."""
HIGH_SIZE = 256_000
"""Characters in the queue and bytes in its WebSocket after which its reader is waited for.

The bytes count too: aiohttp waits for its transport only once in 64 KiB, so up to 200 kB may still
be there when the queue is empty. One reader holds HIGH_SIZE and the page that exceeds it."""
NEWEST = 2000
"""Messages kept in memory, encoded, so that those who are nearly up to date cost no query."""
NEWEST_SIZE = 8_000_000
"""Characters after which fewer of them are kept."""

ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""What is not ASCII stays as it is: escaped, an emoji would take three times the room."""
SHARED = 32
"""Pages of which the frames are kept, for those who are at the same place."""

Numbered = tuple[int, str]
"""An offset and its event, encoded."""
Page = tuple[Numbered, ...]


class Delivery:
    """The streams of all connections.

    `attach` begins a stream and `detach` ends it: call them in the handlers of `connect` and
    `disconnect`. The messages come from the log alone, so a message that is committed is delivered
    even if the server dies right after the commit.
    """

    def __init__(self, sio: socketio.AsyncServer, log: Log) -> None:
        self._sio, self._log = sio, log
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._newest = _Newest()
        self._frames = lru_cache(SHARED)(_frames)
        log.on_commit = self._remember

    def attach(self, sid: str, offset: int | None = None, epoch: str | None = None) -> None:
        """Begin to send a connection the messages after `offset`, which it has from that epoch.

        Without an offset, one that is recovered goes on after the last message that it got; one
        that is not raises ValueError. What does not fit the log is told to the client: see
        `messages.Place`.

        Call it last in the `connect` handler: the stream begins when the handler has returned and
        CONNECT is on its way. A client keeps what arrives before CONNECT apart, and shows it twice
        if the connection is lost at that moment.
        """
        self.detach(sid)
        session = session_of(self._sio, sid)
        if offset is None and not recovered(self._sio, sid):
            raise ValueError("a client that is not recovered needs an offset to begin after")
        place = self._log.place(session.sent.cursor if offset is None else offset, epoch)
        if session is not None:
            session.sent = Position(place.after, session.sent.number)
            if offset is not None or place.outcome != "continued":
                session.start = session.sent
        self._streams[sid] = self._sio.start_background_task(self._stream, sid, session, place)

    def detach(self, sid: str) -> None:
        """End a stream, wherever it is."""
        if sid in self._streams:
            self._streams.pop(sid).cancel()

    async def _stream(self, sid: str, session: Session | None, place: Place) -> None:
        eio_sid = self._sio.manager.eio_sid_from_sid(sid, "/")
        socket = self._sio.eio.sockets.get(eio_sid)
        if socket is None or socket.closed:  # gone before it began
            self._streams.pop(sid, None)
            return
        try:
            await self._follow(socket, session, place)
        except Exception:
            self._streams.pop(sid, None)
            await self._sio.disconnect(sid)  # so that the client does not wait for ever
            raise

    async def _follow(self, socket: AsyncSocket, session: Session | None, place: Place) -> None:
        """Send page after page to a connection, for ever."""
        queue, goal, caught_up = socket.queue, self._log.head, False
        cursor, sent, waiting = place.after, 0, 0
        self._tell_place(queue, place)
        while True:
            if cursor >= goal and not caught_up:
                caught_up = True
                self._tell_end(queue, place, cursor, sent)
            await self._log.newer(cursor)  # returns at once if the log is ahead
            head = self._log.head
            page = await self._page(cursor)
            if not page or cursor < self._log.trimmed:  # so slow a reader that what comes is gone
                place = Place(self._log.trimmed if page else head, "gap")
                cursor = place.after
                self._tell_place(queue, place)
                continue
            waiting += self._hand_over(socket, session, page)
            cursor, sent = page[-1][0], sent + len(page)
            if queue.qsize() > HIGH_WATER or waiting + _unsent(queue) > HIGH_SIZE:
                await queue.rest()  # until the socket has taken them: the reader sets the pace
                waiting = 0

    def _hand_over(self, socket: AsyncSocket, session: Session | None, page: Page) -> int:
        """Send a page; return how many characters of it wait in the connection's queue."""
        number = None
        if session is not None:
            number = session.sent.number
            session.sent = Position(page[-1][0], number)
        if writes := writable(socket):
            writes.write(self._frames(page, number))
            return 0
        for data in _events(page, number):
            socket.queue.put_nowait(EnginePacket(MESSAGE, data))
        return sum(map(_size, page))

    def _remember(self, batch: list[Message]) -> None:
        self._newest.add(batch)

    async def _page(self, cursor: int) -> Page:
        """Return the events after the cursor, a page at most: from memory, or else from the log.

        There is one of them at least, if the log has any.
        """
        page = self._newest.after(cursor)
        if page is None:
            page = tuple(map(_numbered, await self._log.after(cursor, PAGE)))
        sizes = accumulate(map(_size, page))
        return page[: max(1, sum(size <= PAGE_SIZE for size in sizes))]

    def _tell_place(self, queue: asyncio.Queue[EnginePacket], place: Place) -> None:
        """Tell a client how what follows fits what it has."""
        told = {"epoch": self._log.epoch} | place._asdict()
        queue.put_nowait(EnginePacket(MESSAGE, _event(CATCHING_UP, told)))

    def _tell_end(
        self, queue: asyncio.Queue[EnginePacket], place: Place, cursor: int, sent: int
    ) -> None:
        """Tell a client that it has what there was when it came."""
        told = {"epoch": self._log.epoch, "offset": cursor, "outcome": place.outcome, "sent": sent}
        queue.put_nowait(EnginePacket(MESSAGE, _event(CAUGHT_UP, told)))


class _Newest:
    """The newest messages, encoded once for all connections."""

    def __init__(self) -> None:
        self._kept: list[Numbered] = []
        self._size = 0
        self._forgotten = 0
        """All messages after this offset are here, if there are any."""

    def add(self, batch: list[Message]) -> None:
        """Keep what was committed, and forget the oldest if there are too many."""
        if not self._kept:
            self._forgotten = batch[0].offset - 1
        added = list(map(_numbered, batch))
        self._kept += added
        self._size += sum(map(_size, added))
        excess = max(0, len(self._kept) - NEWEST)
        self._size -= sum(map(_size, self._kept[:excess]))
        while self._size > NEWEST_SIZE:
            self._size -= _size(self._kept[excess])
            excess += 1
        if excess:
            self._forgotten = self._kept[excess - 1][0]
            del self._kept[:excess]

    def after(self, cursor: int) -> Page | None:
        """Return a page of the events after the cursor, or None if the log has to be asked."""
        if not self._kept or cursor < self._forgotten:
            return None
        first = bisect_right(self._kept, cursor, key=itemgetter(0))
        return tuple(self._kept[first : first + PAGE])


def _frames(page: Page, number: int | None) -> bytes:
    """Return the frames of a page, one after the other."""
    return b"".join(frame(f"{MESSAGE}{data}") for data in _events(page, number))


def _events(page: Page, number: int | None) -> Iterator[str]:
    """Yield the events of a page; for a session, with the position that it has then."""
    for offset, data in page:
        yield data if number is None else with_offset(data, Position(offset, number))


def _numbered(message: Message) -> Numbered:
    return message.offset, _event(CHAT_MESSAGE, message.text, message.offset)


def _event(*arguments: Any) -> str:
    return f"{EVENT}{ENCODER.encode(arguments)}"


def _unsent(queue: PollQueue) -> int:
    """Return how many bytes the connection's WebSocket has not sent yet, if it has one."""
    return queue.writes.waiting if queue.writes else 0


def _size(numbered: Numbered) -> int:
    return len(numbered[1])
