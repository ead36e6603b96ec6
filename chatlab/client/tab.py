"""A simulated browser tab: it shows messages, loses its connection, reloads, and comes back.

It knows the events between client and server, and nothing of what is inside a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from chatlab.client.connection import Connection, in_time
from chatlab.client.connector import Connector
from chatlab.client.outbox import Outbox
from chatlab.client.page import Page
from chatlab.client.sender import Sender
from chatlab.client.waiting import Waiting
from chatlab.messages import CHAT_MESSAGE, Message, Refused
from chatlab.mistakes import awaited, expect, is_count


def _of(part: str, name: str) -> Any:
    """Make an attribute of a tab that is the attribute `name` of a part, and documented there."""
    return property(
        lambda tab: getattr(getattr(tab, part), name),
        lambda tab, value: setattr(getattr(tab, part), name, value),
    )


def _check_options(name: str, transports: tuple[str, ...], outbox: Callable[[], Outbox]) -> None:
    expect(isinstance(name, str), "the name of a tab is a text", name)
    several = not isinstance(transports, str)
    expect(several, 'transports are ("websocket",), ("polling",) or both', transports)
    expect(callable(outbox), "outbox is a class, such as Outbox, without a call", outbox)


@awaited
class ChatClient:
    """A tab of the chat page, without a browser.

    `record(kind, name, text, offset)`, if given, is called for everything that happens.
    `transports` are Socket.IO's: ("websocket",), ("polling",), or both to begin with polling.
    `outbox` makes the tab's outbox, which outlives its connections and its pages.
    With `recover`, it asks for connection state recovery, as the official client always does.
    `auth` is sent with each connection: a join code and a name, for instance.
    """

    shown: list[Message] = _of("_page", "shown")
    messages: list[str] = _of("_page", "messages")
    offset: int = _of("_page", "offset")
    epoch: str | None = _of("_page", "epoch")
    session: dict[str, str] = _of("_page", "session")
    heard: dict[str, Any] = _of("_page", "heard")
    outcome: dict[str, Any] | None = _of("_page", "outcome")
    recovered: bool = _of("_page", "recovered")
    connected: bool = _of("_connector", "connected")
    opening: bool = _of("_connector", "opening")
    returning: bool = _of("_connector", "returning")
    refused: list[tuple[str, Refused]] = _of("_sender", "refused")
    pending: list[str] = _of("_sender", "pending")

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
        _check_options(name, transports, outbox)
        self.url, self.name, self.transports = url, name, list(transports)
        self.auth = dict(auth or {})
        self.outbox = outbox()
        self._record = lambda kind, *message: record(kind, name, *message)
        self._new_page = lambda: Page(recover, self.show, self._record)
        self._page, self._kind = self._new_page(), "join"  # to record when the server is reached
        self._waiting = Waiting()
        self.report: Callable[[Exception], None] = self._waiting.keep
        """What gets an error in an event of the server. A caller of the tab does, or a lab."""
        self._connector = Connector(
            name,
            start=self._start,
            accepted=self._accepted,
            receive=self._receive,
            record=self._record,
            changed=self._connection_changed,
        )
        self._sender = Sender(
            self.outbox,
            ready=lambda: self._waiting.until(lambda: self.connected),
            ask=partial(self._connector.ask, CHAT_MESSAGE),
            record=self._record,
            changed=self._waiting.changed.set,
            failed=self._waiting.keep,
        )

    @property
    def posting(self) -> bool:
        """Whether the tab has messages to send, and a connection to send them."""
        return self._sender.busy and self.connected

    # What a person does with a tab.

    async def open(self) -> Self:
        """Load the page for the first time and connect.

        Raises ConnectionRefusedError if the server refuses, ConnectionError if it is not there.
        """
        await self._connector.connect()
        return self

    async def send(self, text: str) -> Any:
        """Send a message once and wait for the acknowledgement; return what the server put in it.

        Raises ConnectionError if there is no connection or it is lost before the acknowledgement
        (the message may have arrived or not), Refused if the server refuses the message.
        """
        self._connector.check()
        return await self._sender.send_once(text)

    def post(self, text: str) -> None:
        """Put a message into the outbox. It is sent, and sent again, until the server answers it.

        A refused one is found in `refused`, and the others go on.
        """
        self._sender.add(text, self.connected)

    async def drop(self) -> None:
        """Lose the connection and stay offline. The page stays as it is."""
        await self._connector.drop()

    async def disconnect(self) -> None:
        """Say goodbye and go offline. The page stays as it is; the server keeps nothing for it."""
        await self._connector.drop(goodbye=True)

    async def reconnect(self) -> None:
        """Connect again, sending the offset that the page has reached."""
        if not self.connected:
            await self._connector.hang_up()
            await self._connector.connect()

    async def reload(self) -> None:
        """Load the page anew: it forgets its messages and its offset. The outbox stays."""
        await self._connector.hang_up()
        self._page, self._kind = self._new_page(), "reload"
        await self._connector.connect()

    async def close(self) -> None:
        """Close the tab for good."""
        if self._connector.current is not None or self.returning:
            self._record("close")
        await self._connector.hang_up()
        await self._sender.stop()

    # Waiting, by condition and never by time.

    async def sees(self, count: int) -> list[str]:
        """Wait until the page shows at least `count` messages; return their texts."""
        expect(is_count(count), "sees takes a number of messages", count)
        await self.until(lambda: len(self.shown) >= count, f"shows {count} messages")
        return self.messages

    async def until(
        self,
        condition: Callable[[], bool],
        wish: str = "is there",
        patience: float | None = None,
        *,
        failing: bool = True,
    ) -> None:
        """Wait until a condition about this tab holds.

        Raises TimeoutError, naming the wish and what the page shows, after `patience` seconds, or
        PATIENCE; an error of the outbox; and, if `failing`, one of the server in a lab.
        """
        expect(callable(condition), "until takes a function, such as `lambda: ...`", condition)
        async with in_time(
            lambda s: TimeoutError(
                f"after {s:.0f} s {self.name} still does not do this: {wish}; "
                f"the page shows {self.messages}"
            ),
            patience,
        ):
            await self._waiting.for_caller(condition, failing)

    # What the page's script does.

    def show(self, message: Message) -> None:
        """Put a message on the page. A subclass may show fewer, as the script of a page may."""
        self._page.add(message)

    async def call(self, event: str, *arguments: Any) -> Any:
        """Emit an event and return what the server acknowledges it with.

        Raises ConnectionError if there is no connection or it is lost before that, TimeoutError if
        there is no answer for PATIENCE seconds, as when no handler is registered for the event.
        """
        return await self._connector.ask(event, *arguments)

    def fail(self, error: BaseException) -> bool:
        """Raise an error in all that waits for the server; return whether a caller sees it.

        A tab that comes back or empties its outbox waits too, but has no caller.
        """
        connection = self._connector.current
        answered = connection is not None and connection.fail(error)
        return self._waiting.fail(error) or answered

    def _start(self, connection: Connection) -> None:
        """Open a connection."""

        def auth() -> dict[str, Any]:
            self._record(self._kind)
            self._kind = "reconnect"
            return self.auth | self._page.auth()

        self._page.connect()
        connection.open(self.url, auth, self.transports)

    def _accepted(self, welcome: dict[str, Any]) -> None:
        self._page.accept(welcome)
        self._sender.begin()

    def _connection_changed(self) -> None:
        if self._connector.current is None:
            self._sender.interrupt()
        self._waiting.changed.set()

    def _receive(self, event: str, *values: Any) -> Any:
        self._waiting.changed.set()
        try:
            return self._page.receive(event, *values)
        except Exception as error:  # a server may send anything, and `show` may be a reader's
            self.report(error)
