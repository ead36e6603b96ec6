"""Delivery: every connection gets the log as one ordered stream, whatever the network does.

A connection has a cursor: the offset of the last message that was handed to its socket. One loop
moves it: it sends the page of messages after the cursor, and if there is none, it waits for the log
to grow. Messages that a client missed and new messages go through the same loop, so no message can
overtake another. A recovered session needs no messages of its own: it has a cursor, and its
messages are read from the log.

It knows Socket.IO and the log. It must not know what a client may send.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import Any

import socketio
from engineio.async_socket import AsyncSocket
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.packet import EVENT

from chatlab.log import Log, LogError
from chatlab.messages import (
    CATCHING_UP,
    CAUGHT_UP,
    CHAT_MESSAGE,
    CHAT_MESSAGES,
    NOT_AVAILABLE,
    Message,
    Place,
)
from chatlab.recovery import Position, Session, hang_up, recovered, session_of, with_offset
from chatlab.server.frames import frame, writable
from chatlab.server.queue import PollQueue

PAGE = 50
"""Messages that are read and handed over at a time. A larger page is hardly faster, and a reader
that has stopped costs the memory of a page and a full queue."""
PAGE_SIZE = 64_000
"""The most characters in a page; but a page has at least one message."""
HIGH_WATER = 50
"""If more packets than this are in a connection's queue, its loop waits for the reader."""
HIGH_SIZE = 256_000
"""If more characters in the queue and bytes in the WebSocket wait, the loop waits for the reader.

The bytes count too: aiohttp waits for its transport only once in 64 KiB, so up to 200 kB may be
unsent when the queue is empty. So one reader costs at most HIGH_SIZE and the page that exceeds it.
"""
NEWEST = 2000
"""Encoded messages in memory: a client that misses only some of them costs no query."""
NEWEST_SIZE = 8_000_000
"""The most characters in these messages; if they are longer, fewer are in memory."""

ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""Does not escape characters outside ASCII: an emoji would be three times as long."""
ARGUMENTS = len(f'{EVENT}["{CHAT_MESSAGE}",')
"""Where the arguments begin in the event of a chat message, encoded."""
SHARED = 32
"""Pages whose events and frames are in memory, for other clients with the same cursor."""

Numbered = tuple[int, str]
"""An offset and its event, encoded."""
Page = tuple[Numbered, ...]


class Delivery:
    """The streams of all connections.

    `attach` begins a stream and `detach` ends it: call them in the handlers of `connect` and
    `disconnect`. All messages are read from the log, so a committed message is delivered even if
    the server crashes right after the commit.
    """

    def __init__(self, sio: socketio.AsyncServer, log: Log) -> None:
        self._sio, self._log = sio, log
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._newest = _Newest(None)
        self._pages: dict[int, Page] = {}
        """The pages after a cursor that were made since the log has grown: many have the same."""
        self._events, self._frames = lru_cache(SHARED)(_events), lru_cache(SHARED)(_frames)
        log.on_commit = self._add_newest

    def attach(
        self,
        sid: str,
        offset: int | None = None,
        epoch: str | None = None,
        *,
        pages: bool = False,
    ) -> None:
        """Begin to send a connection the messages after `offset`, an offset of that epoch.

        With `pages`, messages that go out together are one event: see `messages.CHAT_MESSAGES`.

        Without an offset, a recovered connection goes on after the last message that it got. If the
        offset does not fit the log, the client gets an event about it: see `messages.Place`.
        Raises ValueError without an offset if the connection is not recovered.

        Call this last in the `connect` handler: the stream begins when the handler has returned and
        CONNECT is in the queue. Events that arrive before CONNECT are stored by the client, and it
        shows them twice if the connection is lost at that moment.
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
        self._streams[sid] = self._sio.start_background_task(
            self._stream, sid, session, place, self._log.epoch, pages
        )

    def detach(self, sid: str) -> None:
        """End the stream of a connection, if it has one."""
        if sid in self._streams:
            self._streams.pop(sid).cancel()

    async def _stream(
        self, sid: str, session: Session | None, place: Place, epoch: str | None, pages: bool
    ) -> None:
        eio_sid = self._sio.manager.eio_sid_from_sid(sid, "/")
        socket = self._sio.eio.sockets.get(eio_sid)
        if socket is None or socket.closed:  # the client left before the stream began
            self._streams.pop(sid, None)
            return
        try:
            await self._follow(socket, session, place, epoch, pages)
        except LogError:
            self._streams.pop(sid, None)
            await hang_up(socket)  # so that the client comes again, and has its place judged anew
        except Exception:
            self._streams.pop(sid, None)
            await self._sio.disconnect(sid)  # otherwise the client would wait for ever
            raise

    async def _follow(
        self,
        socket: AsyncSocket,
        session: Session | None,
        place: Place,
        epoch: str | None,
        pages: bool,
    ) -> None:
        """Send page after page to a connection, until the log fails or begins another epoch.

        Raises LogError then.
        `queued` counts the characters that were put into the queue since the reader was last waited
        for. Some may have been taken meanwhile, so it is never too small.
        """
        queue, goal, caught_up = socket.queue, self._log.head, False
        cursor, sent, queued = place.after, 0, 0
        self._announce_place(queue, place)
        while True:
            if cursor >= goal and not caught_up:
                caught_up = True
                self._announce_caught_up(queue, place, cursor, sent)
            await self._log.newer(cursor)  # returns at once if the log is ahead
            if self._log.epoch != epoch:
                raise LogError(NOT_AVAILABLE, "another copy of the log has taken over")
            head = self._log.head
            page = await self._page(cursor)
            if not page or cursor < self._log.trimmed:  # its next message was deleted meanwhile
                place = Place(self._log.trimmed if page else head, "gap")
                cursor = place.after
                self._announce_place(queue, place)
                continue
            queued += self._hand_over(socket, session, page, pages)
            cursor, sent = page[-1][0], sent + len(page)
            if queue.qsize() > HIGH_WATER or queued + queue.unsent > HIGH_SIZE:
                await queue.drain()
                queued = 0

    def _hand_over(
        self, socket: AsyncSocket, session: Session | None, page: Page, pages: bool
    ) -> int:
        """Send a page; return how many characters of it were put into the connection's queue.

        A message that is alone is the same event for all clients, so its frame is made once.
        """
        number, together = None, pages and len(page) > 1
        if session is not None:
            number = session.sent.number
            session.sent = Position(page[-1][0], number)
        if writes := writable(socket):
            writes.write(self._frames(page, number, together))
            return 0
        for data in self._events(page, number, together):
            socket.queue.put_nowait(EnginePacket(MESSAGE, data))
        return sum(map(_size, page))

    def _add_newest(self, batch: list[Message]) -> None:
        if self._newest.epoch != self._log.epoch:
            self._newest = _Newest(self._log.epoch)
        self._newest.add(batch)
        self._pages.clear()

    async def _page(self, cursor: int) -> Page:
        """Return a page of the events after the cursor, from memory or else from the log.

        It has at least one event, if the log has a message after the cursor.
        """
        if self._newest.epoch != self._log.epoch or not self._newest.has(cursor):
            return _cut(tuple(map(_numbered, await self._log.after(cursor, PAGE))))
        if cursor not in self._pages:
            self._pages[cursor] = _cut(self._newest.after(cursor))
        return self._pages[cursor]

    def _announce_place(self, queue: PollQueue, place: Place) -> None:
        """Send the event that says from where the client gets messages."""
        data = {"epoch": self._log.epoch} | place._asdict()
        queue.put_nowait(EnginePacket(MESSAGE, _event(CATCHING_UP, data)))

    def _announce_caught_up(self, queue: PollQueue, place: Place, cursor: int, sent: int) -> None:
        """Send the event that says: the client has all messages from before it connected."""
        data = {"epoch": self._log.epoch, "offset": cursor, "outcome": place.outcome, "sent": sent}
        queue.put_nowait(EnginePacket(MESSAGE, _event(CAUGHT_UP, data)))


class _Newest:
    """The newest messages of an epoch, encoded once for all connections."""

    def __init__(self, epoch: str | None) -> None:
        self.epoch = epoch
        self._encoded: list[Numbered] = []
        self._size = 0
        self._dropped = 0
        """The offset up to which messages are not in memory any more."""

    def add(self, batch: list[Message]) -> None:
        """Add committed messages, and drop the oldest ones if there are too many."""
        if self._encoded and batch[0].offset != self._encoded[-1][0] + 1:
            self._encoded, self._size = [], 0  # those between were deleted before they were read
        if not self._encoded:
            self._dropped = batch[0].offset - 1
        added = list(map(_numbered, batch))
        self._encoded += added
        self._size += sum(map(_size, added))
        excess = max(0, len(self._encoded) - NEWEST)
        self._size -= sum(map(_size, self._encoded[:excess]))
        while self._size > NEWEST_SIZE:
            self._size -= _size(self._encoded[excess])
            excess += 1
        if excess:
            self._dropped = self._encoded[excess - 1][0]
            del self._encoded[:excess]

    def has(self, cursor: int) -> bool:
        """Whether all events after the cursor are in memory."""
        return bool(self._encoded) and cursor >= self._dropped

    def after(self, cursor: int) -> Page:
        """Return the first events after the cursor, which is one that `has` allows."""
        first = bisect_right(self._encoded, cursor, key=itemgetter(0))
        return tuple(self._encoded[first : first + PAGE])


def _cut(page: Page) -> Page:
    """Return the beginning of a page that is not too large, and at least one event."""
    sizes = accumulate(map(_size, page))
    return page[: max(1, sum(size <= PAGE_SIZE for size in sizes))]


def _frames(page: Page, number: int | None, together: bool) -> bytes:
    """Return the frames of a page, joined."""
    return b"".join(frame(f"{MESSAGE}{data}") for data in _events(page, number, together))


def _events(page: Page, number: int | None, together: bool) -> tuple[str, ...]:
    """Return the events of a page; for a session, each with the position after it."""
    events = (_joined(page),) if together else page
    if number is None:
        return tuple(data for _, data in events)
    return tuple(with_offset(data, Position(offset, number)) for offset, data in events)


def _joined(page: Page) -> Numbered:
    """Return one event with the arguments of all events of a page, and the last offset."""
    rows = ",".join(f"[{data[ARGUMENTS:]}" for _, data in page)
    return page[-1][0], f'{EVENT}["{CHAT_MESSAGES}",[{rows}]]'


def _numbered(message: Message) -> Numbered:
    return message.offset, _event(CHAT_MESSAGE, message.text, message.offset)


def _event(*arguments: Any) -> str:
    return f"{EVENT}{ENCODER.encode(arguments)}"


def _size(numbered: Numbered) -> int:
    return len(numbered[1])
