"""A simulated browser tab: it shows messages, loses its connection, reloads, and comes back.

It knows the wire, and nothing of the server's insides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self

from chatlab.client.connection import Line, settle
from chatlab.client.outbox import Outbox
from chatlab.client.sender import FIRST_RETRY, Postman, accepted, rest
from chatlab.messages import CATCHING_UP, CAUGHT_UP, CHAT_MESSAGE, WHERE, Message, Refused

PATIENCE = 10.0
"""Seconds after which waiting for something that should happen at once is an error."""


class ChatClient:
    """A tab of the chat page, without a browser.

    `record`, if given, is told everything that happens, as `record(kind, name, text, offset)`.
    `transports` are Socket.IO's: ("websocket",), ("polling",), or both to begin with polling.
    `outbox` makes the tab's outbox: what it has to send outlives its connection and its page.
    With `recover`, it asks for connection state recovery, as the official client always does.
    `auth` is what else it says whenever it connects: a join code and a name, for instance.
    """

    def __init__(
        self,
        url: str,
        name: str = "client",
        *,
        record: Callable[..., None] = lambda *event: None,
        transports: tuple[str, ...] = ("websocket",),
        outbox: Callable[[], Outbox] = Outbox,
        recover: bool = False,
        auth: Mapping[str, Any] | None = None,
    ) -> None:
        self.url, self.name, self.transports = url, name, list(transports)
        self._recover = recover
        self.auth = dict(auth or {})
        self._record = record
        self._sio: Line | None = None
        self._returning: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._unanswered: dict[asyncio.Future[Any], bool] = {}
        """What is awaited of the server, and whether a caller waits for it."""
        self._changed = asyncio.Event()
        self._postman = Postman(
            outbox(),
            ready=partial(self._wait_for, lambda: self.connected),
            ask=partial(self._ask, CHAT_MESSAGE, heard=False),
            record=lambda kind, *message: record(kind, name, *message),
            changed=self._changed.set,
        )
        self._told = False
        """Whether the server has said where it goes on, on this connection."""
        self.heard: dict[str, Any] = {}
        """What came last with each event that is no chat message, by the name of the event."""
        self._forget()

    def _forget(self) -> None:
        """Be a page that has just been loaded."""
        self.shown: list[Message] = []
        """The messages on the page, from top to bottom."""
        self.offset = 0
        """The offset of the last message delivered to this page; 0 before the first."""
        self.epoch: str | None = None
        """The epoch of the log that it counts in, if the server has told one."""
        self.recovered = False
        """Whether the server has given this page its session again, when it came last."""
        self.session: dict[str, str] = {"pid": ""} if self._recover else {}
        """What the server needs for that: the pid, which is a secret, and the position in the last
        event. A tab that has another tab's is that tab, for the server."""

    @property
    def messages(self) -> list[str]:
        """The texts on the page, from top to bottom."""
        return [message.text for message in self.shown]

    @property
    def connected(self) -> bool:
        """Whether the server has accepted this tab, and the connection still stands."""
        sio = self._sio  # another thread may look while this one hangs up
        return sio is not None and bool(sio.namespaces)

    @property
    def outcome(self) -> dict[str, Any] | None:
        """What the server said when this connection had caught up; None before that."""
        return self.heard.get(CAUGHT_UP)

    @property
    def opening(self) -> bool:
        """Whether the tab has asked the server for a connection and waits for the answer."""
        return self._sio is not None and not self.connected

    @property
    def outbox(self) -> Outbox:
        """What the tab has to send."""
        return self._postman.outbox

    @property
    def pending(self) -> list[str]:
        """The texts in the outbox: the server has not answered them yet."""
        return [letter.text for letter in self.outbox.pending]

    @property
    def refused(self) -> list[tuple[str, Refused]]:
        """The messages from the outbox that the server has refused, each with its reason."""
        return self._postman.refused

    @property
    def posting(self) -> bool:
        """Whether the tab has letters to send, and a connection to send them."""
        return self._postman.busy and self.connected

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
        """Send a message once and wait for the acknowledgement; return what the server put in it.

        Raises ConnectionError if there is no connection or it is lost before the acknowledgement
        (the message may have arrived or not), Refused if the server refuses the message.
        """
        self._check_connected()
        self._record("send", self.name, text)
        try:
            answer = accepted(await self.call(CHAT_MESSAGE, text))
        except Refused:
            self._record("refuse", self.name, text)
            raise
        self._record("acknowledge", self.name, text, answer)
        return answer

    def post(self, text: str) -> None:
        """Put a message into the outbox. It is sent, and sent again, until the server answers it.

        A refused one is found in `refused`, and the others go on.
        """
        self._record("send", self.name, text)
        self.outbox.add(text)
        if not self.connected:
            self._postman.interrupt()
        self._postman.begin()

    async def drop(self) -> None:
        """Lose the connection and stay offline. The page stays as it is."""
        if self._sio is not None:
            self._record("drop", self.name)
        await self._hang_up()

    async def disconnect(self) -> None:
        """Say goodbye and go offline. The page stays as it is; the server keeps nothing for it."""
        if self._sio is not None:
            self._record("drop", self.name)
            await self._sio.goodbye()
        await self._hang_up()

    async def reconnect(self) -> None:
        """Connect again, sending the offset that the page has reached."""
        if not self.connected:
            await self._hang_up()
            await self._connect("reconnect")

    async def reload(self) -> None:
        """Load the page anew: it forgets its messages and its offset, and connects.

        The outbox stays, as what a page keeps in the browser's storage does.
        """
        await self._hang_up()
        self._forget()
        await self._connect("reload")

    async def close(self) -> None:
        """Close the tab for good."""
        if self._sio is not None or self._returning is not None:
            self._record("close", self.name)
        await self._hang_up()
        await self._postman.stop()

    # Waiting, by condition and never by time.

    async def sees(self, count: int) -> list[str]:
        """Wait until the page shows at least `count` messages; return their texts."""
        await self.until(lambda: len(self.shown) >= count, f"shows {count} messages")
        return self.messages

    async def until(
        self,
        condition: Callable[[], bool],
        wish: str = "is there",
        patience: float | None = None,
    ) -> None:
        """Wait until a condition about this tab holds.

        Raises TimeoutError, naming the wish and what the page shows, after `patience` seconds, or
        PATIENCE.
        """
        patience = patience or PATIENCE
        try:
            async with asyncio.timeout(patience):
                await self._wait_for(condition)
        except TimeoutError:
            raise TimeoutError(
                f"after {patience:.0f} s {self.name} still does not do this: {wish}; "
                f"the page shows {self.messages}"
            ) from None

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    # What the page's script does.

    def show(self, message: Message) -> None:
        """Put a message on the page. A subclass may be choosier, as a page's script may."""
        self.shown.append(message)
        if message.offset is not None:
            self.offset = message.offset
        self._record("show", self.name, message.text, message.offset)
        self._changed.set()

    def _received(self, sio: Line, text: str, offset: int | None = None, *more: Any) -> None:
        if sio is self._sio:  # and not a late packet of a connection that was given up
            if not self._told:  # a server that knows no epochs goes on: they mean nothing now
                self.epoch = None
            self.show(Message(offset, text))
            self._note(*more)

    def _placed(self, sio: Line, place: dict[str, Any]) -> None:
        """Hear where the server goes on, before it does."""
        if sio is not self._sio:
            return
        self._told = True
        if place["outcome"] != "continued":
            self._record(place["outcome"], self.name, None, place["after"])
        if place["outcome"] == "reset":
            self.shown = []
        self.offset, self.epoch = place["after"], place["epoch"]

    def _overheard(self, sio: Line, event: str, value: Any = None, *more: Any) -> None:
        self.heard[event] = value
        if sio is self._sio:
            self._note(value, *more)
        self._changed.set()

    def _note(self, *arguments: Any) -> None:
        """Note the position that is the last argument of an event, if that is a string."""
        if self.session and arguments and isinstance(arguments[-1], str):
            self.session["offset"] = arguments[-1]

    async def call(self, event: str, *arguments: Any) -> Any:
        """Emit an event and return what the server acknowledges it with.

        Raises ConnectionError if there is no connection or it is lost before that, TimeoutError if
        there is no answer for PATIENCE seconds, as when no handler is registered for the event.
        """
        return await self._ask(event, *arguments, heard=True)

    async def _ask(self, event: str, *arguments: Any, heard: bool) -> Any:
        self._check_connected()
        with self._awaited(heard) as answer:
            await self._sio.emit(
                event, arguments, callback=lambda *values: settle(answer, (*values, None)[0])
            )
            try:
                return await asyncio.wait_for(answer, PATIENCE)
            except TimeoutError:
                raise TimeoutError(
                    f"{self.name} has had no answer to {event!r} for {PATIENCE:.0f} s"
                ) from None

    def fail(self, error: BaseException) -> bool:
        """Raise an error in everything that waits for the server; return whether a caller hears it.

        A tab that is trying to come back, or to empty its outbox, waits too, and no caller for it.
        """
        waiting = {answer: heard for answer, heard in self._unanswered.items() if not answer.done()}
        for answer in waiting:
            settle(answer, error)
        return any(waiting.values())

    def _check_connected(self) -> None:
        if not self.connected:
            raise ConnectionError(f"{self.name} has no connection: nothing is sent")

    @contextmanager
    def _awaited(self, heard: bool) -> Iterator[asyncio.Future[Any]]:
        """Give a future for an answer of the server, which `fail` can find while it is awaited."""
        answer = asyncio.get_running_loop().create_future()
        self._unanswered[answer] = heard
        try:
            yield answer
        finally:
            del self._unanswered[answer]

    # The connection.

    async def _connect(self, kind: str) -> None:
        """Open a new connection; `kind` is what to record when the server can be reached."""
        begun = False

        def auth() -> dict[str, Any]:  # asked when the transport is up, just before CONNECT
            nonlocal begun
            begun = True
            self._record(kind, self.name)
            epoch = {} if self.epoch is None else {"epoch": self.epoch}
            return self.auth | {"serverOffset": self.offset} | epoch | self.session

        with self._awaited(heard=not self.returning) as accepted:
            self.heard.pop(CAUGHT_UP, None)
            self._told = False
            self._sio = sio = Line(accepted, self._lost)
            self._listen(sio)
            sio.open(self.url, auth, self.transports)
            try:
                async with asyncio.timeout(PATIENCE):
                    welcome = await accepted
            except BaseException as error:
                if begun and sio is self._sio:
                    self._record("drop", self.name)
                await self._hang_up()
                if isinstance(error, TimeoutError):
                    raise ConnectionError(
                        f"no answer from the server for {PATIENCE:.0f} s"
                    ) from None
                raise
        if self.session:
            pid = welcome.get("pid", "")
            self.recovered = bool(pid) and pid == self.session["pid"]
            self.session["pid"] = pid
        self._changed.set()
        self._postman.begin()

    def _listen(self, sio: Line) -> None:
        """Register what the page's script does with what comes over a connection."""
        sio.on(CHAT_MESSAGE, partial(self._received, sio))
        sio.on(CATCHING_UP, partial(self._placed, sio))
        sio.on(WHERE, lambda *words: self.offset)
        sio.on("*", partial(self._overheard, sio))

    def _lost(self, sio: Line) -> None:
        """Notice that the connection is gone, though nobody asked for it: come back."""
        if sio is not self._sio:
            return
        self._let_go()
        self._record("drop", self.name)
        self.fail(ConnectionError(f"{self.name} lost the connection before the answer"))
        self._returning = asyncio.create_task(self._come_back())
        self._changed.set()

    async def _come_back(self) -> None:
        pause = FIRST_RETRY
        while not await self._answered():
            pause = await rest(pause)
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
        self._let_go()
        self.fail(ConnectionError(f"{self.name} hung up before the answer"))
        if self._closing:
            await asyncio.wait(self._closing)  # it goes on if we are cancelled: the next one waits

    def _let_go(self) -> None:
        """Close what is left of the connection, in a task of its own."""
        if self._sio is not None:
            self._closing.add(closing := asyncio.create_task(self._sio.close()))
            closing.add_done_callback(self._closing.discard)
            self._sio = None
            self._postman.interrupt()
