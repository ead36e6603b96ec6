"""You are the network: a chat in which nothing moves unless you say so.

The server is the very function that a notebook hands to a lab. Here it runs on a stand-in for
Socket.IO and for the log, in which every `await` is a move of the game: you choose which handler
goes on, which packet arrives, and when a line drops. Pure: no network, no clock, no event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chatlab.history import History, Verdict, Wrong, check
from chatlab.messages import CHAT_MESSAGE, Message

Server = Callable[["_Sio", "_Log"], None]
Handling = Coroutine["_Wait", None, Any]
Then = Callable[[Any], None]
DROP = "bob's line drops"


class Game:
    """Bob was away and missed "two". He returns, and Ann sends "three": in which order?

    `server` registers its handlers, as it does in a Lab. Ann's line is perfect; Bob's may drop once
    more. `moves` says what can happen now, `play` lets it happen, and `finish` lets the rest
    happen in the usual order.
    """

    def __init__(self, server: Server) -> None:
        self.history = History()
        self.rows: list[Message] = []
        self._handlers: dict[str, Callable[..., Handling]] = {}
        self._tasks: list[_Task] = []
        self._ann, self._bob = _Tab("ann"), _Tab("bob")
        self._unsent, self._drops = deque(["one", "two", "three"]), 2
        server(_Sio(self), _Log(self))
        self._connect(self._ann, "join")
        self._connect(self._bob, "join")
        for happens in (self._send, self._drop, self._send):
            happens()
            self._settle()

    @property
    def moves(self) -> list[str]:
        """What can happen now."""
        return [*self._under_way(), *self._choices()]

    def play(self, *moves: int | str) -> list[str]:
        """Let moves happen, in turn: each is one of `moves`, or its place in it. Return the next.

        Raises ValueError for a move that is not possible now.
        """
        for move in moves:
            possible = self._under_way() | self._choices()
            name = dict(enumerate(self.moves)).get(move, move)
            if name not in possible:
                raise ValueError(f"{name!r} cannot happen now; what can: {self.moves}")
            possible[name]()
        return self.moves

    def finish(self) -> Verdict:
        """Let everything come to its end without another drop, and judge what was shown."""
        self._settle()
        while choices := [move for move in self.moves if move != DROP]:
            self.play(choices[0])
            self._settle()
        return self.verdict()

    def verdict(self) -> Verdict:
        """Judge what the two pages show."""
        return check(self.history, self.rows)

    @property
    def over(self) -> bool:
        """Whether nothing is left that has to happen."""
        return self.moves in ([], [DROP])

    @property
    def position(self) -> tuple[Any, ...]:
        """All that the future depends on: equal positions have equal futures."""
        tasks = sorted(str((task.past, task.wait)) for task in self._tasks)
        bob = (self._bob.sid, self._bob.offset, *self._bob.line)
        shown = [event.text for event in self.history.of("bob") if event.kind == "show"]
        return (*tasks, *self.rows, *bob, *shown, len(self._unsent), self._drops)

    def _under_way(self) -> dict[str, Callable[[], None]]:
        moves = {}
        for task in self._tasks:
            if task.wait and task.wait.ready():
                again = " once more" if task.wait.label in moves else ""
                moves[task.wait.label + again] = task.go_on
        if self._bob.line:
            moves[f'"{self._bob.line[0].text}" arrives at bob'] = self._arrive
        return moves

    def _choices(self) -> dict[str, Callable[[], None]]:
        moves = {}
        if self._bob.sid is None:
            moves["bob reconnects"] = lambda: self._connect(self._bob, "reconnect")
        if self._unsent:
            moves[f'ann sends "{self._unsent[0]}"'] = self._send
        if self._bob.sid is not None and self._drops:
            moves[DROP] = self._drop
        return moves

    def _settle(self) -> None:
        while moves := self._under_way():
            next(iter(moves.values()))()

    def _start(self, event: str, *arguments: Any, then: Then = lambda value: None) -> None:
        if event in self._handlers:
            self.run(self._handlers[event](*arguments), then)

    def run(self, coroutine: Handling, then: Then = lambda value: None) -> None:
        """Begin a task of the server: it runs to its first `await`."""
        task = _Task(coroutine, then)
        self._tasks.append(task)
        task.go_on()

    def _connect(self, tab: _Tab, kind: str) -> None:
        tab.count += 1
        tab.sid = f"{tab.name} {tab.count}"
        self.history.record(kind, tab.name)
        auth = {"serverOffset": tab.offset}
        self._start("connect", tab.sid, {}, auth)

    def _drop(self) -> None:
        self._drops -= 1
        sid, self._bob.sid = self._bob.sid, None
        self._bob.line.clear()
        self.history.record("drop", "bob")
        self._start("disconnect", sid, "transport close")

    def _send(self) -> None:
        text = self._unsent.popleft()
        self.history.record("send", "ann", text)

        def acknowledge(offset: Any) -> None:
            self.history.record("acknowledge", "ann", text, offset)

        self._start(CHAT_MESSAGE, self._ann.sid, text, then=acknowledge)

    def _arrive(self) -> None:
        self._show(self._bob, self._bob.line.popleft())

    def _show(self, tab: _Tab, message: Message) -> None:
        tab.offset = message.offset
        self.history.record("show", tab.name, message.text, message.offset)

    def hand_over(self, to: str | None, message: Message) -> None:
        """Put a message on the lines it is meant for."""
        if to in (None, self._ann.sid):
            self._show(self._ann, message)
        if self._bob.sid is not None and to in (None, self._bob.sid):
            self._bob.line.append(message)


class Search(NamedTuple):
    """What `find_fault` found: the moves that lead to a fault, or None, after so many positions."""

    moves: tuple[str, ...] | None
    positions: int


def find_fault(server: Server, kind: Wrong | None = None) -> Search:
    """Try every order of moves, the shortest first, until one ends in a fault (of this kind)."""
    paths, seen = deque([()]), set()
    while paths:
        path = paths.popleft()
        game = Game(server)
        game.play(*path)
        if game.position in seen:
            continue
        seen.add(game.position)
        if game.over and any(kind in (None, fault.kind) for fault in game.verdict().faults):
            return Search(path, len(seen))
        paths.extend((*path, move) for move in game.moves)
    return Search(None, len(seen))


@dataclass
class _Tab:
    """A page, and the packets on the line to it."""

    name: str
    sid: str | None = None
    count: int = 0
    offset: int = 0
    line: deque[Message] = field(default_factory=deque)


@dataclass
class _Wait:
    """An `await` of the server: it goes on when it is chosen, and only if it is ready."""

    label: str
    act: Callable[[], Any] = field(repr=False)
    ready: Callable[[], bool] = field(default=lambda: True, repr=False)
    result: Any = None

    def __await__(self) -> Generator[_Wait, None, Any]:
        yield self
        self.result = self.act()
        return self.result


@dataclass
class _Task:
    """A handler that is running, the `await` at which it stands, and those it has passed."""

    coroutine: Handling
    then: Then
    wait: _Wait | None = None
    past: list[_Wait] = field(default_factory=list)

    def go_on(self) -> None:
        if self.wait:
            self.past.append(self.wait)
        try:
            self.wait = self.coroutine.send(None)
        except StopIteration as end:
            self.wait = None
            self.then(end.value)


class _Sio:
    """As much of python-socketio's server as the servers of the notebooks use."""

    def __init__(self, game: Game) -> None:
        self._game = game

    def on(self, event: str) -> Callable[[Any], Any]:
        def register(handler: Any) -> Any:
            self._game._handlers[event] = handler
            return handler

        return register

    def event(self, handler: Any) -> Any:
        return self.on(handler.__name__)(handler)

    def emit(self, event: str, data: Any, to: str | None = None) -> _Wait:
        text, offset = data
        whom = "everybody" if to is None else to.split()[0]
        return _Wait(
            f'the server sends "{text}" to {whom}',
            lambda: self._game.hand_over(to, Message(offset, text)),
        )

    def start_background_task(self, target: Any, *arguments: Any) -> None:
        self._game.run(target(*arguments))


class _Log:
    """As much of the message log as the servers of the notebooks use."""

    def __init__(self, game: Game) -> None:
        self._rows = game.rows

    @property
    def head(self) -> int:
        return len(self._rows)

    def append(self, text: str) -> _Wait:
        def store() -> int:
            self._rows.append(Message(self.head + 1, text))
            return self.head

        return _Wait(f'the server stores "{text}"', store)

    def after(self, offset: int) -> _Wait:
        return _Wait(f"the server reads the rows after {offset}", lambda: self._rows[offset:])

    def newer(self, offset: int) -> _Wait:
        label = f"the server notices that there is more than {offset}"
        return _Wait(label, lambda: None, lambda: self.head > offset)
