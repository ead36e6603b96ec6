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
from operator import itemgetter

import socketio
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.packet import EVENT

from chatlab.log import MessageLog
from chatlab.messages import CHAT_MESSAGE, Message
from chatlab.recovery import session_of
from chatlab.sessions import Position, Session, with_offset

PAGE = 50
"""Messages that are read and handed over at a time. More of them are hardly quicker, and a reader
that has stopped holds a page and a full queue of them, each of up to 40 kB."""
HIGH_WATER = 50
"""Packets that may wait in the queue of one connection before its reader is waited for."""
NEWEST = 2000
"""Messages kept in memory, encoded, so that those who are nearly up to date cost no query."""

Numbered = tuple[int, EnginePacket]


class Delivery:
    """The streams of all connections.

    `attach` begins a stream and `detach` ends it: call them in the handlers of `connect` and
    `disconnect`. The messages come from the log alone, so a message that is committed is delivered
    even if the server dies right after the commit.
    """

    def __init__(self, sio: socketio.AsyncServer, log: MessageLog) -> None:
        self._sio, self._log = sio, log
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._newest: list[Numbered] = []
        self._forgotten = 0
        """All messages after this offset are in `_newest`, if it holds any."""
        log.on_commit = self._remember

    def attach(self, sid: str, offset: int | None = None) -> None:
        """Begin to send a connection the messages after `offset`.

        Without an offset, one that is recovered goes on after the last message that it got.

        Call it last in the `connect` handler: the stream begins when the handler has returned and
        CONNECT is on its way. A client keeps what arrives before CONNECT apart, and shows it twice
        if the connection is lost at that moment.
        """
        self.detach(sid)
        session = session_of(self._sio, sid)
        if offset is None:
            offset = session.sent.cursor
        elif session is not None:
            session.start = session.sent = Position(offset, session.sent.number)
        self._streams[sid] = self._sio.start_background_task(self._stream, sid, session, offset)

    def detach(self, sid: str) -> None:
        """End a stream, wherever it is."""
        if sid in self._streams:
            self._streams.pop(sid).cancel()

    async def _stream(self, sid: str, session: Session | None, cursor: int) -> None:
        eio_sid = self._sio.manager.eio_sid_from_sid(sid, "/")
        socket = self._sio.eio.sockets.get(eio_sid)
        if socket is None or socket.closed:  # gone before it began
            self._streams.pop(sid, None)
            return
        try:
            await self._follow(socket.queue, session, cursor)
        except Exception:
            self._streams.pop(sid, None)
            await self._sio.disconnect(sid)  # better told plainly than left waiting for ever
            raise

    async def _follow(
        self, queue: asyncio.Queue[EnginePacket], session: Session | None, cursor: int
    ) -> None:
        """Send page after page to a connection's queue, for ever."""
        while True:
            for offset, packet in await self._page(cursor):
                queue.put_nowait(_recoverable(packet, session, offset) if session else packet)
                cursor = offset
            if queue.qsize() > HIGH_WATER:
                await queue.join()  # until the socket has taken them: the reader sets the pace
            await self._log.newer(cursor)  # returns at once if the log is ahead

    async def _page(self, cursor: int) -> list[Numbered]:
        """Return the packets after the cursor, at most PAGE: from memory, or else from the log."""
        if self._newest and cursor >= self._forgotten:
            first = bisect_right(self._newest, cursor, key=itemgetter(0))
            return self._newest[first : first + PAGE]
        return [_numbered(message) for message in await self._log.after(cursor, PAGE)]

    def _remember(self, batch: list[Message]) -> None:
        """Encode what was committed, once for all connections, and keep the newest."""
        if not self._newest:
            self._forgotten = batch[0].offset - 1
        self._newest += map(_numbered, batch)
        excess = len(self._newest) - NEWEST
        if excess > 0:
            self._forgotten = self._newest[excess - 1][0]
            del self._newest[:excess]


def _recoverable(packet: EnginePacket, session: Session, offset: int) -> EnginePacket:
    """Send a session on to a message; return the packet with the position that it has then."""
    session.sent = session.sent._replace(cursor=offset)
    return EnginePacket(MESSAGE, with_offset(packet.data, session.sent))


def _numbered(message: Message) -> Numbered:
    arguments = [CHAT_MESSAGE, message.text, message.offset]
    # What is not ASCII stays as it is: escaped, an emoji would take three times the room.
    event = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return message.offset, EnginePacket(MESSAGE, f"{EVENT}{event}")
