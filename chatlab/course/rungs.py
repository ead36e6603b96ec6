"""The rungs of the two ladders, from the easiest to the hardest: what each asks of a server.

What happens on each is in `scenarios`, and in `several_servers` if the server runs twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatlab.course import scenarios, several_servers
from chatlab.course.accidents import behind, stores_before_it_reads
from chatlab.history import History, Verdict
from chatlab.lab import Lab

Handlers = Callable[..., None]


@dataclass(frozen=True)
class Rung:
    """One rung: what it asks of a server, and the scenario that tests it.

    `scenario` returns a verdict, or a sentence that says what is wrong ("" if nothing is).
    `options` are for the Lab, and `change` is made to the server first. The scenario may take
    `patience` times as long as others. `cost` says what a server that reached the rung makes others
    wait for ("" for nothing).
    """

    name: str
    asks: str
    scenario: Callable[[Lab], Awaitable[Verdict | str]] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    change: Callable[[Handlers], Handlers] = field(default=lambda server: server, repr=False)
    patience: int = field(default=1, repr=False)
    cost: Callable[[History], str] = field(default=lambda history: "", repr=False)

    def lab(self, server: Handlers, name: str) -> Lab:
        """Make the lab of the scenario. Raises BadMoment if it needs a PostgreSQL, and has none."""
        return Lab(self.change(server), name=name, **self.options)


def _others_wait(history: History) -> str:
    """Say whether Ann's "three" came to her only when Bob, who was held, had caught up."""
    order = [(event.kind, event.who, event.text) for event in history]
    missed = next(text for text in ("missed", "two") if ("show", "bob", text) in order)
    steps = ("send", "ann", "three"), ("show", "bob", missed), ("show", "ann", "three")
    sent, caught_up, shown = map(order.index, steps)
    return "while one tab catches up, all the others wait" if sent < caught_up < shown else ""


RUNGS = (
    Rung("shows", "a message is on every page.", scenarios.shows),
    Rung(
        "catches up",
        "a tab that was away gets what it missed, and nothing else.",
        scenarios.catches_up,
    ),
    Rung(
        "reloads",
        "a page that is loaded anew shows everything, and no work is left for the old one.",
        scenarios.reloads,
    ),
    Rung("restarts", "a server that was stopped has forgotten nothing.", scenarios.restarts),
    Rung(
        "stores first",
        "what is not stored is not shown, and not acknowledged.",
        scenarios.stores_first,
    ),
    Rung(
        "in order",
        "a message that comes during a catch-up has its place after it.",
        scenarios.in_order,
        patience=2,
        cost=_others_wait,
    ),
    Rung(
        "waits for nobody",
        "one frozen line does not hold up the others.",
        scenarios.waits_for_nobody,
    ),
    Rung(
        "stores once",
        "a message that is sent again is stored once; the same text may be a new one.",
        scenarios.stores_once,
    ),
    Rung(
        "refuses",
        "bad input gets an error, any other its offset, and the server goes on.",
        scenarios.refuses,
    ),
    Rung(
        "has a bad day",
        "all this at random moments, with many messages, and a kill -9.",
        scenarios.has_a_bad_day,
        {"process": True},
        patience=6,
    ),
)
"""From the easiest to the hardest."""

TWICE = {"servers": 2, "log": "postgresql"}
RUNGS_OF_TWO = (
    Rung(
        "shows everywhere",
        "a message is on every page, whichever server it went through.",
        several_servers.shows_everywhere,
        TWICE,
    ),
    Rung(
        "moves",
        "a tab that comes to the other server gets what it missed, and nothing else.",
        several_servers.moves,
        TWICE,
    ),
    Rung(
        "is ahead",
        "a tab that has more than its new server goes on, and does not begin anew.",
        several_servers.is_ahead,
        TWICE,
        change=behind,
    ),
    Rung(
        "in one order",
        "all pages have one order, whoever sends through which server.",
        several_servers.in_one_order,
        TWICE,
        change=stores_before_it_reads,
    ),
    Rung(
        "stores once",
        "a message that is sent again, through the other server, is stored once.",
        several_servers.stores_once,
        TWICE,
    ),
    Rung(
        "is killed",
        "all this when one server is killed, and started again.",
        several_servers.is_killed,
        {"process": True, **TWICE},
        patience=4,
    ),
    Rung(
        "database restarts",
        "what the database had not stored when it ended is not acknowledged, and is sent again.",
        several_servers.database_restarts,
        TWICE,
        patience=3,
    ),
)
"""Those of a server that runs twice: it has reached the top of the first ladder, or nearly so."""
LADDERS = {1: RUNGS, 2: RUNGS_OF_TWO}
"""The rungs by the number of servers."""
