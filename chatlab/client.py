"""A simulated browser tab: it shows messages, loses its connection, reloads, and comes back.

It knows the wire, and nothing of the server's insides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self

import aiohttp
import socketio
from socketio.exceptions import ConnectionError as SocketIOConnectionError

from chatlab.messages import CHAT_MESSAGE, Message, Refused

PATIENCE = 10.0
"""Seconds after which waiting for something that should happen at once is an error."""
FIRST_RETRY, LAST_RETRY = 0.02, 1.0
"""Seconds between two attempts to reconnect: the first pause, doubled up to the last."""


class ChatClient:
    """A tab of the chat page, without a browser.

    `record`, if given, is told everything that happens, as `record(kind, name, text, offset)`.
    `transports` are Socket.IO's: ("websocket",), ("polling",), or both to begin with polling.
    """

    def __init__(
        self,
        url: str,
        name: str = "client",
        *,
        record: Callable[..., None] = lambda *event: None,
        transports: tuple[str, ...] = ("websocket",),
    ) -> None:
        self.url, self.name, self.transports = url, name, list(transports)
        self._record = record
        self._sio: _Line | None = None
        self._returning: asyncio.Task[None] | None = None
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._changed = asyncio.Event()
        self.heard: dict[str, Any] = {}
        """What came last with each event that is no chat message, by the name of the event."""
        self._forget()

    def _forget(self) -> None:
        """Be a page that has just been loaded."""
        self.shown: list[Message] = []
        """The messages on the page, from top to bottom."""
        self.offset = 0
        """The offset of the last message delivered to this page; 0 before the first."""

    @property
    def messages(self) -> list[str]:
        """The texts on the page, from top to bottom."""
        return [message.text for message in self.shown]

    @property
    def connected(self) -> bool:
        """Whether the server has accepted this tab, and the connection still stands."""
        return self._sio is not None and bool(self._sio.namespaces)

    @property
    def opening(self) -> bool:
        """Whether the tab has asked the server for a connection and waits for the answer."""
        return self._sio is not None and not self.connected

    @property
    def returning(self) -> bool:
        """Whether the tab has lost its connection and is trying to get it back."""
        return self._returning is not None

    # What a person does with a tab.

    async def open(self) -> Self:
        """Load the page for the first time and connect.

        Raises ConnectionRefusedError if the server refuses, ConnectionError if it is not there.
        """
        await self._connect("join")
        return self

    async def send(self, text: str) -> Any:
        """Send a message and wait for the acknowledgement; return what the server put in it.

        Raises ConnectionError if there is no connection or it is lost before the acknowledgement
        (the message may have arrived or not), Refused if the server refuses the message.
        """
        self._check_connected()
        self._record("send", self.name, text)
        answer = await self.call(CHAT_MESSAGE, text)
        if isinstance(answer, dict) and "error" in answer:
            self._record("refuse", self.name, text)
            raise Refused(answer["error"], answer.get("message", ""))
        self._record("acknowledge", self.name, text, answer)
        return answer

    async def drop(self) -> None:
        """Lose the connection and stay offline. The page stays as it is."""
        if self._sio is not None:
            self._record("drop", self.name)
        await self._hang_up()

    async def reconnect(self) -> None:
        """Connect again, sending the offset that the page has reached."""
        if not self.connected:
            await self._hang_up()
            await self._connect("reconnect")

    async def reload(self) -> None:
        """Load the page anew: it forgets its messages and its offset, and connects."""
        await self._hang_up()
        self._forget()
        await self._connect("reload")

    async def close(self) -> None:
        """Close the tab for good."""
        if self._sio is not None or self._returning is not None:
            self._record("close", self.name)
        await self._hang_up()

    # Waiting, by condition and never by time.

    async def sees(self, count: int) -> list[str]:
        """Wait until the page shows at least `count` messages; return their texts."""
        await self.until(lambda: len(self.shown) >= count, f"shows {count} messages")
        return self.messages

    async def until(self, condition: Callable[[], bool], wish: str = "is there") -> None:
        """Wait until a condition about this tab holds.

        Raises TimeoutError, naming the wish and what the page shows, after PATIENCE seconds.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"after {PATIENCE:.0f} s {self.name} still does not do this: {wish}; "
                f"the page shows {self.messages}"
            ) from None

    # What the page's script does.

    def show(self, message: Message) -> None:
        """Put a message on the page. A subclass may be choosier, as a page's script may."""
        self.shown.append(message)
        if message.offset is not None:
            self.offset = message.offset
        self._record("show", self.name, message.text, message.offset)
        self._changed.set()

    def _received(self, sio: _Line, text: str, offset: int | None = None) -> None:
        if sio is self._sio:  # and not a late packet of a connection that was given up
            self.show(Message(offset, text))

    def _overheard(self, event: str, value: Any = None, *more: Any) -> None:
        self.heard[event] = value
        self._changed.set()

    async def call(self, event: str, *arguments: Any) -> Any:
        """Emit an event and return what the server acknowledges it with.

        Raises ConnectionError if there is no connection or it is lost before that, TimeoutError if
        there is no answer for PATIENCE seconds, as when no handler is registered for the event.
        """
        self._check_connected()
        with self._awaited() as answer:
            await self._sio.emit(
                event, arguments, callback=lambda *values: _settle(answer, (*values, None)[0])
            )
            try:
                return await asyncio.wait_for(answer, PATIENCE)
            except TimeoutError:
                raise TimeoutError(
                    f"{self.name} has had no answer to {event!r} for {PATIENCE:.0f} s"
                ) from None

    def fail(self, error: BaseException) -> bool:
        """Raise an error in everything that waits for the server; return whether a caller hears it.

        A tab that is trying to come back waits too, but no caller waits for it.
        """
        waiting = [answer for answer in self._unanswered if not answer.done()]
        for answer in waiting:
            _settle(answer, error)
        return bool(waiting) and not self.returning

    def _check_connected(self) -> None:
        if not self.connected:
            raise ConnectionError(f"{self.name} has no connection: nothing is sent")

    @contextmanager
    def _awaited(self) -> Iterator[asyncio.Future[Any]]:
        """Give a future for an answer of the server, which `fail` can find while it is awaited."""
        answer = asyncio.get_running_loop().create_future()
        self._unanswered.add(answer)
        try:
            yield answer
        finally:
            self._unanswered.discard(answer)

    async def _connect(self, kind: str) -> None:
        """Open a new connection; `kind` is what to record when the server can be reached."""
        begun = False

        def auth() -> dict[str, int]:  # asked when the transport is up, just before CONNECT
            nonlocal begun
            begun = True
            self._record(kind, self.name)
            return {"serverOffset": self.offset}

        with self._awaited() as accepted:
            self._sio = sio = _Line(accepted, self._lost)
            self._listen(sio, accepted)
            opening = asyncio.create_task(sio.open(self.url, auth, self.transports))
            try:
                async with asyncio.timeout(PATIENCE):
                    await accepted
            except BaseException as error:
                if begun and sio is self._sio:
                    self._record("drop", self.name)
                await self._hang_up()
                if isinstance(error, TimeoutError):
                    raise ConnectionError(
                        f"no answer from the server for {PATIENCE:.0f} s"
                    ) from None
                raise
            finally:
                await opening  # never cancelled: it would leave its socket behind
                if sio is not self._sio:  # given up, perhaps before there was a socket to close
                    await sio.hang_up()
        self._changed.set()

    def _listen(self, sio: _Line, accepted: asyncio.Future[None]) -> None:
        """Register what the page's script does with what comes over a connection."""
        sio.on(CHAT_MESSAGE, partial(self._received, sio))
        sio.on("*", self._overheard)
        sio.on("connect", lambda: _settle(accepted, None))
        sio.on("connect_error", lambda error: _settle(accepted, _explained(error)))
        sio.on("disconnect", lambda reason: self._lost(sio))

    def _lost(self, sio: _Line) -> None:
        """Notice that the connection is gone, though nobody asked for it: come back."""
        if sio is not self._sio:
            return
        self._sio = None
        self._record("drop", self.name)
        self.fail(ConnectionError(f"{self.name} lost the connection before the answer"))
        self._returning = asyncio.create_task(self._come_back())
        self._changed.set()

    async def _come_back(self) -> None:
        pause = FIRST_RETRY
        while not await self._answered():
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_RETRY)
        self._returning = None
        self._changed.set()

    async def _answered(self) -> bool:
        """Try to connect again; return whether there is nothing more to try.

        A tab that is refused stays away, as the official client does, and so does one that failed
        because the server did.
        """
        try:
            await self._connect("reconnect")
        except Exception as error:
            refused = isinstance(error, ConnectionRefusedError)
            return refused or not isinstance(error, ConnectionError)
        return True

    async def _hang_up(self) -> None:
        """Close the TCP connection without a goodbye, and stop trying to come back."""
        if self._returning is not None and self._returning is not asyncio.current_task():
            self._returning.cancel()
            with suppress(asyncio.CancelledError):
                await self._returning
            self._returning = None
        sio, self._sio = self._sio, None
        self.fail(ConnectionError(f"{self.name} hung up before the answer"))
        if sio is not None:
            await sio.hang_up()


class _Line(socketio.AsyncClient):
    """One connection, which tells of its end, whatever it is, and leaves nothing open.

    Its end is the end of Engine.IO's reader. Engine.IO says nothing if that comes before CONNECT is
    answered, or in the middle of an answer to a poll.
    """

    def __init__(self, accepted: asyncio.Future[None], lost: Callable[[_Line], None]) -> None:
        super().__init__(reconnection=False, handle_sigint=False)
        self._accepted, self._lost = accepted, lost
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        self.eio.http = self._session = aiohttp.ClientSession(ws_response_class=self._socket)
        self._closing: asyncio.Task[None] | None = None

    def _socket(self, *args: Any, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Make a WebSocket, and remember it: Engine.IO does not close it at every kind of end."""
        self._sockets.append(aiohttp.ClientWebSocketResponse(*args, **options))
        return self._sockets[-1]

    async def open(self, url: str, auth: Callable[[], Any], transports: list[str]) -> None:
        """Open the transport. That it cannot be opened is told through `accepted`, as a refusal."""
        if self._accepted.done():  # given up before it began
            return
        try:
            await self.connect(url, auth=auth, transports=transports, wait=False)
        except (SocketIOConnectionError, aiohttp.ClientError, TimeoutError) as error:
            await self.hang_up()
            _settle(self._accepted, _explained(error))
        else:
            self.eio.read_loop_task.add_done_callback(self._ended)

    def _ended(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled():
            reader.exception()  # how the connection broke: no more than any other loss
        self._closing = self._closing or asyncio.create_task(self._close())
        if not self._accepted.done():
            lost = ConnectionError("the connection was lost before the server answered")
            _settle(self._accepted, lost)
        elif not self._accepted.cancelled() and self._accepted.exception() is None:
            self._lost(self)

    async def hang_up(self) -> None:
        """Close the TCP connection, if there is one, and wait until its tasks have ended."""
        closing, self._closing = self._closing, asyncio.create_task(self._close())
        await asyncio.wait(filter(None, (closing, self._closing)))  # both go on if we are cancelled

    async def _close(self) -> None:
        # Cancelled first: on polling they would make their next request with another session.
        await _cancelled(self.eio.read_loop_task, self.eio.write_loop_task)
        for session in filter(None, (self._session, self.eio.http)):
            await session.close()
        for socket in self._sockets:
            await socket.close()
        await self.eio.disconnect(abort=True)  # there is nobody to tell any more: it tidies up


async def _cancelled(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel tasks until they have ended: Python 3.11's `wait_for` may swallow a cancellation."""
    while running := [task for task in tasks if task is not None and not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.sleep(0)


def _settle(answer: asyncio.Future[Any], outcome: Any) -> None:
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
