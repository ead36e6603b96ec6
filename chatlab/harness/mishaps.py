"""Random scenarios ("bad days"). This module only writes them; a lab carries them out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

from chatlab.mistakes import expect, is_count

TAB_FAULTS = ("drop", "reload", "reconnect")
LINK_FAULTS = ("cut", "freeze", "thaw", "strand")
KINDS = ("send", "kill", *TAB_FAULTS, *LINK_FAULTS)


class Mishap(NamedTuple):
    """Something that happens on a bad day: to a client's tab, to its link, or to the server."""

    kind: str
    """One of KINDS."""
    who: str


def bad_day(
    seed: int, names: Iterable[str], length: int, *, kills: int = 0, sends: float = 0.6
) -> list[Mishap]:
    """Return a random scenario of `length` mishaps, the same one for the same seed.

    `sends` is the share of mishaps (0 to 1) in which a client sends a message. In addition, the
    server is killed `kills` times, at equal distances.
    """
    expect(not isinstance(names, str), "names is a list of names", names)
    chance, people = random.Random(seed), sorted(names)
    expect(people, "names has at least one name", names)
    expect(is_count(length), "length is a number of mishaps", length)
    expect(is_count(kills), "kills is a number of mishaps", kills)
    expect(isinstance(sends, int | float) and 0 <= sends <= 1, "sends is between 0 and 1", sends)
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
