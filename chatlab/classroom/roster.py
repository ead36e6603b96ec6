"""Who is in a class: the join code, the students' names, and how often somebody may try or write.

Pure: it knows no socket and no server, and is given the time, in seconds.
"""

from __future__ import annotations

import ipaddress
import secrets
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from chatlab.messages import MAX_TEXT, NOT_STORED, Refused, check_text

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""The characters of a join code: none of them is easily taken for another, as 0 for O."""
CODE_LENGTH = 6
MAX_NAME = 30
"""The longest name, in characters."""
MAX_BADGE = 100
"""The longest badge, in characters."""
MAX_STUDENTS = 500
"""Names that are kept; when there is no room, the one that has been away longest is forgotten."""
MAX_TABS = 20
"""Connections that one student may have; one that broke unnoticed counts for about a minute."""
WRONG_CODES, WRONG_CODES_A_SECOND = 10, 0.1
"""How many wrong codes one address may try at once, and in the long run."""
MESSAGES, MESSAGES_A_SECOND = 10, 1.0
"""How many messages one student may send at once, and in the long run."""
MAX_ADDRESSES = 1000
"""Addresses whose wrong codes are remembered."""
UNSEEN = "200C-200D 034F 115F-1160 17B4-17B5 180B-180F 2800 3164 FE00-FE0F FFA0 E0100-E01EF"
"""Characters, in ranges, that nobody sees; some scripts, and some emoji, need them."""


class Bucket:
    """Lets `size` things happen at once, and `rate` a second in the long run: a token bucket."""

    def __init__(self, size: int, rate: float, now: float) -> None:
        self._size, self._rate = size, rate
        self._level, self._filled_at = float(size), now

    def take(self, now: float) -> bool:
        """Take one token; return False, and take none, if there is none."""
        self._fill(now)
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token: 0 if there is one."""
        self._fill(now)
        return max(0.0, (1 - self._level) / self._rate)

    def _fill(self, now: float) -> None:
        self._level = min(self._size, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now


class Door:
    """The join code, and the patience with those who guess it.

    Every address has its own share of wrong codes. So nobody can try enough of them to find the
    right one, and whoever tries keeps nobody at another address out.
    """

    def __init__(self, code: str, clock: Callable[[], float]) -> None:
        self.code, self._clock = code, clock
        self._buckets: dict[str, Bucket] = {}

    def check(self, code: Any, address: str | None, *, known: bool = False) -> None:
        """Return if the code is right. Raises Refused otherwise.

        An address with too many wrong codes is not even told whether the next is right, except for
        a student who is `known` already.
        """
        if code is None or code == "":
            raise Refused("no code", "a join code is needed")
        now, bucket = self._clock(), self._bucket(address)
        if not known and (wait := bucket.wait(now)):
            raise Refused(
                "too many codes", f"too many wrong codes: try again in {ceil(wait)} seconds"
            )
        if not secrets.compare_digest(as_typed(code).encode(), self.code.encode()):
            bucket.take(now)
            raise Refused("wrong code", "this is not the join code of this class")

    def _bucket(self, address: str | None) -> Bucket:
        """Return the bucket of an address, as the one that was asked for last."""
        network = _network(address)
        bucket = self._buckets.pop(network, None)
        if bucket is None:
            bucket = Bucket(WRONG_CODES, WRONG_CODES_A_SECOND, self._clock())
        self._buckets[network] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return bucket


@dataclass(eq=False)
class Student:
    """Somebody who has joined. The badge is a secret of the browser: it makes the name its own."""

    name: str
    badge: str = field(repr=False)
    bucket: Bucket = field(repr=False)
    sids: list[str] = field(default_factory=list)
    """Its connections, the newest last."""
    offset: int = 0
    """How far its page has come, as far as it has said."""
    goal: int = 0
    """How far the log had come when the page was asked for that."""
    heard: float = 0
    """When the page last came or left."""
    asked: float | None = None
    """When it was asked for its offset, if it has not answered yet."""

    def owns(self, badge: str) -> bool:
        """Whether a badge is the one with which the name was taken."""
        return secrets.compare_digest(self.badge, badge)

    def signed(self, text: Any) -> str:
        """Return a message with the name of its sender in front. Raises Refused if it is none."""
        room = MAX_TEXT - len(self.name) - len(": ")
        if len(check_text(text)) > room:
            raise Refused(
                "text too long", f"with your name, a message has at most {room:,} characters"
            )
        return f"{self.name}: {text}"

    def spend(self, now: float) -> None:
        """Count a message. Raises Refused, so that it is sent again later, if there are many.

        So whoever sends the next one before the answer may have them stored in another order.
        """
        if not self.bucket.take(now):
            raise Refused(NOT_STORED, "you write faster than the class can read")


class Roster:
    """The students of a class, by name. A name belongs to the first who takes it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._students: dict[str, Student] = {}
        self._here: dict[str, Student] = {}

    def __iter__(self) -> Iterator[Student]:
        return iter(sorted(self._students.values(), key=lambda student: _looks(student.name)))

    def __len__(self) -> int:
        return len(self._students)

    def of(self, sid: str) -> Student | None:
        """Return whose connection this is; None if nobody has joined on it."""
        return self._here.get(sid)

    def knows(self, name: Any, badge: Any) -> bool:
        """Whether a name was taken with this badge before."""
        try:
            student = self._students.get(_looks(check_name(name)))
            return student is not None and student.owns(check_badge(badge))
        except Refused:
            return False

    def join(self, name: Any, badge: Any, sid: str) -> Student:
        """Let somebody in, on one more connection.

        Raises Refused for a name or a badge that is none, for a name that is taken, and for one
        connection too many.
        """
        name, badge = check_name(name), check_badge(badge)
        student = self._students.get(_looks(name)) or self._add(name, badge)
        if not student.owns(badge):
            raise Refused("name taken", f"somebody here is called {name} already: choose another")
        self.leave(sid)
        if len(student.sids) >= MAX_TABS:
            raise Refused("too many tabs", f"you have {MAX_TABS} connections: close some")
        student.sids.append(sid)
        student.heard, student.asked = self._clock(), None
        self._here[sid] = student
        return student

    def leave(self, sid: str) -> None:
        """Hear that a connection has ended, whether or not anybody had joined on it."""
        if student := self._here.pop(sid, None):
            student.sids.remove(sid)
            student.heard, student.asked = self._clock(), None

    def _add(self, name: str, badge: str) -> Student:
        if len(self._students) >= MAX_STUDENTS:
            self._make_room()
        bucket = Bucket(MESSAGES, MESSAGES_A_SECOND, self._clock())
        student = self._students[_looks(name)] = Student(name, badge, bucket)
        return student

    def _make_room(self) -> None:
        away = [student for student in self._students.values() if not student.sids]
        if not away:
            raise Refused("class full", f"the class is full: it has {MAX_STUDENTS} students")
        del self._students[_looks(min(away, key=lambda student: student.heard).name)]


def new_code() -> str:
    """Make a join code that nobody can foresee."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


def check_code(text: str) -> str:
    """Return a join code that somebody has chosen. Raises ValueError if it can be none."""
    code = as_typed(text)
    if len(code) != CODE_LENGTH or not set(code) <= set(ALPHABET):
        raise ValueError(f"a join code has {CODE_LENGTH} characters of {ALPHABET}")
    return code


def as_typed(code: Any) -> str:
    """Return a code as it is compared: in small letters, or with spaces in it, it is the same."""
    return "".join(code.split()).upper() if _typable(code) else ""


def _typable(code: Any) -> bool:
    return isinstance(code, str) and code.isascii() and len(code) <= 10 * CODE_LENGTH


def check_name(value: Any) -> str:
    """Return a name as it is shown, with no space too many. Raises Refused ("bad name").

    It has no colon, because a colon ends it where it stands before a message, and nothing that
    nobody sees: it could hide the name, or turn the text behind it around.
    """
    if not isinstance(value, str) or len(value) > 10 * MAX_NAME:
        raise Refused("bad name", f"a name is a text of 1 to {MAX_NAME} characters")
    name = " ".join(unicodedata.normalize("NFC", value).split())
    if not 0 < len(name) <= MAX_NAME:
        raise Refused("bad name", f"a name has 1 to {MAX_NAME} characters")
    if ":" in name or any(unicodedata.category(letter)[0] == "C" for letter in _seen(name)):
        raise Refused("bad name", "a name has no colon and no control characters")
    if not any(unicodedata.category(letter)[0] in "LNS" for letter in _seen(name)):
        raise Refused("bad name", "a name has a letter, a digit or a symbol")
    return name


def check_badge(value: Any) -> str:
    """Return a badge: a secret that a browser has made up. Raises Refused ("bad badge")."""
    if isinstance(value, str) and 16 <= len(value) <= MAX_BADGE and value.isascii():
        return value
    raise Refused("bad badge", f"a badge is a text of 16 to {MAX_BADGE} ASCII characters")


def _seen(name: str) -> str:
    return name.translate(_NOTHING)


def _looks(name: str) -> str:
    """Return what two names have in common that look the same, or nearly."""
    return " ".join(_seen(unicodedata.normalize("NFKC", _seen(name))).casefold().split())


def _network(address: str | None) -> str:
    """Return what is one address as far as codes go: with IPv6, a machine has many in one /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _characters(ranges: str) -> Iterator[int]:
    for one in ranges.split():
        first, _, last = one.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


_NOTHING = dict.fromkeys(_characters(UNSEEN))
"""What turns a name into what is seen of it."""
