"""07 · Long absence: a function that decides what a tab is told when it comes back.

Properties: "reset" for a tab that has seen more than its own epoch came to in this log, even if
what it has seen is gone by now. An epoch that this log does not know came to nothing, so a tab that
has seen nothing of it has seen no more than that; a tab without an epoch is believed as far as the
log goes. Otherwise "gap" for a tab that has not seen all that is
gone, and "continued" for one that has. All this at both sides of each edge, whether nothing is
gone, a part of the older epoch, or all of it; and for any names and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from chatlab.course import judged

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
Tab = tuple[str, int, str | None, str]
"""What is said of a tab; its offset and epoch; and the outcome that is right for it."""


@judged
def check(decide: Callable[..., str]) -> str:
    """Ask about tabs of several logs. Days and numbers come from a seed, so nobody knows them."""
    asked = 0
    for ends, trimmed, stranger in _logs(Random(7)):
        for what, offset, epoch, right in _tabs(ends, trimmed, stranger):
            said = decide(offset, epoch, dict(ends), trimmed)
            if said != right:
                called = f"decide({offset}, {epoch!r}, ends={ends}, trimmed={trimmed})"
                return f"not yet: {called} says {said!r}. The tab {what}: {right!r} is right"
            asked += 1
    return f"solved: all {asked} tabs are told what is true"


def _logs(chance: Random) -> Iterator[tuple[dict[str, int], int, str]]:
    """Yield the epochs of a log, how much of it is gone, and an epoch of another log."""
    for _ in range(2):
        one, two, three = sorted(chance.sample(range(2, 99, 3), 3))
        for older, newer, trimmed in ((two, three, one), (one, two, 0), (one, three, two)):
            *days, stranger = chance.sample(DAYS, 4)
            days.sort(key=DAYS.index)
            yield dict(zip(days, (0, older, newer), strict=True)), trimmed, stranger


def _tabs(ends: dict[str, int], trimmed: int, stranger: str) -> Iterator[Tab]:
    (empty, _), (before, older), (now, newer) = ends.items()
    yield "has just lost its line", newer, now, "continued"
    yield from _at_the_edge(now, trimmed)
    away = "continued" if trimmed <= older else "gap"
    yield "was away while the server restarted", older, before, away
    yield "is ahead of the log", newer + 1, now, "reset"
    yield f"has seen more than this log has from {before}", older + 1, before, "reset"
    yield f"has seen a message from {empty}, and this log has none", 1, empty, "reset"
    yield "comes from another log, with one message", 1, stranger, "reset"
    nothing = "gap" if trimmed else "continued"
    yield "comes from another log, of which it has seen nothing", 0, stranger, nothing
    yield f"has seen nothing of {empty}, in which nothing was said", 0, empty, nothing
    yield "knows no epoch, and has seen all", newer, None, "continued"
    yield from _at_the_edge(None, trimmed)
    yield "knows no epoch, and is ahead of the log", newer + 1, None, "reset"


def _at_the_edge(epoch: str | None, trimmed: int) -> Iterator[Tab]:
    """Yield the tabs that have seen just all, or one message less, of what is gone."""
    if not trimmed:
        yield "has seen nothing, and nothing is gone", 0, epoch, "continued"
        return
    yield "has seen nothing, and the beginning is gone", 0, epoch, "gap"
    yield "has missed one message that is gone", trimmed - 1, epoch, "gap"
    yield "has seen just those messages that are gone", trimmed, epoch, "continued"
