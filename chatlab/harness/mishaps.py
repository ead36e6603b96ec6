"""Bad days: scenarios that are made up by chance. Nothing happens here: a lab carries them out."""

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
    """Make up a bad day: `length` mishaps, the same ones for the same seed.

    `sends` is the share of them in which a client sends a message. In addition, the server is
    killed `kills` times, at moments spread over the day.
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
