"""The handlers of a class: the finished server's, behind a door.

A student says a join code and a name whenever it connects, and its name stands in front of whatever
it writes. What the finished server does with a message, and with a connection, is not changed.
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

from chatlab.classroom.roster import Door, Roster, Student
from chatlab.log import KEY_USED, MessageLog
from chatlab.messages import CHAT_MESSAGE, NOT_STORED, WHERE, Refused, check_offset, offset_of
from chatlab.server import Handlers, chat, drop_key

ASK_EVERY = 0.5
"""Seconds after which a page is asked again how far it has come, while somebody looks."""
SILENT = 2.0
"""Seconds without an answer after which that is worth saying."""
ADDRESS: ContextVar[str | None] = ContextVar("address", default=None)
"""The address of the client whose request is being handled, if it is known."""
AWAY, CATCHING_UP, CAUGHT_UP = "away", "catching up", "caught up"


class Row(NamedTuple):
    """How it stands with one student."""

    name: str
    state: str
    offset: int
    """The last message that the page has, as far as it has said."""
    behind: int
    """How many messages it has not."""


class Seats:
    """The handlers of a class, to be registered in the place of the finished server's.

    `clock` counts seconds. `handlers` are those of the server behind the door.
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
        self._looked = clock() - ASK_EVERY

    def __call__(self, sio: socketio.AsyncServer, log: MessageLog) -> None:
        """Register the handlers: those of the finished server, behind the door."""
        self._handlers(sio, log)
        drop_key(sio)
        self.sio, self.log = sio, log
        self._inner = dict(sio.handlers["/"])
        sio.on("connect", self._connect)
        sio.on("disconnect", self._disconnect)
        sio.on(CHAT_MESSAGE, self._chat_message)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any) -> bool | None:
        # Nothing is awaited before the answer is known, so nobody is ever half inside.
        try:
            student = self._admit(sid, ADDRESS.get(), auth)
        except Refused as refusal:
            raise ConnectionRefusedError(str(refusal), refusal.as_dict()) from None
        try:
            allowed = await self._inner["connect"](sid, environ, auth)
        except BaseException:
            self.roster.leave(sid)
            raise
        if allowed is False:  # so a handler of python-socketio's refuses
            self.roster.leave(sid)
            return False
        student.goal = self.log.head
        with suppress(Refused):  # who is recovered need not say an offset
            student.offset = offset_of(auth)
        return None

    def _admit(self, sid: str, address: str | None, auth: Any) -> Student:
        """Let somebody in. Who is recovered has to know the code too: a pid is none."""
        said = auth if isinstance(auth, dict) else {}
        name, badge = said.get("name"), said.get("badge")
        self.door.check(said.get("code"), address, known=self.roster.knows(name, badge))
        return self.roster.join(name, badge, sid)

    async def _disconnect(self, sid: str, reason: str) -> None:
        self.roster.leave(sid)
        await self._inner["disconnect"](sid, reason)

    async def _chat_message(self, sid: str, *arguments: Any) -> int | dict[str, str]:
        student = self.roster.of(sid)
        text, *key = arguments or [None]
        try:
            if student is None:
                raise Refused(NOT_STORED, "you are not in")  # it may be sent again
            signed = student.signed(text)
            student.spend(self.clock())
        except Refused as refusal:
            return refusal.as_dict()
        answer = await self._inner[CHAT_MESSAGE](sid, signed, *key)
        if isinstance(answer, dict) and answer["error"] == KEY_USED[0]:
            return await self._stored(text, *key) or answer
        return answer

    async def _stored(self, text: str, client_offset: str) -> int | None:
        """Return the offset of a message that is stored already, under another name.

        Whoever joins again with another name may send a letter once more of which only the answer
        was lost. It is the same letter: its key and its text are.
        """
        message = await self.log.find(client_offset)
        same = message is not None and message.text.partition(": ")[2] == text
        return message.offset if same else None

    # What the instructor sees

    def rows(self) -> list[Row]:
        """Return a row for each student; ask them for what the next ones say, if it is time."""
        if self.clock() >= self._looked + ASK_EVERY:
            self._looked = self.clock()
            self._ask()
        return [self._row(student) for student in self.roster]

    def _row(self, student: Student) -> Row:
        silent = self._silence(student)
        # What a page was asked after came later is no delay of its own.
        goal = student.goal if student.sids and not silent else self.log.head
        behind = max(0, goal - student.offset)
        if not student.sids:
            state = AWAY
        elif silent:
            state = f"silent for {silent} s"
        else:
            state = CATCHING_UP if behind else CAUGHT_UP
        return Row(student.name, state, student.offset, behind)

    def _silence(self, student: Student) -> int:
        """Return for how many seconds a page has not answered, if that is worth saying."""
        waited = 0 if student.asked is None else self.clock() - student.asked
        return int(waited) if waited >= SILENT else 0

    def _ask(self) -> None:
        """Ask every page that has answered last time how far it has come."""
        asked = [student for student in self.roster if student.sids and student.asked is None]
        for student in asked:
            student.asked = self.clock()
        if asked:
            self.sio.start_background_task(self._send_questions, asked)

    async def _send_questions(self, asked: list[Student]) -> None:
        for student in asked:
            if student.sids:
                sid = student.sids[-1]
                heard = partial(self._heard, student, sid, self.log.head)
                await self.sio.emit(WHERE, to=sid, callback=heard)

    def _heard(self, student: Student, sid: str, head: int, *answer: Any) -> None:
        if student.sids[-1:] != [sid]:
            return  # an older tab of this student's
        student.asked, student.goal = None, head
        with suppress(Refused):
            student.offset = check_offset(answer[0] if answer else None)
