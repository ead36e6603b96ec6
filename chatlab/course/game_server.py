"""A stand-in for Socket.IO and for the log: a notebook's server runs on it in the game.

Each `await` of the server is a move: the handler goes on when the player wants it to. It must not
know what the clients do, or what the game is about.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

from chatlab.messages import Message

Handling = Coroutine["Wait", None, Any]


@dataclass
class Wait:
    """An `await` of the server: what it does when it goes on, and whether it can."""

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
    """A handler that is running: the `await` at which it stands, and those it has passed."""

    handling: Handling
    then: Callable[[Any], None]
    """What to do with the value that the handler returns."""
    wait: Wait | None = None
    past: list[Wait] = field(default_factory=list)

    def go_on(self) -> None:
        """Run to the next `await`, or to the end."""
        if self.wait:
            self.past.append(self.wait)
        try:
            self.wait = self.handling.send(None)
        except StopIteration as end:
            self.wait = None
            self.then(end.value)


class Sio:
    """As much of python-socketio's server as the servers of the notebooks use.

    `deliver(sid, message)` takes what the server emits to a client, or to all (None).
    """

    def __init__(self, deliver: Callable[[str | None, Message], None]) -> None:
        self.tasks: list[Task] = []
        self._deliver = deliver
        self._handlers: dict[str, Callable[..., Handling]] = {}

    def handle(
        self, event: str, *arguments: Any, then: Callable[[Any], None] = lambda value: None
    ) -> None:
        """Let the server handle an event, if it has a handler for it."""
        if event in self._handlers:
            self._run(self._handlers[event](*arguments), then)

    def _run(self, handling: Handling, then: Callable[[Any], None]) -> None:
        self.tasks.append(task := Task(handling, then))
        task.go_on()

    def on(self, event: str) -> Callable[[Any], Any]:
        def register(handler: Any) -> Any:
            self._handlers[event] = handler
            return handler

        return register

    def event(self, handler: Any) -> Any:
        return self.on(handler.__name__)(handler)

    def emit(self, event: str, data: Any, to: str | None = None) -> Wait:
        text, offset = data
        whom = "everybody" if to is None else to.split()[0]
        label = f'the server sends "{text}" to {whom}'
        return Wait(label, lambda: self._deliver(to, Message(offset, text)))

    def start_background_task(self, target: Any, *arguments: Any) -> None:
        self._run(target(*arguments), lambda value: None)


class Log:
    """As much of the message log as the servers of the notebooks use."""

    def __init__(self) -> None:
        self.rows: list[Message] = []

    @property
    def head(self) -> int:
        return len(self.rows)

    def append(self, text: str) -> Wait:
        def store() -> int:
            self.rows.append(Message(self.head + 1, text))
            return self.head

        return Wait(f'the server stores "{text}"', store)

    def after(self, offset: int) -> Wait:
        return Wait(f"the server reads the rows after {offset}", lambda: self.rows[offset:])

    def newer(self, offset: int) -> Wait:
        label = f"the server notices that there is more than {offset}"
        return Wait(label, lambda: None, lambda: self.head > offset)
