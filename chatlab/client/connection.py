"""One connection of a tab, from its opening until nothing of it is left.

Engine.IO's client does not report every kind of end, and leaves sockets open at some. This one
reports all, and leaves none. It knows Socket.IO, and no chat.

This module alone uses what Engine.IO's and Socket.IO's clients do not document: `eio.http`,
`eio.external_http`, `eio.handlers`, `eio.queue`, `eio.read_loop_task`, `eio.write_loop_task` and
`namespaces`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import socketio
from socketio.packet import CONNECT, DISCONNECT

from chatlab.messages import NOT_AVAILABLE

PATIENCE = 10.0
"""Seconds after which waiting for something that should happen at once is an error."""
SILENT = logging.Logger("chatlab.client.connection", logging.CRITICAL)
"""Engine.IO logs some ends of a connection as errors, in whichever cell happens to run. Here such
an end is a loss like any other."""


class Connection(socketio.AsyncClient):
    """A connection that is opened once, and does not come back by itself.

    `lost` is called with it when it ends after it was accepted, whichever side ends it.
    `for_caller` says whether a caller of the tab waits until it is accepted.
    """

    def __init__(self, lost: Callable[[Connection], None], *, for_caller: bool = True) -> None:
        super().__init__(reconnection=False, handle_sigint=False, engineio_logger=SILENT)
        self.reached = False
        """Whether the server could be reached: the transport was up at some time."""
        self._lost = lost
        self._unanswered: dict[asyncio.Future[Any], bool] = {}
        """For each answer that the server has not given yet, whether a caller waits for it."""
        self.accepted: asyncio.Future[dict[str, Any]] = self._expect(for_caller)
        """The server's answer to CONNECT, or ConnectionError."""
        self._welcome: dict[str, Any] = {}
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        self.eio.http = self._session = aiohttp.ClientSession(ws_response_class=self._socket)
        # Engine.IO would close it in a task that `_cut` cancels: then nobody waits for aiohttp's
        # end of the connection, and its error lands in whichever cell happens to run.
        self.eio.external_http = True
        self.eio.on("message", partial(self._receive, self.eio.handlers["message"]))
        self.on("connect", lambda: settle(self.accepted, self._welcome))
        self.on("connect_error", lambda error: settle(self.accepted, _explained(error)))
        self.on("disconnect", lambda reason: lost(self))

    @property
    def stands(self) -> bool:
        """Whether the server has accepted the connection, and it has not ended."""
        return bool(self.namespaces)

    def open(self, url: str, auth: Callable[[], Any], transports: list[str]) -> None:
        """Begin to connect. `auth` is called when the transport is up, just before CONNECT."""

        def reached() -> Any:
            self.reached = True
            return auth()

        # Never cancelled: it would leave its socket behind.
        self._opening = asyncio.create_task(self._open(url, reached, transports))

    async def ask(self, event: str, arguments: tuple[Any, ...], for_caller: bool) -> Any:
        """Emit an event and return the first value of the server's acknowledgement, or None."""
        answer = self._expect(for_caller)

        def answered(*values: Any) -> None:
            # A turn later: what the server emitted before may be an error for this caller.
            asyncio.get_running_loop().call_soon(settle, answer, (*values, None)[0])

        try:
            await self.emit(event, arguments, callback=answered)
            return await answer
        finally:
            answer.cancel()  # if the event could not even be emitted

    def fail(self, error: BaseException) -> bool:
        """Raise an error in all that waits for an answer; return whether a caller sees it."""
        waiting = [answer for answer in self._unanswered if not answer.done()]
        for answer in waiting:
            answer.set_exception(error)
        return any(self._unanswered[answer] for answer in waiting)

    async def goodbye(self) -> None:
        """Tell the server that this client leaves, if the connection can still send."""
        if (writer := self.eio.write_loop_task) is not None:
            await self.eio.send(str(DISCONNECT))
            sent = asyncio.create_task(self.eio.queue.join())
            await asyncio.wait([sent, writer], return_when=asyncio.FIRST_COMPLETED)
            sent.cancel()

    async def close(self) -> None:
        """Close the TCP connection, if there is one, and wait until its tasks have ended."""
        unfinished = not self._opening.done()
        await self._cut()
        if unfinished:  # it goes on for a moment, and may open again what was closed
            await asyncio.wait([self._opening])
            await self._cut()
        await self.eio.disconnect(abort=True)  # sends nothing: it resets its own state

    def _expect(self, for_caller: bool) -> asyncio.Future[Any]:
        answer = asyncio.get_running_loop().create_future()
        self._unanswered[answer] = for_caller
        answer.add_done_callback(self._unanswered.pop)
        return answer

    async def _open(self, url: str, auth: Callable[[], Any], transports: list[str]) -> None:
        if self.accepted.done():  # given up before it began
            return
        try:
            await self.connect(url, auth=auth, transports=transports, wait=False)
        except Exception as error:  # aiohttp has many for a broken connection, AssertionError too
            settle(self.accepted, _explained(error))
        else:
            for loop in (self.eio.read_loop_task, self.eio.write_loop_task):
                if loop is None:  # Engine.IO forgets a writer that has ended
                    self._ended()
                else:
                    loop.add_done_callback(self._ended)

    def _ended(self, loop: asyncio.Task[None] | None = None) -> None:
        """Treat the end of Engine.IO's reader or writer as the end of the connection.

        Engine.IO reports no end before CONNECT is answered, nor in the middle of an answer to a
        poll; and its reader goes on polling when nothing can be sent any more.
        """
        if loop is not None and not loop.cancelled():
            loop.exception()  # how it broke does not matter: it is a loss like any other
        if not self.accepted.done():
            lost = ConnectionError("the connection was lost before the server answered")
            settle(self.accepted, lost)
        elif not self.accepted.cancelled() and self.accepted.exception() is None:
            self._lost(self)

    async def _receive(self, receive: Callable[[Any], Awaitable[None]], packet: Any) -> None:
        """Keep all of the answer to CONNECT, of which python-socketio keeps the sid alone."""
        if isinstance(packet, str) and packet.startswith(str(CONNECT)):
            self._welcome = json.loads(packet[1:] or "{}")
        await receive(packet)

    def _socket(self, *args: Any, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Make a WebSocket, and remember it: Engine.IO does not close it at every kind of end."""
        self._sockets.append(aiohttp.ClientWebSocketResponse(*args, **options))
        return self._sockets[-1]

    async def _cut(self) -> None:
        # First the tasks: on polling they would make their next request with another session.
        tasks = (self.eio.read_loop_task, self.eio.write_loop_task)
        while running := [task for task in tasks if task is not None and not task.done()]:
            for task in running:  # again and again: Python 3.11's `wait_for` may swallow it
                task.cancel()
            await asyncio.sleep(0)
        for session in filter(None, (self._session, self.eio.http)):
            await session.close()
        for socket in self._sockets:
            await socket.close()


def settle(answer: asyncio.Future[Any], outcome: Any) -> None:
    """Answer with a value or an error, unless nothing waits for it any more."""
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


@asynccontextmanager
async def in_time(
    complaint: Callable[[float], Exception], patience: float | None = None
) -> AsyncIterator[None]:
    """Raise `complaint(patience)` if the block takes more than `patience` seconds, or PATIENCE."""
    patience = patience or PATIENCE
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError:
        raise complaint(patience) from None


def _is_for_now(data: Any) -> bool:
    """Whether a refusal says that the client should come again."""
    return isinstance(data, dict) and data.get("error") == NOT_AVAILABLE


def _explained(error: Any) -> ConnectionError:
    """Make an exception of what Socket.IO says about a failed connection."""
    if isinstance(error, dict):
        kind = ConnectionError if _is_for_now(error.get("data")) else ConnectionRefusedError
        return kind(f"the server refused the connection: {error['message']}")
    return ConnectionError(f"the server cannot be reached: {error}")
