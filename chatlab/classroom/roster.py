"""The students of a class: their names, their connections, and how many messages they may send.

It has no socket, and gets the time, in seconds, from its caller.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chatlab.classroom.door import Bucket
from chatlab.classroom.names import check_badge, check_name, name_key
from chatlab.messages import MAX_TEXT, NOT_STORED, Refused, check_text

MAX_STUDENTS = 500
"""The most students. When there are more, the class forgets the one that left longest ago."""
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

    def owns(self, badge: str) -> bool:
        """Return whether the name was taken with this badge."""
        return secrets.compare_digest(self.badge, badge)

    def signed(self, text: Any) -> str:
        """Return a message with the student's name in front. Raises Refused if it is not valid."""
        room = MAX_TEXT - len(self.name) - len(": ")
        if len(check_text(text)) > room:
            raise Refused(
                "text too long", f"with your name, a message has at most {room:,} characters"
            )
        return f"{self.name}: {text}"

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
        self._connected: dict[str, Student] = {}

    def __iter__(self) -> Iterator[Student]:
        return iter(sorted(self._students.values(), key=lambda student: name_key(student.name)))

    def __len__(self) -> int:
        return len(self._students)

    def of(self, sid: str) -> Student | None:
        """Return the student of a connection; None if nobody has joined on it."""
        return self._connected.get(sid)

    def knows(self, name: Any, badge: Any) -> bool:
        """Return whether a student has this name and this badge."""
        try:
            student = self._students.get(name_key(check_name(name)))
            return student is not None and student.owns(check_badge(badge))
        except Refused:
            return False

    def join(self, name: Any, badge: Any, sid: str) -> Student:
        """Add a connection of a student, who may be new.

        Raises Refused if the name or the badge is not valid, if another student has the name, if
        the student has too many connections, or if the class is full.
        """
        name, badge = check_name(name), check_badge(badge)
        student = self._students.get(name_key(name)) or self._add(name, badge)
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

    def _add(self, name: str, badge: str) -> Student:
        if len(self._students) >= MAX_STUDENTS:
            self._forget_one()
        bucket = Bucket(MESSAGES, MESSAGES_A_SECOND, self._clock())
        student = self._students[name_key(name)] = Student(name, badge, bucket)
        return student

    def _forget_one(self) -> None:
        away = [student for student in self._students.values() if not student.sids]
        if not away:
            raise Refused("class full", f"the class is full: it has {MAX_STUDENTS} students")
        del self._students[name_key(min(away, key=lambda student: student.seen_at).name)]
