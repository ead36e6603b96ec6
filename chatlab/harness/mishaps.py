"""Random scenarios ("bad days"). This module only writes them; a lab carries them out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

TAB_FAULTS = ("drop", "reload", "reconnect")
LINK_FAULTS = ("cut", "freeze", "thaw", "strand")


class Mishap(NamedTuple):
    """Something that happens on a bad day: to a client's tab, to its link, or to the server."""

    kind: str
    """"send", "kill", or one of TAB_FAULTS or LINK_FAULTS."""
    who: str


def bad_day(
    seed: int, names: Iterable[str], length: int, *, kills: int = 0, sends: float = 0.6
) -> list[Mishap]:
    """Return a random scenario of `length` mishaps, the same one for the same seed.

    `sends` is the share of mishaps (0 to 1) in which a client sends a message. In addition, the
    server is killed `kills` times, at equal distances.
    """
    chance, people = random.Random(seed), sorted(names)
    day = [
        Mishap(
            "send" if chance.random() < sends else chance.choice(TAB_FAULTS + LINK_FAULTS),
            chance.choice(people),
        )
        for _ in range(length)
    ]
    for number in range(kills, 0, -1):
        day.insert(number * length // (kills + 1), Mishap("kill", "server"))
    return day
