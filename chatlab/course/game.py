"""You are the network: a chat in which nothing moves unless you say so.

The server is the function that a notebook hands to a lab. You choose which handler goes on, which
packet arrives, and when a connection drops. Pure: no network, no clock, no event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from chatlab.course.game_server import Log, Sio
from chatlab.history import History, Verdict, Wrong, check
from chatlab.messages import CHAT_MESSAGE, Message

Server = Callable[[Sio, Log], None]
Moves = dict[str, Callable[[], None]]
DROP = "bob's line drops"


@dataclass
class _Tab:
    """A page, and the packets on the connection to it."""

    name: str
    sid: str | None = None
    connections: int = 0
    offset: int = 0
    line: deque[Message] = field(default_factory=deque)


class Game:
    """Bob was away and missed "two". He returns, and Ann sends "three": in which order?

    `server` registers its handlers, as it does in a Lab. Ann's connection is perfect; Bob's may
    drop once more. `moves` says what can happen now, `play` lets it happen, and `finish` lets the
    rest happen in the usual order.
    """

    def __init__(self, server: Server) -> None:
        self.history = History()
        self._sio, self._log = Sio(self._deliver), Log()
        self._ann, self._bob = _Tab("ann"), _Tab("bob")
        self._unsent, self._drops = deque(["one", "two", "three"]), 2
        server(self._sio, self._log)
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
            name = dict(enumerate(possible)).get(move, move)
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
        return check(self.history, self._log.rows)

    @property
    def over(self) -> bool:
        """Whether nothing is left that has to happen."""
        return self.moves in ([], [DROP])

    @property
    def position(self) -> tuple[Any, ...]:
        """All that the future depends on: equal positions have equal futures."""
        tasks = sorted(str((task.past, task.wait)) for task in self._sio.tasks)
        bob = (self._bob.sid, self._bob.offset, *self._bob.line)
        shown = [event.text for event in self.history.of("bob") if event.kind == "show"]
        return (*tasks, *self._log.rows, *bob, *shown, len(self._unsent), self._drops)

    # What can happen. First comes what has begun, in the order in which it began.

    def _under_way(self) -> Moves:
        moves = {}
        for task in self._sio.tasks:
            if task.wait and task.wait.ready():
                again = " once more" if task.wait.label in moves else ""
                moves[task.wait.label + again] = task.go_on
        if self._bob.line:
            moves[f'"{self._bob.line[0].text}" arrives at bob'] = self._arrive
        return moves

    def _choices(self) -> Moves:
        moves = {}
        if self._bob.sid is None:
            moves["bob reconnects"] = lambda: self._connect(self._bob, "reconnect")
        if self._unsent:
            moves[f'ann sends "{self._unsent[0]}"'] = self._send
        if self._bob.sid is not None and self._drops:
            moves[DROP] = self._drop
        return moves

    def _settle(self) -> None:
        """Let what has begun come to its end."""
        while moves := self._under_way():
            next(iter(moves.values()))()

    # What happens then.

    def _connect(self, tab: _Tab, kind: str) -> None:
        tab.connections += 1
        tab.sid = f"{tab.name} {tab.connections}"
        self.history.record(kind, tab.name)
        self._sio.handle("connect", tab.sid, {}, {"serverOffset": tab.offset})

    def _drop(self) -> None:
        self._drops -= 1
        sid, self._bob.sid = self._bob.sid, None
        self._bob.line.clear()
        self.history.record("drop", "bob")
        self._sio.handle("disconnect", sid, "transport close")

    def _send(self) -> None:
        text = self._unsent.popleft()
        self.history.record("send", "ann", text)
        acknowledge = partial(self.history.record, "acknowledge", "ann", text)
        self._sio.handle(CHAT_MESSAGE, self._ann.sid, text, then=acknowledge)

    def _deliver(self, to: str | None, message: Message) -> None:
        """Show a message to Ann at once, and put it on the connection to Bob, if it is for them."""
        if to in (None, self._ann.sid):
            self._show(self._ann, message)
        if self._bob.sid is not None and to in (None, self._bob.sid):
            self._bob.line.append(message)

    def _arrive(self) -> None:
        self._show(self._bob, self._bob.line.popleft())

    def _show(self, tab: _Tab, message: Message) -> None:
        tab.offset = message.offset
        self.history.record("show", tab.name, message.text, message.offset)


class Search(NamedTuple):
    """What `find_fault` found: the moves to a fault, or None, and how many positions it tried."""

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
