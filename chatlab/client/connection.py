"""One connection of a simulated tab, from its opening until nothing of it is left.

The client of Engine.IO does not tell every kind of end, and leaves sockets open at some. This one
does, and leaves none. It knows Socket.IO, and no chat.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import aiohttp
import socketio
from socketio.packet import CONNECT, DISCONNECT

SILENT = logging.Logger("chatlab.client.connection", logging.CRITICAL)
"""Engine.IO logs some ends of a connection as errors, in whichever cell happens to run. Here they
are no more than any other loss."""


class Line(socketio.AsyncClient):
    """A connection that is opened once, and does not come back by itself.

    `accepted` gets what the server says when it accepts the connection, or ConnectionError.
    `lost` is called with the line when an accepted connection ends, whoever ends it.
    """

    def __init__(
        self, accepted: asyncio.Future[dict[str, Any]], lost: Callable[[Line], None]
    ) -> None:
        super().__init__(reconnection=False, handle_sigint=False, engineio_logger=SILENT)
        self._accepted, self._lost = accepted, lost
        self._welcome: dict[str, Any] = {}
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        self.eio.http = self._session = aiohttp.ClientSession(ws_response_class=self._socket)
        self.eio.on("message", partial(self._receive, self.eio.handlers["message"]))
        self.on("connect", lambda: settle(accepted, self._welcome))
        self.on("connect_error", lambda error: settle(accepted, _explained(error)))
        self.on("disconnect", lambda reason: lost(self))

    def open(self, url: str, auth: Callable[[], Any], transports: list[str]) -> None:
        """Begin to connect. `auth` is asked when the transport is up, just before CONNECT."""
        # Never cancelled: it would leave its socket behind.
        self._opening = asyncio.create_task(self._open(url, auth, transports))

    async def goodbye(self) -> None:
        """Tell the server that this client leaves, if it can still be told."""
        if (writer := self.eio.write_loop_task) is not None:
            await self.eio.send(str(DISCONNECT))
            said = asyncio.create_task(self.eio.queue.join())
            await asyncio.wait([said, writer], return_when=asyncio.FIRST_COMPLETED)
            said.cancel()

    async def close(self) -> None:
        """Close the TCP connection, if there is one, and wait until its tasks have ended."""
        given_up = not self._opening.done()
        await self._cut()
        if given_up:  # it goes on a little, and may open what was closed
            await asyncio.wait([self._opening])
            await self._cut()
        await self.eio.disconnect(abort=True)  # there is nobody to tell any more: it tidies up

    async def _open(self, url: str, auth: Callable[[], Any], transports: list[str]) -> None:
        if self._accepted.done():  # given up before it began
            return
        try:
            await self.connect(url, auth=auth, transports=transports, wait=False)
        except Exception as error:  # aiohttp has many for a line that breaks, AssertionError too
            settle(self._accepted, _explained(error))
        else:
            for loop in (self.eio.read_loop_task, self.eio.write_loop_task):
                if loop is None:  # Engine.IO forgets a writer that has ended
                    self._ended()
                else:
                    loop.add_done_callback(self._ended)

    def _ended(self, loop: asyncio.Task[None] | None = None) -> None:
        """Take the end of Engine.IO's reader or writer for the end of the connection.

        Engine.IO says nothing if it comes before CONNECT is answered, or in the middle of an answer
        to a poll; and a reader goes on polling when nothing can be sent any more.
        """
        if loop is not None and not loop.cancelled():
            loop.exception()  # how the connection broke: no more than any other loss
        if not self._accepted.done():
            lost = ConnectionError("the connection was lost before the server answered")
            settle(self._accepted, lost)
        elif not self._accepted.cancelled() and self._accepted.exception() is None:
            self._lost(self)

    async def _receive(self, receive: Callable[[Any], Awaitable[None]], packet: Any) -> None:
        """Hand a packet on, and keep all of a welcome: python-socketio keeps the sid alone."""
        if isinstance(packet, str) and packet.startswith(str(CONNECT)):
            self._welcome = json.loads(packet[1:] or "{}")
        await receive(packet)

    def _socket(self, *args: Any, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Make a WebSocket, and remember it: Engine.IO does not close it at every kind of end."""
        self._sockets.append(aiohttp.ClientWebSocketResponse(*args, **options))
        return self._sockets[-1]

    async def _cut(self) -> None:
        # Cancelled first: on polling they would make their next request with another session.
        await _cancelled(self.eio.read_loop_task, self.eio.write_loop_task)
        for session in filter(None, (self._session, self.eio.http)):
            await session.close()
        for socket in self._sockets:
            await socket.close()


async def _cancelled(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel tasks until they have ended: Python 3.11's `wait_for` may swallow a cancellation."""
    while running := [task for task in tasks if task is not None and not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.sleep(0)


def settle(answer: asyncio.Future[Any], outcome: Any) -> None:
    """Answer with a value or an error, unless nobody waits any more."""
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _explained(error: Any) -> ConnectionError:
    """Turn what Socket.IO says about a failed connection into an exception."""
    if isinstance(error, dict):
        return ConnectionRefusedError(f"the server refused the connection: {error['message']}")
    return ConnectionError(f"the server cannot be reached: {error}")
