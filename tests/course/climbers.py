"""Servers that climb the ladder: right ones, and mistakes that somebody would make."""

import asyncio
import sys
from collections import defaultdict, deque

import cloudpickle
from support import ordered, tutorial

from chatlab.course.ladder import climb
from chatlab.messages import CHAT_MESSAGE, Refused
from chatlab.server.app import chat

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import this
AT_ONCE = 3
"""How many servers climb at the same time: they spend it waiting."""


async def climbs(climbers, at_once=AT_ONCE, **options):
    """Let servers climb, a few at a time; return their results."""
    places = asyncio.Semaphore(at_once)

    async def one(server):
        async with places:
            return await climb(server, **options)

    return await asyncio.gather(*map(one, climbers))


def takes(sio, append):
    """Store messages under their key, and answer with the refusal of one that is not valid."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        try:
            return await append(text, client_offset)
        except Refused as refusal:
            return refusal.as_dict()


def reference(sio, log):
    """Ordered streams, keys, refusals: all that the ladder asks."""
    ordered(sio, log)
    takes(sio, log.append)


def one_reads_at_a_time(sio, log):
    """The same, but only one connection reads the log at a time: slower, and right."""
    reading = asyncio.Lock()

    async def rows(cursor):
        async with reading:
            return await log.after(cursor)

    ordered(sio, log, rows=rows)
    takes(sio, log.append)


def plain_tasks(sio, log, *, step=lambda cursor, offset: offset):
    """asyncio starts its tasks, so nobody knows them. A variant moves the cursor in its own way."""
    tasks = {}

    @sio.event
    async def connect(sid, environ, auth):
        tasks[sid] = asyncio.create_task(deliver(sid, auth["serverOffset"]))

    @sio.event
    async def disconnect(sid, reason):
        tasks.pop(sid).cancel()

    async def deliver(sid, cursor):
        while True:
            for message in await log.after(cursor):
                await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)
                cursor = step(cursor, message.offset)
            await log.newer(cursor)

    takes(sio, log.append)


def fan_out(sio, log):
    """A queue for each client and no lock: a handler puts what is new into all queues."""
    queues = defaultdict(asyncio.Queue)

    @sio.event
    async def connect(sid, environ, auth):
        queue, cursor = queues[sid], auth["serverOffset"]  # what comes from now on is in the queue
        for message in await log.after(cursor):
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)
            cursor = message.offset
        queue.task = asyncio.create_task(empty(sid, queue, cursor))

    @sio.event
    async def disconnect(sid, reason):
        queues.pop(sid).task.cancel()

    async def empty(sid, queue, cursor):
        while True:
            text, offset = await queue.get()
            if offset > cursor:
                await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)
                cursor = offset

    async def append(text, key):
        offset = await log.append(text, key)
        for queue in queues.values():
            queue.put_nowait((text, offset))
        return offset

    takes(sio, append)


def waits_while_catching_up(sio, log):
    """What is new waits in a list while a tab catches up, and is sent at the end of that."""
    behind, ready = {}, {}

    @sio.event
    async def connect(sid, environ, auth):
        waiting, cursor = deque(), auth["serverOffset"]
        behind[sid] = waiting
        waiting.extendleft(reversed(await log.after(cursor)))
        while waiting:
            offset, text = waiting.popleft()
            if offset > cursor:
                await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)
                cursor = offset
        del behind[sid]
        ready[sid] = cursor

    @sio.event
    async def disconnect(sid, reason):
        ready.pop(sid, None)

    async def append(text, key):
        offset = await log.append(text, key)
        for waiting in behind.values():
            waiting.append((offset, text))
        for sid in [sid for sid, cursor in ready.items() if cursor < offset]:
            ready[sid] = offset
            await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)
        return offset

    takes(sio, append)


def names_every_error(sio, log):
    """It makes an answer of its own for whatever goes wrong."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        try:
            return await log.append(text, client_offset)
        except Exception as error:
            return {"error": type(error).__name__}


def one_lock(sio, log, *, everybody=False, long=True, again=False):
    """One handler at a time, the first idea of many: right, and all wait while one catches up.

    Not so if it sends to `everybody`: a tab that waits for the lock in `connect` gets that too. Or
    if the lock is not held as `long` as it takes to send. Or if it sends an old offset `again`.
    """
    lock, here = asyncio.Lock(), set()

    @sio.event
    async def connect(sid, environ, auth):
        async with lock:
            for message in await log.after(auth["serverOffset"]):
                await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)
            here.add(sid)

    @sio.event
    async def disconnect(sid, reason):
        here.discard(sid)

    async def append(text, key):
        async with lock:
            newest = log.head
            offset = await log.append(text, key)
            if long:
                await show(text, offset, newest)
        if not long:
            await show(text, offset, newest)
        return offset

    async def show(text, offset, newest):
        for sid in [None] if everybody else list(here):
            if again or offset > newest:
                await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)

    takes(sio, append)


RIGHT = [
    reference,
    chat,
    one_reads_at_a_time,
    plain_tasks,
    fan_out,
    waits_while_catching_up,
    names_every_error,
    one_lock,
]
SLOWED = "while one tab catches up, all the others wait"
"""What the climb says of a right server with one lock for all."""
COSTLY = [one_reads_at_a_time, one_lock]


# Mistakes, each with the rung at which it falls and a piece of what the climb says.


def silent(sio, log):
    """It registers nothing."""


def broken(sio, log):
    """It cannot even be set up."""
    raise KeyError("a typing error")


def raises(sio, log):
    """Its handler has a bug."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        raise ZeroDivisionError("division by zero")


def hangs(sio, log):
    """Its handler never ends."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await asyncio.Event().wait()


def refuses_everybody(sio, log):
    """It refuses every connection."""

    @sio.event
    async def connect(sid, environ, auth):
        return False


def polls(sio, log):
    """It asks the log again and again, instead of waiting until it has grown."""
    takes(sio, log.append)

    @sio.event
    async def connect(sid, environ, auth):
        sio.start_background_task(deliver, sid, auth["serverOffset"])

    async def deliver(sid, cursor):
        while True:
            for message in await log.after(cursor):
                await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)
                cursor = message.offset
            await asyncio.sleep(0.01)


def waits_in_its_own_way(sio, log):
    """It has a task that waits for something of which nobody else knows."""
    stores_only(sio, log)

    @sio.event
    async def connect(sid, environ, auth):
        sio.start_background_task(asyncio.Queue().get)


def back_to_the_sender(sio, log):
    """It shows a message to its sender, and to nobody else."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, (text, await log.append(text)), to=sid)


def not_to_the_sender(sio, log):
    """Whoever writes a message knows it already."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, (text, await log.append(text)), skip_sid=sid)


def needs_a_key(sio, log):
    """It takes no message without a key, and says so to nobody."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset):
        return await log.append(text, client_offset)


def echo(sio):
    """Chapter 01: it shows a message, and keeps nothing."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, text)


def stores_only(sio, log):
    """Chapter 02: stored, shown, never sent again."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        offset = await log.append(text)
        await sio.emit(CHAT_MESSAGE, (text, offset))
        return offset


def catching_up(sio, log, *, rows=None, everybody=False):
    """Chapter 03, with another way to read or to send what a tab has missed."""
    stores_only(sio, log)
    rows = rows or log.after

    @sio.event
    async def connect(sid, environ, auth):
        for message in await rows(auth["serverOffset"]):
            whom = None if everybody else sid
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=whom)


def stumbles_over_a_goodbye(sio, log):
    """It fails when a tab goes: at the first rung, only when the scenario is over."""
    reference(sio, log)

    @sio.event
    async def disconnect(sid, reason):
        raise KeyError("who was that?")


def greater_or_equal(sio, log):
    """It sends the last message that a tab has once more."""
    catching_up(sio, log, rows=lambda offset: log.after(offset - 1))


def without_offsets(sio, log):
    """It does not tell a tab where it is."""

    async def send(sid, message):
        await sio.emit(CHAT_MESSAGE, message.text, to=sid)

    ordered(sio, log, send=send)
    takes(sio, log.append)


def whole_log(sio, log):
    """It does not look at what a tab has."""
    catching_up(sio, log, rows=lambda offset: log.after(0))


def to_everybody(sio, log):
    """A catch-up for one goes to all."""
    catching_up(sio, log, everybody=True)


def newest_only(sio, log, count=1):
    """It takes the newest message for all that was missed."""

    async def rows(offset):
        return (await log.after(offset))[-count:]

    catching_up(sio, log, rows=rows)


def nothing_for_a_new_page(sio, log):
    """A page that has nothing has missed nothing."""

    async def rows(offset):
        return await log.after(offset) if offset else []

    catching_up(sio, log, rows=rows)


def goes_on_for_ever(sio, log):
    """It does not notice that a tab has gone."""
    ordered(sio, log)
    takes(sio, log.append)

    @sio.event
    async def disconnect(sid, reason):
        """The name of the tab stays in the list of those that are here."""


def stored_and_never_read(sio, log):
    """It stores each message, and reads its own list."""
    messages = []

    async def append(text, key):
        offset = await log.append(text, key)
        messages.append((text, offset))
        await sio.emit(CHAT_MESSAGE, (text, offset))
        return offset

    @sio.event
    async def connect(sid, environ, auth):
        for text, offset in messages:
            if offset > auth["serverOffset"]:
                await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)

    takes(sio, append)


def in_memory(sio, log):
    """Its messages are in a list, and in no table."""
    messages = []

    @sio.event
    async def connect(sid, environ, auth):
        for offset, text in enumerate(messages, 1):
            if offset > auth["serverOffset"]:
                await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        messages.append(text)
        await sio.emit(CHAT_MESSAGE, (text, len(messages)))
        return len(messages)


def counts(sio, log):
    """Its cursor is a number of messages, and an offset may be missing."""
    plain_tasks(sio, log, step=lambda cursor, offset: cursor + 1)


def shows_first(sio, log):
    """It is sure that storing will work."""
    catching_up(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, (text, log.head + 1))
        return await log.append(text)


def acknowledges_first(sio, log):
    """It stores in the background, and says at once that all is well."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        sio.start_background_task(log.append, text)


def hasty(sio, log):
    """Chapter 04: it moves the cursor to the end of the log, whatever it has sent."""
    ordered(sio, log, move=lambda cursor: log.head)
    takes(sio, log.append)


def ready_too_late(sio, log, *, early=False):
    """A tab gets what is new only when it has caught up, and the rows were read before that."""
    here = set()

    @sio.event
    async def connect(sid, environ, auth):
        if early:
            here.add(sid)
        for message in await log.after(auth["serverOffset"]):
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)
        here.add(sid)

    @sio.event
    async def disconnect(sid, reason):
        here.discard(sid)

    async def append(text, key):
        offset = await log.append(text, key)
        for sid in list(here):
            await sio.emit(CHAT_MESSAGE, (text, offset), to=sid)
        return offset

    takes(sio, append)


def ready_too_early(sio, log):
    """A tab gets what is new before it has caught up."""
    ready_too_late(sio, log, early=True)


def one_lock_and_everybody(sio, log):
    """One handler at a time, but a tab in `connect` is already one of everybody."""
    one_lock(sio, log, everybody=True)


def one_short_lock(sio, log):
    """It lets go of the lock when a message is stored, before it is shown."""
    one_lock(sio, log, everybody=True, long=False)


def queue_of(sio, sid):
    return sio.eio.sockets[sio.manager.eio_sid_from_sid(sid, "/")].queue


def waits_with_the_lock(sio, log):
    """It holds one lock for all while it waits for the reader."""
    turn = asyncio.Lock()

    async def send(sid, message):
        async with turn:
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)
            await queue_of(sio, sid).join()

    ordered(sio, log, send=send)
    takes(sio, log.append)


def waits_for_all(sio, log):
    """It acknowledges a message when everybody has taken it."""
    ordered(sio, log)

    async def append(text, key):
        offset = await log.append(text, key)
        await asyncio.sleep(0)
        for sid, _ in list(sio.manager.get_participants("/", None)):
            await queue_of(sio, sid).join()
        return offset

    takes(sio, append)


def one_after_the_other(sio, log):
    """It sends to the next tab when the one before has said that it has got its message."""
    turn = asyncio.Lock()

    async def send(sid, message):
        async with turn:
            await sio.call(CHAT_MESSAGE, (message.text, message.offset), to=sid)

    ordered(sio, log, send=send)
    takes(sio, log.append)


def without_key(sio, log):
    """A message that comes again is a new one."""
    ordered(sio, log)
    takes(sio, lambda text, client_offset: log.append(text))


def keys_in_memory(sio, log, offsets=None):
    """It knows a key again, until it is stopped."""
    offsets = {} if offsets is None else offsets

    async def append(text, key):
        if key is None or key not in offsets:
            offsets[key] = await log.append(text)
        return offsets[key]

    ordered(sio, log)
    takes(sio, append)


def sends_again(sio, log):
    """It has its key, and no loop: an old offset goes to all pages like a new one."""
    one_lock(sio, log, again=True)


def refuses_what_it_knows(sio, log):
    """It tells who has lost the answer that the message is refused, and it is stored."""

    async def append(text, key):
        if key and await log.find(key):
            raise Refused("twice", "this message is stored already")
        return await log.append(text, key)

    ordered(sio, log)
    takes(sio, append)


def has_no_second_answer(sio, log):
    """It tells who has lost the answer nothing."""

    async def append(text, key):
        return None if key and await log.find(key) else await log.append(text, key)

    ordered(sio, log)
    takes(sio, append)


def text_as_key(sio, log):
    """It takes two messages with the same text for one."""
    ordered(sio, log)
    takes(sio, lambda text, client_offset: log.append(text, text))


def text_if_no_key(sio, log):
    """Two messages without a key are one if they have the same text."""
    ordered(sio, log)
    takes(sio, lambda text, client_offset: log.append(text, client_offset or text))


def short_key(sio, log):
    """It takes the beginning of a key for the key."""
    ordered(sio, log)
    takes(sio, lambda text, client_offset: log.append(text, client_offset and client_offset[:8]))


def sender_as_key(sio, log):
    """It knows a message by its text and its sender, who has another sid after each connection."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        try:
            return await log.append(text, f"{sid} {text}"[:100])
        except Refused as refusal:
            return refusal.as_dict()


def answers_with_the_newest(sio, log):
    """It stores a message once, and tells who repeats it a wrong offset."""

    async def append(text, key):
        await log.append(text, key)
        return log.head

    ordered(sio, log)
    takes(sio, append)


def unguarded(sio, log):
    """It has no answer to bad input."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        return await log.append(text, client_offset)


def silently_drops(sio, log):
    """It answers bad input with nothing."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        try:
            return await log.append(text, client_offset)
        except Refused:
            return None


def any_value_is_a_text(sio, log):
    """It makes a text of whatever comes."""
    ordered(sio, log)
    takes(sio, lambda text, client_offset: log.append(str(text), client_offset))


def only_short_ones(sio, log):
    """It has a limit of its own."""
    ordered(sio, log)

    async def append(text, key):
        if isinstance(text, str) and len(text) > 1000:
            raise Refused("too long", "a text has at most 1000 characters")
        return await log.append(text, key)

    takes(sio, append)


def no_offset(sio, log):
    """It answers a message with nothing."""

    async def append(text, key):
        await log.append(text, key)

    ordered(sio, log)
    takes(sio, append)


def error_as_text(sio, log):
    """A tab takes its sentence for an acknowledgement."""
    ordered(sio, log)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset=None):
        try:
            return await log.append(text, client_offset)
        except Refused as refusal:
            return f"error: {refusal}"


OFFSETS = {}


def keys_in_a_global(sio, log):
    """It knows a key again after a stop, because the process goes on; not after a kill."""
    keys_in_memory(sio, log, OFFSETS)


def newest_ten(sio, log, count=10):
    """A tab that has missed more than ten messages gets ten."""

    async def rows(offset):
        return (await log.after(offset))[-count:]

    ordered(sio, log, rows=rows)
    takes(sio, log.append)


def newest_hundred(sio, log):
    """It has a limit that is seldom reached."""
    newest_ten(sio, log, 100)


FROZEN = "bob's line is frozen, and carol's page does not show all that ann has sent"
MISTAKES = [
    (silent, "shows", 'no answer to the message "one"'),
    (broken, "shows", "KeyError: 'a typing error'"),
    (raises, "shows", "ZeroDivisionError: division by zero"),
    (hangs, "shows", 'no answer to the message "one"'),
    (refuses_everybody, "shows", "the server refused the connection"),
    (polls, "shows", "does not come to rest"),
    (waits_in_its_own_way, "shows", "or wait for something other than `log.newer`?"),
    (back_to_the_sender, "shows", "bob's page shows nothing"),
    (not_to_the_sender, "shows", "ann's page shows nothing"),
    (needs_a_key, "shows", "missing 1 required positional argument: 'client_offset'"),
    (echo, "catches up", "lost: bob"),
    (stores_only, "catches up", 'lost: bob never shows 2 "two"'),
    (stumbles_over_a_goodbye, "catches up", "KeyError: 'who was that?'"),
    (greater_or_equal, "catches up", 'duplicated: bob shows 1 "one" again'),
    (without_offsets, "catches up", 'duplicated: bob shows "one" again'),
    (whole_log, "catches up", 'duplicated: bob shows 1 "one" again'),
    (to_everybody, "catches up", 'duplicated: ann shows 2 "two" again'),
    (newest_only, "reloads", 'lost: bob never shows 1 "one"'),
    (nothing_for_a_new_page, "reloads", 'lost: bob never shows 1 "one"'),
    (goes_on_for_ever, "reloads", "3 tabs are there, and for one message the server reads its log"),
    (stored_and_never_read, "restarts", 'lost: bob never shows 2 "two"'),
    (in_memory, "restarts", "missing: ann was told"),
    (shows_first, "stores first", "ann's page shows it"),
    (acknowledges_first, "stores first", "ann was told that it is stored"),
    (silently_drops, "stores first", "ann was told that it is stored: the answer None names no"),
    (error_as_text, "stores first", "ann was told that it is stored: the answer 'error: the mess"),
    (counts, "stores first", "The offset before it is missing: does a cursor count messages?"),
    (tutorial, "in order", 'reordered: bob shows 2 "two" late'),
    (hasty, "in order", 'lost: bob never shows 3 "three"'),
    (ready_too_late, "in order", 'lost: bob never shows 3 "three"'),
    (ready_too_early, "in order", 'reordered: bob shows 2 "two" late'),
    (one_lock_and_everybody, "in order", 'reordered: bob shows 5 "five" late'),
    (one_short_lock, "in order", 'reordered: bob shows 5 "five" late'),
    (one_after_the_other, "waits for nobody", FROZEN),
    (waits_with_the_lock, "waits for nobody", FROZEN),
    (waits_for_all, "waits for nobody", FROZEN),
    (text_as_key, "stores once", '3 messages say "one", and the log has 1 of them'),
    (text_if_no_key, "stores once", '3 messages say "two", and the log has'),
    (short_key, "stores once", '3 messages say "one", and the log has 1 of them'),
    (sends_again, "stores once", "`append` returns the old offset, and there is nothing new to"),
    (refuses_what_it_knows, "stores once", "is the same offset again, and not that it is refused"),
    (has_no_second_answer, "stores once", "is the same offset again, and not None"),
    (sender_as_key, "stores once", 'duplicated: ann shows 3 "one" again'),
    (answers_with_the_newest, "stores once", 'missing: ann was told that 2 "one" is stored'),
    (without_key, "stores once", 'duplicated: ann shows 3 "one" again'),
    (keys_in_memory, "stores once", 'duplicated: ann shows 3 "one" again'),
    (ordered, "stores once", 'duplicated: ann shows 3 "one" again'),
    (unguarded, "refuses", "Refused: a message has at least one character"),
    (any_value_is_a_text, "refuses", "ann sent a number, and the answer names no error: 1"),
    (no_offset, "refuses", 'ann sent "one", and the answer is not its offset, but None'),
    (only_short_ones, "refuses", "a text of 10,000 characters is allowed, and ann's page does"),
    (keys_in_a_global, "has a bad day", "duplicated: "),
    (newest_ten, "has a bad day", "lost:"),
    (newest_hundred, "has a bad day", 'lost: dan never shows 1 "one"'),
]
