"""A game in which the player is the network: nothing happens until the player chooses it.

The server is the function that a notebook gives to a lab. The player chooses which handler goes on,
which packet arrives, and when a connection drops. Pure: no network, no clock, no event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from html import escape
from inspect import signature
from typing import Any, NamedTuple

from chatlab.course.game_server import Log, Sio
from chatlab.history import Diagram, Figure, History, Verdict, Wrong, check, check_kind
from chatlab.messages import CHAT_MESSAGE, Message
from chatlab.mistakes import BadArgument, expect

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
    packets: deque[Message] = field(default_factory=deque)


class Game(Figure):
    """A game at its start: Bob is offline and missed "two", and Ann will send "three".

    `server` registers its handlers, as it does in a Lab. Ann's connection is perfect; Bob's may
    drop once more. `moves` lists what can happen now, `play` makes it happen, and `finish` plays
    the rest in the usual order. A notebook shows what has happened, Bob's page and the moves.
    """

    def __init__(self, server: Server) -> None:
        expect(callable(server), "a game plays the function that registers the handlers", server)
        self.history = History()
        self._sio, self._log = Sio(self._deliver), Log()
        self._ann, self._bob = _Tab("ann"), _Tab("bob")
        self._unsent, self._drops = deque(["one", "two", "three"]), 2
        server(*(self._sio, self._log)[: len(signature(server).parameters)])
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
        """Play moves in turn, and return the moves that are possible then.

        Each is one of `moves`, or its index there. Raises ValueError if it is not possible now.
        """
        for move in moves:
            possible = self._under_way() | self._choices()
            name = dict(enumerate(possible)).get(move, move)
            if name not in possible:
                raise BadArgument(f"{name!r} cannot happen now; what can: {self.moves}")
            possible[name]()
        return self.moves

    def finish(self) -> Verdict:
        """Play until nothing is left, without another drop; return the verdict."""
        self._settle()
        while choices := [move for move in self.moves if move != DROP]:
            self.play(choices[0])
            self._settle()
        return self.verdict()

    def verdict(self) -> Verdict:
        """Check what the two pages show."""
        return check(self.history, self._log.rows)

    @property
    def over(self) -> bool:
        """Whether no move is left, or only another drop."""
        return self.moves in ([], [DROP])

    @property
    def position(self) -> tuple[Any, ...]:
        """Everything that decides what can happen next, so that a search sees each state once."""
        tasks = sorted(str((task.past, task.wait)) for task in self._sio.tasks)
        bob = (self._bob.sid, self._bob.offset, *self._bob.packets)
        shown = [event.text for event in self.history.of("bob") if event.kind == "show"]
        return (*tasks, *self._log.rows, *bob, *shown, len(self._unsent), self._drops)

    # What a notebook shows.

    @property
    def svg(self) -> str:
        return Diagram(self.history).svg

    @property
    def summary(self) -> str:
        return Diagram(self.history).summary

    @property
    def _now(self) -> str:
        """Bob's page and the moves, in words."""
        page = [event.text for event in self.history.of("bob") if event.kind == "show"]
        moves = [f"{place} {move}" for place, move in enumerate(self.moves)]
        return "\n".join([f"bob's page: {page}", "what can happen:", *(moves or ["nothing"])])

    def __str__(self) -> str:
        return f"{Diagram(self.history)}\n\n{self._now}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = super()._repr_mimebundle_()
        return bundle | {"text/html": f"{bundle['text/html']}<pre>{escape(self._now)}</pre>"}

    # What can happen. What has begun comes first, in the order in which it began.

    def _under_way(self) -> Moves:
        moves = {}
        for task in self._sio.tasks:
            if task.wait and task.wait.ready():
                again = " once more" if task.wait.label in moves else ""
                moves[task.wait.label + again] = task.go_on
        if self._bob.packets:
            moves[f'"{self._bob.packets[0].text}" arrives at bob'] = self._arrive
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
        """Finish everything that has begun."""
        while moves := self._under_way():
            next(iter(moves.values()))()

    def _connect(self, tab: _Tab, kind: str) -> None:
        tab.connections += 1
        tab.sid = f"{tab.name} {tab.connections}"
        self.history.record(kind, tab.name)
        self._sio.handle("connect", tab.sid, {}, {"serverOffset": tab.offset})

    def _drop(self) -> None:
        self._drops -= 1
        sid, self._bob.sid = self._bob.sid, None
        self._bob.packets.clear()
        self.history.record("drop", "bob")
        self._sio.handle("disconnect", sid, "transport close")

    def _send(self) -> None:
        text = self._unsent.popleft()
        self.history.record("send", "ann", text)
        acknowledge = partial(self.history.record, "acknowledge", "ann", text)
        self._sio.handle(CHAT_MESSAGE, self._ann.sid, text, then=acknowledge)

    def _deliver(self, to: str | None, message: Message) -> None:
        """Show Ann, and send Bob, a message that is for this sid, or for all clients (None)."""
        if to in (None, self._ann.sid):
            self._show(self._ann, message)
        if self._bob.sid is not None and to in (None, self._bob.sid):
            self._bob.packets.append(message)

    def _arrive(self) -> None:
        self._show(self._bob, self._bob.packets.popleft())

    def _show(self, tab: _Tab, message: Message) -> None:
        tab.offset = message.offset
        self.history.record("show", tab.name, message.text, message.offset)


class Search(NamedTuple):
    """The moves that lead to a fault, or None, and how many positions were tried."""

    moves: tuple[str, ...] | None
    positions: int


def find_fault(server: Server, kind: Wrong | None = None) -> Search:
    """Try all orders of moves, the shortest first, until one ends in a fault (of this kind).

    Raises BadArgument for a kind of fault that there is not.
    """
    if kind is not None:
        check_kind(kind)
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
