"""What a cell may give to a lab. Each mistake is told in one sentence, before anything happens.

It knows the kinds of arguments, and starts nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any, TypeVar

from chatlab.harness import KINDS as MISHAPS
from chatlab.harness import Mishap
from chatlab.history import SERVER
from chatlab.lab.page_reports import THE_PAGE
from chatlab.lab.place import KINDS
from chatlab.mistakes import BadArgument, expect, is_count

Value = TypeVar("Value")


class Named(dict[str, Value]):
    """A dict with something for each tab, which says who is there if somebody is not."""

    def __missing__(self, name: str) -> Value:
        raise BadArgument(f"{name!r} has not joined this lab; {_those(self)}")


def check_options(
    server: Callable[..., None],
    name: str,
    heartbeat: float | None,
    recovery: bool,
    store: bool,
    clock: Callable[[], float],
    servers: int,
    log: str,
) -> None:
    """Check the arguments of a Lab, except `keep`: the log checks that."""
    rule = (
        "a lab takes the function that registers the handlers, `def server(sio)` or "
        "`def server(sio, log)`, without `async` and without a call"
    )
    plain = callable(server) and not inspect.iscoroutinefunction(server)
    expect(plain and _takes_sio(server), rule, server)
    expect(isinstance(name, str) and name, "the name of a lab is a text", name)
    number = isinstance(heartbeat, int | float) and heartbeat > 0
    expect(heartbeat is None or number, "heartbeat is in seconds, above 0", heartbeat)
    expect(callable(clock), "clock is a function that returns seconds", clock)
    expect(recovery or not store, "store=True goes with recovery=True", {"recovery": recovery})
    expect(log in KINDS, f"log is {' or '.join(map(repr, KINDS))}", log)
    expect(is_count(servers, 1), "servers is a number, from 1 on", servers)
    one = "only one server can have a file of SQLite: several share log='postgresql'"
    expect(servers == 1 or log == "postgresql", one, log)


def _takes_sio(server: Callable[..., None]) -> bool:
    """Return whether a function can be called with `sio`, or with `sio` and `log`."""
    signature = inspect.signature(server)
    try:
        signature.bind(*range(min(2, len(signature.parameters))))
    except TypeError:
        return False
    return bool(signature.parameters)


def check_name(name: str) -> None:
    """Check the name of a tab."""
    expect(isinstance(name, str) and name, 'a name is a text, as in join("ann")', name)
    of_a_server = re.fullmatch(rf"{SERVER}( \d+)?", name)
    if of_a_server or name == THE_PAGE:
        whose = "a server's own name" if of_a_server else "the name of a real page"
        raise BadArgument(f"{name!r} is {whose}")


def check_server(number: int | None, count: int) -> None:
    """Check which of the servers is meant; None leaves it open."""
    there = number is None or (is_count(number) and number < count)
    rule = (
        f"the servers have the numbers 0 to {count - 1}" if count > 1 else "there is one server: 0"
    )
    expect(there, rule, number)


def check_action(action: Coroutine[Any, Any, Any]) -> None:
    """Check what the server is to be held in the middle of."""
    rule = "pause takes a call without `await`, as in lab.pause(bob.reconnect())"
    expect(isinstance(action, Coroutine), rule, action)


def check_day(day: Iterable[Mishap], names: Collection[str]) -> list[Mishap]:
    """Return the mishaps of a day, in which everybody must have joined."""
    mishaps = list(day)
    for mishap in mishaps:
        fits = isinstance(mishap, Mishap) and mishap.kind in MISHAPS
        expect(fits, f"a day is a list of mishaps, of the kinds {', '.join(MISHAPS)}", mishap)
        if mishap.kind != "kill" and mishap.who not in names:
            raise BadArgument(f"{mishap.who!r} has not joined this lab; {_those(names)}")
    return mishaps


def _those(names: Collection[str]) -> str:
    """Say who has joined, and how one does."""
    there = f"those who have: {', '.join(names)}" if names else "nobody has"
    return f'{there}. `await lab.join("ann")` lets ann join'
