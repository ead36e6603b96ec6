"""The Socket.IO handlers of a class: they check a request, then call the finished server's.

A student's page sends a join code, a name and a badge whenever it connects. The server puts the
name in front of each message. This module must not know the console or the link.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import socketio
from socketio.exceptions import ConnectionRefusedError

from chatlab.classroom.door import Door
from chatlab.classroom.roster import Roster, Student
from chatlab.log import KEY_USED, MessageLog
from chatlab.messages import CHAT_MESSAGE, NOT_STORED, WHERE, Refused, check_offset
from chatlab.server import Handlers, chat, drop_key

ASK_EVERY = 0.5
"""Seconds between two questions to a page for its offset, while a console is open."""
ASK_AT_ONCE = 200
"""The most pages that are asked at once. In a larger class each waits longer for its turn: the
answers of all would take more time than the chat."""
SILENT = 2.0
"""Seconds without an answer after which the console shows "silent"."""
ADDRESS: ContextVar[str | None] = ContextVar("address", default=None)
"""The network address of the client whose request is being handled; None if it is unknown."""
AWAY, CATCHING_UP, CAUGHT_UP = "away", "catching up", "caught up"


class StudentRow(NamedTuple):
    """What the console shows of one student."""

    name: str
    state: str
    offset: int
    """The offset of the last message that the page has, from its last answer."""
    behind: int
    """How many messages the page does not have."""


class ClassHandlers:
    """The handlers of a class. Register them instead of the finished server's.

    `clock` returns seconds. `handlers` registers the handlers of the chat, which these ones call.
    """

    def __init__(
        self,
        code: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        handlers: Handlers = chat,
    ) -> None:
        self._handlers = handlers
        self.door, self.roster, self.clock = Door(code, clock), Roster(clock), clock
        self._asked_at = clock() - ASK_EVERY

    def __call__(self, sio: socketio.AsyncServer, log: MessageLog) -> None:
        """Register the chat's handlers, and replace them by these, which call them."""
        self._handlers(sio, log)
        drop_key(sio)
        self.sio, self.log = sio, log
        self._inner = dict(sio.handlers["/"])
        sio.on("connect", self._connect)
        sio.on("disconnect", self._disconnect)
        sio.on(CHAT_MESSAGE, self._chat_message)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any) -> bool | None:
        # No `await` until the student has joined, so no other handler sees half of a join.
        try:
            student = self._admit(sid, ADDRESS.get(), auth)
        except Refused as refusal:
            raise ConnectionRefusedError(str(refusal), refusal.as_dict()) from None
        try:
            allowed = await self._inner["connect"](sid, environ, auth)
        except BaseException:
            self.roster.leave(sid)
            raise
        if allowed is False:  # python-socketio's other way to refuse a connection
            self.roster.leave(sid)
            return False
        student.goal = self.log.head
        if len(student.sids) == 1:  # a further connection may be for earlier messages
            self._note_offset(student, auth.get("serverOffset", 0))
        return None

    def _admit(self, sid: str, address: str | None, auth: Any) -> Student:
        """Check the code, and let the student join. A recovered client needs the code too."""
        fields = auth if isinstance(auth, dict) else {}
        name, badge = fields.get("name"), fields.get("badge")
        self.door.check(fields.get("code"), address, known=self.roster.knows(name, badge))
        return self.roster.join(name, badge, sid, address)

    async def _disconnect(self, sid: str, reason: str) -> None:
        self.roster.leave(sid)
        await self._inner["disconnect"](sid, reason)

    async def _chat_message(self, sid: str, *arguments: Any) -> int | dict[str, str]:
        student = self.roster.of(sid)
        text, *keys = arguments or [None]
        try:
            if student is None:
                raise Refused(NOT_STORED, "you are not in")  # the client may send it again
            student.count_message(self.clock())
            signed, keys = student.signed(text), list(map(student.own_key, keys))
        except Refused as refusal:
            return refusal.as_dict()
        student.wrote = True
        answer = await self._inner[CHAT_MESSAGE](sid, signed, *keys)
        if isinstance(answer, dict) and answer["error"] == KEY_USED[0]:
            return await self._stored_offset(text, *keys) or answer
        return answer

    async def _stored_offset(self, text: str, key: str) -> int | None:
        """Return the offset of the message that is stored with this key and text, under any name.

        A student whose message was stored, but who did not get the answer, may join again with
        another name and send the message again. It must not be stored twice.
        """
        message = await self.log.find(key)
        same = message is not None and message.text.partition(": ")[2] == text
        return message.offset if same else None

    # What the instructor sees, and can do to a student

    def free(self, name: str) -> None:
        """Forget a student, and end the student's connections. Then anybody may take the name.

        Raises KeyError if there is no such student.
        """
        for sid in self.roster.free(name):
            self.sio.start_background_task(self.sio.disconnect, sid)

    def rows(self) -> list[StudentRow]:
        """Return a row for each student. Ask the pages for their offsets if it is time."""
        if self.clock() >= self._asked_at + ASK_EVERY:
            self._asked_at = self.clock()
            self._ask()
        return [self._row(student) for student in self.roster]

    def _row(self, student: Student) -> StudentRow:
        silent = self._silence(student)
        # Messages that came after the question do not count: the page could not have them.
        goal = student.goal if student.sids and not silent else self.log.head
        behind = max(0, goal - student.offset)
        if not student.sids:
            state = AWAY
        elif silent:
            state = f"silent for {silent} s"
        else:
            state = CATCHING_UP if behind else CAUGHT_UP
        return StudentRow(student.name, state, student.offset, behind)

    def _silence(self, student: Student) -> int:
        """Return for how many seconds a page has not answered; 0 if this is less than SILENT."""
        waited = 0 if student.asked_at is None else self.clock() - student.asked_at
        return int(waited) if waited >= SILENT else 0

    def _ask(self) -> None:
        """Ask the pages that have answered the last question, those first that wait longest."""
        ready = [student for student in self.roster if student.sids and student.asked_at is None]
        for student in sorted(ready, key=lambda student: student.turn)[:ASK_AT_ONCE]:
            student.asked_at = student.turn = self.clock()
            # Each in a task of its own: a connection that fails holds up no other question.
            self.sio.start_background_task(self._send_question, student, student.sids[-1])

    async def _send_question(self, student: Student, sid: str) -> None:
        callback = partial(self._on_answer, student, sid, self.log.head)
        # Whatever a broken connection raises: the page is shown as silent.
        with suppress(Exception):
            await self.sio.emit(WHERE, to=sid, callback=callback)

    def _on_answer(self, student: Student, sid: str, head: int, *answer: Any) -> None:
        if student.sids[-1:] != [sid]:
            return  # the student has opened a newer tab since
        student.asked_at, student.goal = None, head
        self._note_offset(student, answer[0] if answer else None)

    def _note_offset(self, student: Student, offset: Any) -> None:
        """Note the offset that a page says it has, if the log has such an offset."""
        with suppress(Refused):
            if check_offset(offset) <= self.log.head:
                student.offset = offset
