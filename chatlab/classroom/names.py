"""Which names and badges of students are valid. A badge is a secret that belongs to a name.

It must not know who is in a class. It has no socket and no clock.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

from chatlab.messages import Refused

MAX_NAME = 30
"""The longest name, in characters."""
MAX_BADGE = 100
"""The longest badge, in characters."""
INVISIBLE = "200C-200D 034F 115F-1160 17B4-17B5 180B-180F 2800 3164 FE00-FE0F FFA0 E0100-E01EF"
"""Ranges of invisible characters. They are allowed, because some scripts and emoji need them."""


def check_name(value: Any) -> str:
    """Return a name without unnecessary spaces. Raises Refused ("bad name") if it is not valid.

    A colon is not allowed, because a colon ends the name in front of a message. Other invisible
    characters are not allowed: they could hide the name or reverse the direction of the text.
    """
    if not isinstance(value, str) or len(value) > 10 * MAX_NAME:
        raise Refused("bad name", f"a name is a text of 1 to {MAX_NAME} characters")
    name = " ".join(unicodedata.normalize("NFC", value).split())
    if not 0 < len(name) <= MAX_NAME:
        raise Refused("bad name", f"a name has 1 to {MAX_NAME} characters")
    categories = {unicodedata.category(character)[0] for character in _visible(name)}
    if ":" in name or "C" in categories:
        raise Refused("bad name", "a name has no colon and no control characters")
    if not categories & set("LNS"):
        raise Refused("bad name", "a name has a letter, a digit or a symbol")
    return name


def check_badge(value: Any) -> str:
    """Return a badge. Raises Refused ("bad badge") if it is not valid.

    A badge is a random secret that the browser makes and keeps. The browser sends it with the
    student's name; only a browser with the same badge may use that name again.
    """
    if isinstance(value, str) and 16 <= len(value) <= MAX_BADGE and value.isascii():
        return value
    raise Refused("bad badge", f"a badge is a text of 16 to {MAX_BADGE} ASCII characters")


def name_key(name: str) -> str:
    """Return a key that is the same for names that look the same, or nearly the same."""
    return " ".join(_visible(unicodedata.normalize("NFKC", _visible(name))).casefold().split())


def _visible(name: str) -> str:
    return name.translate(_REMOVE_INVISIBLE)


def _characters(ranges: str) -> Iterator[int]:
    for one in ranges.split():
        first, _, last = one.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


_REMOVE_INVISIBLE = dict.fromkeys(_characters(INVISIBLE))
