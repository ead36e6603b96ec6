"""Which names, badges and texts of students are valid. A badge is a secret that belongs to a name.

It must not know who is in a class. It has no socket and no clock.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from chatlab.messages import Refused, check_text

MAX_NAME = 30
"""The longest name, in characters."""
MAX_BADGE = 100
"""The longest badge, in characters."""
INVISIBLE = (
    "200C-200D 034F 115F-1160 17B4-17B5 180B-180F 2800 3164 FE00-FE0F FFA0 16FE4 1D159 E0100-E01EF"
)
"""Ranges of invisible characters. They are allowed, because some scripts and emoji need them."""
COLONS = set(
    ":\u02d0\u02f8\u0589\u05c3\u0703\u0704\u16ec\u1803\u1809\u205a\u2236\ua4fd\ua789\ufe30"
)
"""The colon, and characters that look like it."""
LOOK_ALIKE = str.maketrans(
    # of Latin letters and digits, then Cyrillic, Greek and Armenian letters
    "Il|\u01c00\u0131\u0251\u0261"
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423"
    "\u0425\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u04cf"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    "\u03b1\u03bd\u03bf\u03c1\u03b9\u03c5"
    "\u0555\u054f\u0585\u0578\u057d\u0570",
    "1111Oiag" + "ABES1JKMHOPCTYXaeopcyxijshd1" + "ABEZH1KMNOPTYXavopiu" + "OSonuh",
)
"""Letters that most fonts draw alike, each with the one that stands for it in a key of a name. 1 is
for a capital I and a small l: a capital L is drawn in another way."""
MAX_MARKS = 8
"""The most accents and other marks on one letter. More of them would cover the lines around it."""
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters but the tab: what ends a line, and what turns the direction of a text."""


def check_name(value: Any) -> str:
    """Return a name without unnecessary spaces. Raises Refused ("bad name") if it is not valid.

    A colon is not allowed, because a colon ends the name in front of a message. Other invisible
    characters are not allowed: they could hide the name or reverse the direction of the text.
    Nor is a letter with too many marks: see MAX_MARKS.
    """
    if not isinstance(value, str) or len(value) > 10 * MAX_NAME:
        raise Refused("bad name", f"a name is a text of 1 to {MAX_NAME} characters")
    name = " ".join(unicodedata.normalize("NFC", value).split())
    if not 0 < len(name) <= MAX_NAME:
        raise Refused("bad name", f"a name has 1 to {MAX_NAME} characters")
    categories = {unicodedata.category(character)[0] for character in _visible(name)}
    if COLONS & set(unicodedata.normalize("NFKC", name)) or "C" in categories:
        raise Refused("bad name", "a name has no colon and no control characters")
    if _has_stack(name):
        raise Refused("bad name", f"in a name, a letter has at most {MAX_MARKS} marks")
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


def check_line(value: Any) -> str:
    """Return the value if it is a valid message in a class: a valid text that is one line.

    A message with a second line could show the name of somebody else there, as if that person had
    written. Raises Refused ("bad text" or "text too long").
    """
    text = check_text(value)
    if CONTROL.search(text):
        raise Refused("bad text", "in a class a message is one line, without control characters")
    if _has_stack(text):
        raise Refused("bad text", f"in a class a letter has at most {MAX_MARKS} marks")
    return text


def name_keys(name: str) -> list[str]:
    """Return the keys of a name. Two names that have one in common look the same, or nearly so."""
    plain = " ".join(_visible(unicodedata.normalize("NFKD", _visible(name))).split())
    return [plain.casefold(), plain.translate(LOOK_ALIKE).casefold()]


def _has_stack(text: str) -> bool:
    """Return whether a letter has more than MAX_MARKS marks."""
    if text.isascii():
        return False
    kinds = [unicodedata.category(character) for character in text]
    marks = (kind in ("Mn", "Me") for kind in kinds if kind != "Cf")  # an unseen one parts nothing
    return any(is_mark and len(list(run)) > MAX_MARKS for is_mark, run in groupby(marks))


def _visible(name: str) -> str:
    return name.translate(_REMOVE_INVISIBLE)


def _characters(ranges: str) -> Iterator[int]:
    for one in ranges.split():
        first, _, last = one.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


_REMOVE_INVISIBLE = dict.fromkeys(_characters(INVISIBLE))
