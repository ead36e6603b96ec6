"""The students of a class: their names, their connections, and how many messages they may send.

It has no socket, and gets the time, in seconds, from its caller.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil
from typing import Any

from chatlab.classroom.door import Bucket, Buckets, network_of
from chatlab.classroom.names import check_badge, check_line, check_name, name_keys
from chatlab.messages import MAX_TEXT, NOT_STORED, Refused, check_client_offset

MAX_STUDENTS = 1000
"""The most students. When there are more, the class forgets the one that left longest ago, of those
that have written nothing."""
NEW_NAMES, NEW_NAMES_A_SECOND = 500, 0.1
"""How many new names may come from one address at once, and how many a second in the long run.

A whole class behind one router has one address: five hundred students can join at any pace. But
alone, an address needs more than an hour to take all the names that a class may have."""
MAX_TABS = 20
"""Connections that one student may have. A broken one counts until the server notices it."""
MESSAGES, MESSAGES_A_SECOND = 10, 1.0
"""How many messages one student may send at once, and how many a second in the long run."""


@dataclass(eq=False)
class Student:
    """A student who has joined the class."""

    name: str
    badge: str = field(repr=False)
    """The secret of the browser that took the name: see `check_badge`."""
    bucket: Bucket = field(repr=False)
    network: str = ""
    """The network address from which the name was taken."""
    wrote: bool = False
    """Whether the student has written: then the name stays while the class runs, unless
    somebody frees it."""
    sids: list[str] = field(default_factory=list)
    """The student's connections, the newest last."""
    offset: int = 0
    """The offset of the last message that the page has, from its last answer."""
    goal: int = 0
    """The last offset of the log when the page was asked for its offset."""
    seen_at: float = 0
    """When the student last connected or disconnected, in seconds of the clock."""
    asked_at: float | None = None
    """When the page was asked for its offset; None if it has answered."""
    turn: float = 0
    """When the page was asked last, whether or not it has answered."""

    def owns(self, badge: str) -> bool:
        """Return whether the name was taken with this badge."""
        return secrets.compare_digest(self.badge, badge)

    def signed(self, text: Any) -> str:
        """Return a message with the student's name in front. Raises Refused if it is not valid."""
        room = MAX_TEXT - len(self.name) - len(": ")
        if len(check_line(text)) > room:
            raise Refused(
                "text too long", f"with your name, a message has at most {room:,} characters"
            )
        return f"{self.name}: {text}"

    def own_key(self, client_offset: Any) -> str | None:
        """Return the key for the log of a message that the student sends with this client_offset.

        Nobody else can make this key, so nobody can use it up before the student does. It stays the
        same when the browser joins again, under another name too. Raises Refused if the
        client_offset is not valid.
        """
        key = check_client_offset(client_offset)
        return key and sha256(f"{self.badge} {key}".encode()).hexdigest()

    def count_message(self, now: float) -> None:
        """Count a message. Raises Refused (NOT_STORED) if there are too many: send it again later.

        So the order may change if a client sends messages without waiting for the answers.
        """
        if not self.bucket.take(now):
            raise Refused(NOT_STORED, "you write faster than the class can read")


class Roster:
    """The students of a class, by name. A name belongs to the first student who takes it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._students: dict[str, Student] = {}
        """Each student, by the first key of the name."""
        self._taken: dict[str, Student] = {}
        """Each student, by every key of the name."""
        self._connected: dict[str, Student] = {}
        self._new_names = Buckets(NEW_NAMES, NEW_NAMES_A_SECOND, clock)

    def __iter__(self) -> Iterator[Student]:
        return iter([self._students[key] for key in sorted(self._students)])

    def __len__(self) -> int:
        return len(self._students)

    @property
    def full(self) -> bool:
        """Whether there is no room for another name."""
        return len(self) >= MAX_STUDENTS

    def busiest(self) -> tuple[str, int]:
        """Return the address from which most names were taken, and how many it took."""
        return max(
            Counter(student.network for student in self._students.values()).items(),
            key=lambda counted: counted[1],
            default=("", 0),
        )

    def of(self, sid: str) -> Student | None:
        """Return the student of a connection; None if nobody has joined on it."""
        return self._connected.get(sid)

    def knows(self, name: Any, badge: Any) -> bool:
        """Return whether a student has this name and this badge."""
        try:
            student = self._find(check_name(name))
            return student is not None and student.owns(check_badge(badge))
        except Refused:
            return False

    def join(self, name: Any, badge: Any, sid: str, address: str | None = None) -> Student:
        """Add a connection of a student, who may be new.

        Raises Refused if the name or the badge is not valid, if another student has the name, if
        the student has too many connections, if too many new names came from the network address,
        or if the class is full.
        """
        name, badge = check_name(name), check_badge(badge)
        student = self._find(name) or self._add(name, badge, address)
        if not student.owns(badge):
            raise Refused("name taken", f"somebody here is called {name} already: choose another")
        self.leave(sid)
        if len(student.sids) >= MAX_TABS:
            raise Refused("too many tabs", f"you have {MAX_TABS} connections: close some")
        student.sids.append(sid)
        student.seen_at, student.asked_at = self._clock(), None
        self._connected[sid] = student
        return student

    def leave(self, sid: str) -> None:
        """Remove a connection. Do nothing if no student has joined on it."""
        if student := self._connected.pop(sid, None):
            student.sids.remove(sid)
            student.seen_at, student.asked_at = self._clock(), None

    def free(self, name: str) -> list[str]:
        """Forget a student, so that anybody may take the name. Return the student's connections.

        Raises KeyError if there is no such student.
        """
        student = self._students[name_keys(name)[0]]
        sids = student.sids.copy()
        for sid in sids:
            self.leave(sid)
        self._forget(student)
        self._new_names.of(student.network).give_back()  # for the one who needs the name
        return sids

    def _find(self, name: str) -> Student | None:
        """Return the student who has this name, or one that looks like it."""
        return next((self._taken[key] for key in name_keys(name) if key in self._taken), None)

    def _add(self, name: str, badge: str, address: str | None) -> Student:
        self._make_room(address)
        bucket = Bucket(MESSAGES, MESSAGES_A_SECOND, self._clock())
        student = Student(name, badge, bucket, network_of(address))
        keys = name_keys(name)
        self._students[keys[0]] = student
        self._taken.update(dict.fromkeys(keys, student))
        return student

    def _make_room(self, address: str | None) -> None:
        """Count a new name from an address, and forget another one if there are too many.

        From an address with too many new names, a name takes the place of another one from there.
        So somebody who takes names and leaves keeps nobody out who is behind the same router. It is
        the one who left last: whoever takes many names loses those, and nobody else a name.
        """
        names, now = self._new_names.of(address), self._clock()
        if wait := names.wait(now):
            if not self._forget_one(network_of(address)):
                raise Refused(
                    "too many names",
                    f"too many new names from your network: try again in {ceil(wait)} seconds",
                )
            return
        if self.full and not self._forget_one():
            raise Refused("class full", f"the class is full: it has {MAX_STUDENTS} students")
        names.take(now)

    def _forget_one(self, network: str | None = None) -> bool:
        """Forget one who is away and has written nothing. Return whether there is such one.

        It is who left last from that network; without a network, who left longest ago of all.
        """
        away = [
            student
            for student in self._students.values()
            if not student.sids and not student.wrote and network in (None, student.network)
        ]
        if away:
            choose = min if network is None else max
            self._forget(choose(away, key=lambda student: student.seen_at))
        return bool(away)

    def _forget(self, student: Student) -> None:
        keys = name_keys(student.name)
        del self._students[keys[0]]
        for key in set(keys):
            del self._taken[key]
