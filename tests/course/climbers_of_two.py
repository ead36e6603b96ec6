"""Servers that climb the second ladder, where they run twice: right ones, and mistakes."""

import asyncio
import sys

import cloudpickle
from climbers import (
    chat,
    echo,
    fan_out,
    in_memory,
    keys_in_a_global,
    keys_in_memory,
    names_every_error,
    newest_ten,
    one_lock,
    one_reads_at_a_time,
    plain_tasks,
    raises,
    reference,
    sender_as_key,
    takes,
    unguarded,
    without_key,
    without_offsets,
)
from support import ordered, tutorial

from chatlab.messages import CHAT_MESSAGE, Message, Refused

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import this


def one_loop_for_all(sio, log):
    """One task reads what is new, and puts it into a queue for each tab of its server."""
    queues, tasks = {}, []

    @sio.event
    async def connect(sid, environ, auth):
        if not queues and not tasks:
            tasks.append(asyncio.create_task(read(log.head)))
        queues[sid] = queue = asyncio.Queue()
        queue.task = asyncio.create_task(deliver(sid, queue, auth["serverOffset"]))

    @sio.event
    async def disconnect(sid, reason):
        queues.pop(sid).task.cancel()

    async def read(cursor):
        while True:
            await log.newer(cursor)
            rows = await log.after(cursor)
            cursor = rows[-1].offset
            for queue in queues.values():
                queue.put_nowait(rows)

    async def deliver(sid, queue, cursor):
        rows = await log.after(offset=cursor)  # a reader may write it so
        while True:
            for message in rows:
                if message.offset > cursor:
                    await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)
                    cursor = message.offset
            rows = await queue.get()

    takes(sio, log.append)


RIGHT = [chat, reference, plain_tasks, one_reads_at_a_time, one_loop_for_all]


# Mistakes, each with the rung at which it falls and a piece of what the climb says.


def remembers_its_own(sio, log):
    """It has in its memory what was sent through it, and a tab that comes gets what it missed."""
    mine = []
    ordered(sio, log)
    go_on = sio.handlers["/"]["connect"]

    @sio.event
    async def connect(sid, environ, auth):
        for text, offset in mine:
            if offset > auth["serverOffset"]:
                await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)
        await go_on(sid, environ, {"serverOffset": log.head})

    async def append(text, key):
        offset = await log.append(text, key)
        mine.append((text, offset))
        return offset

    takes(sio, append)


def the_newest_one(sio, log):
    """It takes the newest message for all that was missed."""
    newest_ten(sio, log, 1)


def asks_nobody(sio, log):
    """It judges a tab by what it has read itself."""

    async def nobody(*place):
        """Ask nobody."""

    log.reach = nobody
    chat(sio, log)


def from_the_beginning(sio, log):
    """Of a tab that has more than it has itself, it knows nothing."""
    ordered(sio, log)
    go_on = sio.handlers["/"]["connect"]

    @sio.event
    async def connect(sid, environ, auth):
        known = auth["serverOffset"] <= log.head
        await go_on(sid, environ, auth if known else {"serverOffset": 0})

    takes(sio, log.append)


def shows_its_own_first(sio, log, *, to_all=True):
    """It shows at once what was sent through it; the rest comes from the log."""
    here, shown = set(), set()

    async def send(sid, message):
        if (sid, message.offset) not in shown:
            shown.add((sid, message.offset))
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)

    ordered(sio, log, send=send)
    go_on = sio.handlers["/"]["connect"]

    @sio.event
    async def connect(sid, environ, auth):
        here.add(sid)
        await go_on(sid, environ, auth)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        try:
            offset = await log.append(text, client_offset)
        except Refused as refusal:
            return refusal.as_dict()
        for other in here if to_all else [sid]:
            await send(other, Message(offset, text))
        return offset


def shows_the_sender_first(sio, log):
    """Its sender need not wait for the log, it thinks."""
    shows_its_own_first(sio, log, to_all=False)


def remembers_since_its_start(sio, log):
    """It has in its memory what was stored since it was started, through whichever server."""
    kept, start, reading = [], [], asyncio.Lock()

    async def rows(cursor):
        if not start:
            start.append(log.head)
        async with reading:
            kept.extend(await log.after(kept[-1].offset if kept else start[0]))
        return [message for message in kept if message.offset > cursor]

    ordered(sio, log, rows=rows)
    takes(sio, log.append)


def acknowledges_before_it_stores(sio, log):
    """It stores in the background, under the key, and says at once that all is well."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        sio.start_background_task(log.append, text, client_offset)


NOWHERE = 'ann at server 0 sent "one", and bob at server 1 never shows it'
TWICE = 'duplicated: ann shows 3 "one" again'
MISTAKES = [
    (tutorial, "shows everywhere", NOWHERE),
    (echo, "shows everywhere", NOWHERE),
    (in_memory, "shows everywhere", NOWHERE),
    (fan_out, "shows everywhere", NOWHERE),
    (one_lock, "shows everywhere", NOWHERE),
    (raises, "shows everywhere", "ZeroDivisionError: division by zero"),
    (remembers_its_own, "moves", 'lost: bob never shows 3 "three"'),
    (the_newest_one, "moves", 'lost: bob never shows 2 "two"'),
    (without_offsets, "moves", 'duplicated: ann shows "one" again'),
    (asks_nobody, "is ahead", "made her page begin anew: did it ask the database"),
    (from_the_beginning, "is ahead", 'duplicated: ann shows 1 "one" again'),
    (shows_its_own_first, "in one order", 'reordered: bob shows 1 "one" late'),
    (shows_the_sender_first, "in one order", 'reordered: bob shows 1 "one" late'),
    (keys_in_memory, "stores once", TWICE),
    (without_key, "stores once", TWICE),
    (sender_as_key, "stores once", TWICE),
    (ordered, "stores once", TWICE),
    (keys_in_a_global, "is killed", TWICE),
    (remembers_since_its_start, "is killed", 'lost: carol never shows 1 "one"'),
    (acknowledges_before_it_stores, "database restarts", "missing: bob was told"),
    (unguarded, "database restarts", 'stored "two" of bob, and he has no answer: `except'),
    (names_every_error, "database restarts", "and he was told that it is refused: `except Refused"),
]
