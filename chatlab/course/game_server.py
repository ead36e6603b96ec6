"""Replacements for Socket.IO and the log, on which a notebook's server runs in the game.

Each `await` of the log or of `sio.emit` is a move: the handler goes on when the player chooses
that. A server that uses more cannot be played, and is told so. This module must not know what the
clients do, or what the game is about.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from chatlab.messages import CHAT_MESSAGE, Message
from chatlab.mistakes import BadArgument, is_count

Handling = Coroutine["Wait", None, Any]
PLAYS = (
    "the game can play a server that awaits log.append, log.after, log.newer and "
    'sio.emit("chat message", (text, offset)), and nothing else'
)


@dataclass
class Wait:
    """An `await` in a handler: `act` runs when the player lets it go on, if it is `ready`."""

    label: str
    act: Callable[[], Any] = field(repr=False)
    ready: Callable[[], bool] = field(default=lambda: True, repr=False)
    result: Any = None

    def __await__(self) -> Generator[Wait, None, Any]:
        yield self
        self.result = self.act()
        return self.result


@dataclass
class Task:
    """A running handler: the `await` at which it waits now (`wait`), and the earlier ones."""

    handling: Handling
    then: Callable[[Any], None]
    """Called with the value that the handler returns."""
    wait: Wait | None = None
    past: list[Wait] = field(default_factory=list)

    def go_on(self) -> None:
        """Run to the next `await`, or to the end."""
        if self.wait:
            self.past.append(self.wait)
        try:
            self.wait = self.handling.send(None)
            if not isinstance(self.wait, Wait):
                _refuse("awaits something else")
        except StopIteration as end:
            self.wait = None
            self.then(end.value)


class Sio:
    """The part of python-socketio's server that the servers of the notebooks use.

    `deliver(sid, message)` is called for each emit; its `sid` is None for an emit to all clients.
    """

    def __init__(self, deliver: Callable[[str | None, Message], None]) -> None:
        self.tasks: list[Task] = []
        self._deliver = deliver
        self._handlers: dict[str, Callable[..., Handling]] = {}

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"uses sio.{name}")

    def handle(
        self, event: str, *arguments: Any, then: Callable[[Any], None] = lambda value: None
    ) -> None:
        """Start the handler of an event, if there is one."""
        if event in self._handlers:
            self._run(self._handlers[event](*arguments), then)

    def _run(self, handling: Handling | Any, then: Callable[[Any], None]) -> None:
        if not isinstance(handling, Coroutine):  # a handler without `async`: it has ended
            then(handling)
            return
        self.tasks.append(task := Task(handling, then))
        task.go_on()

    def on(self, event: str) -> Callable[[Any], Any]:
        def register(handler: Any) -> Any:
            self._handlers[event] = handler
            return handler

        return register

    def event(self, handler: Any) -> Any:
        return self.on(handler.__name__)(handler)

    def emit(self, event: str, data: Any = None, to: str | None = None, **options: Any) -> Wait:
        pair = isinstance(data, tuple) and len(data) == 2 and is_count(data[1])
        if event != CHAT_MESSAGE or not pair or options:
            _refuse(f"emits {event!r} with {data!r} {options or ''}")
        text, offset = data
        name = "everybody" if to is None else to.split()[0]
        label = f'the server sends "{text}" to {name}'
        return Wait(label, lambda: self._deliver(to, Message(offset, text)))

    def start_background_task(self, target: Any, *arguments: Any) -> None:
        self._run(target(*arguments), lambda value: None)


class Log:
    """The part of the message log that the servers of the notebooks use."""

    def __init__(self) -> None:
        self.rows: list[Message] = []

    @property
    def head(self) -> int:
        return len(self.rows)

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"uses log.{name}")

    def append(self, text: str, client_offset: str | None = None) -> Wait:
        def store() -> int:
            self.rows.append(Message(self.head + 1, text))
            return self.head

        return Wait(f'the server stores "{text}"', store)

    def after(self, offset: int, limit: int = -1) -> Wait:
        end = None if limit < 0 else offset + limit
        return Wait(f"the server reads the rows after {offset}", lambda: self.rows[offset:end])

    def newer(self, offset: int) -> Wait:
        label = f"the server notices that there is more than {offset}"
        return Wait(label, lambda: None, lambda: self.head > offset)


def _refuse(what: str) -> NoReturn:
    raise BadArgument(f"{PLAYS}; this one {what.strip()}")
