"""Delivery: one ordered stream a connection, whatever happens in between."""

import asyncio
import contextlib
import itertools
import json
import sqlite3

import aiohttp
import pytest
from polling import opened
from support import TOLD, Hold, serving, turns, tutorial, wired

import chatlab.server.delivery
from chatlab.client.tab import ChatClient
from chatlab.log.sqlite import MessageLog
from chatlab.messages import CATCHING_UP, CAUGHT_UP, CHAT_MESSAGE, CHAT_MESSAGES
from chatlab.recovery.recovery import Recovery
from chatlab.server.app import chat
from chatlab.server.delivery import HIGH_SIZE, HIGH_WATER, NEWEST, PAGE, PAGE_SIZE, Delivery
from chatlab.server.frames import JoinedWrites
from chatlab.server.queue import MAX_PACKETS_OUT, PollQueue


def delivery_of(server):
    return server.log.on_commit.__self__


async def filled(path, count):
    """Make a log with messages 1 to `count`."""
    async with MessageLog(path) as log:
        await asyncio.gather(*(log.append(str(n)) for n in range(1, count + 1)))


def numbers(last, first=1):
    """The messages `first` to `last`, as a client gets them."""
    return [(n, str(n)) for n in range(first, last + 1)]


# A message is committed at every point of catch-up where something else could happen.


def hold_before_page(log, hold):
    after = log.after

    async def held(*arguments):
        await hold.here()
        return await after(*arguments)

    log.after = held


def hold_after_page(log, hold):
    after = log.after

    async def held(*arguments):
        rows = await after(*arguments)
        await hold.here()
        return rows

    log.after = held


def hold_before_waiting(log, hold):
    newer = log.newer

    async def held(offset):
        await hold.here()
        await newer(offset)

    log.newer = held


POINTS = [hold_before_page, hold_after_page, hold_before_waiting]


async def overtaken(path, handlers, hold_at):
    """Let a client catch up on 1 to 3, hold the server there, append 4, go on, append 5.

    Return what the client was sent until then, in order, and what a later catch-up would add.
    """
    await filled(path, 3)
    hold = Hold()
    async with serving(path, handlers) as server, wired(server.url) as bob:
        hold_at(server.log, hold)
        connecting = asyncio.create_task(bob.ws.send_str('40{"serverOffset":0}'))
        async with wired(server.url) as ann:
            await hold.reached.wait()
            hold.reached.set()
            await ann.connect({"serverOffset": 3})
            await ann.emit(1, "4")
            hold.released.set()
            await ann.emit(2, "5")
        await connecting
        got = []
        while len(got) < 5:
            packet = await bob.packet()
            if packet.startswith("42"):
                _, text, offset = json.loads(packet[2:])
                got.append((offset, text))
        return got


@pytest.mark.parametrize("hold_at", POINTS)
async def test_message_committed_during_catch_up_keeps_its_place(tmp_path, hold_at):
    """Before the page is read, after it, or before the wait for more: 1 to 5, once, in order."""
    assert await overtaken(tmp_path / "chat.db", chat, hold_at) == numbers(5)


async def test_tutorial_server_sends_the_live_message_first(tmp_path):
    """The control: held at the same point, the tutorial's server lets 4 overtake 1 to 3."""
    got = await overtaken(tmp_path / "chat.db", tutorial, hold_after_page)
    assert got[0] == (4, "4")
    assert got != numbers(5)


async def test_connection_made_between_commit_and_fan_out_gets_the_message_once(tmp_path):
    """The row is in the table and the server does not know it yet: read now, not sent again."""
    path, hold = tmp_path / "chat.db", Hold()
    await filled(path, 3)
    async with serving(path) as server, wired(server.url) as ann, wired(server.url) as bob:
        run = server.log._writer.run

        async def held(work):
            committed = await run(work)
            await hold.here()
            return committed

        server.log._writer.run = held
        await ann.connect()
        assert await ann.messages(3) == numbers(3)
        await ann.ws.send_str('42["chat message","4"]')
        await hold.reached.wait()
        await bob.connect()
        assert await bob.messages(4) == numbers(4)
        hold.released.set()
        await ann.emit(1, "5")
        assert await bob.messages(1) == [(5, "5")]


async def test_catch_up_begins_after_connect(tmp_path):
    """The answer to CONNECT is the first packet: a client keeps apart what comes before it."""
    await filled(tmp_path / "chat.db", 3)
    async with serving(tmp_path / "chat.db") as server, wired(server.url) as bob:
        assert (await bob.connect()).startswith("40{")
        assert await bob.messages(3) == numbers(3)


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)])
@pytest.mark.parametrize("missed", [0, 1, PAGE, PAGE + 1, NEWEST + PAGE])
async def test_client_gets_what_it_missed_and_then_what_is_new(tmp_path, missed, transports):
    """From memory, from the table, or partly from each; whole pages, a part of one, or none."""
    path, seen = tmp_path / "chat.db", 7
    await filled(path, seen)
    async with serving(path) as server:
        await asyncio.gather(*(server.log.append(str(seen + n + 1)) for n in range(missed)))
        bob = ChatClient(server.url, "bob", transports=transports)
        bob.offset = seen
        await bob.open()
        await bob.sees(missed)
        await bob.send("new")
        await bob.sees(missed + 1)
        assert bob.shown == [*numbers(seen + missed, first=seen + 1), (seen + missed + 1, "new")]
        await bob.close()


async def test_short_absence_reads_no_database(served):
    """What is in memory is sent from there."""
    async with wired(served.url) as ann, wired(served.url) as bob:
        await ann.connect()
        await asyncio.gather(*(served.log.append(str(n)) for n in range(1, 11)))
        await ann.messages(10)
        served.log.after = None  # a query would fail now
        await bob.connect({"serverOffset": 4})
        assert await bob.messages(6) == numbers(10, first=5)


async def test_memory_holds_the_newest_messages_only(served):
    """Those before them are read from the table."""
    await asyncio.gather(*(served.log.append(str(n)) for n in range(1, NEWEST + 51)))
    stored = [offset for offset, _ in delivery_of(served)._newest._encoded]
    assert stored == list(range(51, NEWEST + 51))
    async with wired(served.url) as bob:
        await bob.connect({"serverOffset": 49})
        assert await bob.messages(NEWEST + 1) == numbers(NEWEST + 50, first=50)


async def test_gap_in_the_offsets_is_no_obstacle(tmp_path):
    """Rows that were deleted are passed over, in memory and in the table."""
    path = tmp_path / "chat.db"
    await filled(path, 9)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM messages WHERE id IN (1, 5, 9)")
    database.close()
    async with serving(path) as server, wired(server.url) as bob, wired(server.url) as ann:
        assert await server.log.append("10") == 10
        await bob.connect({"serverOffset": 3})
        assert await bob.messages(5) == [(n, str(n)) for n in (4, 6, 7, 8, 10)]
        await ann.connect({"serverOffset": 9})
        assert await ann.messages(1) == [(10, "10")]


async def test_offset_ahead_of_the_log_starts_again(served):
    """It counts in another log: the client gets what there is."""
    await served.log.append("1")
    async with wired(served.url) as bob:
        await bob.connect({"serverOffset": 99})
        assert await bob.messages(1) == [(1, "1")]


# A slow reader, and clients that connect and leave.


@pytest.mark.parametrize(
    ("high_water", "bound"), [(10, 10 + PAGE + MAX_PACKETS_OUT), (10_000, 2000 + MAX_PACKETS_OUT)]
)
async def test_slow_reader_is_waited_for(served, monkeypatch, high_water, bound):
    """A connection's queue holds a page more than the high-water mark; without one, everything."""
    monkeypatch.setattr(chatlab.server.delivery, "HIGH_WATER", high_water)
    monkeypatch.setattr(chatlab.server.delivery, "writable", lambda socket: None)
    most = 0

    class Watched(PollQueue):
        def put_nowait(self, item):
            nonlocal most
            super().put_nowait(item)
            most = max(most, self.qsize())

    await asyncio.gather(*(served.log.append(str(n)) for n in range(1, 2001)))
    served.sio.eio.create_queue = Watched
    async with wired(served.url) as bob:
        await bob.connect()
        assert await bob.messages(2000) == numbers(2000)
    assert bound - PAGE <= most <= bound


MOST_HELD = HIGH_SIZE + 2 * PAGE_SIZE
"""Characters that wait for one reader: a page is under way, and one has been taken."""


def held(socket):
    """Return how much waits for a reader, in its queue and in what is written to its socket."""
    waiting = sum(len(packet.data) for packet in socket.queue._queue if packet)
    return waiting + socket.queue.writes.waiting


async def test_reader_that_stands_still_holds_up_nobody(tmp_path):
    """Bob's socket takes nothing more; Ann's messages reach Carol all the same, then Bob."""
    text = "x" * 5000
    async with serving(tmp_path / "chat.db") as server, wired(server.url) as bob:
        await bob.connect()  # and reads nothing from here on
        async with wired(server.url) as carol:
            await carol.connect()
            for _ in range(30):
                await asyncio.gather(*(server.log.append(text) for _ in range(100)))
            assert [offset for offset, _ in await carol.messages(3000)] == list(range(1, 3001))
        socket = max(server.sio.eio.sockets.values(), key=held)
        assert socket.queue.qsize() <= HIGH_WATER + PAGE + MAX_PACKETS_OUT
        assert held(socket) <= MOST_HELD
        assert [offset for offset, _ in await bob.messages(3000)] == list(range(1, 3001))


async def test_long_catch_up_delays_a_live_message_by_a_page(tmp_path, monkeypatch):
    """Between a commit and the moment it is handed to Ann, Bob is handed one page at the most."""
    handed, committed = [], []
    hand_over = Delivery._hand_over

    def watched(delivery, socket, session, page, pages):
        handed.extend(data for _, data in page)
        return hand_over(delivery, socket, session, page, pages)

    monkeypatch.setattr(Delivery, "_hand_over", watched)
    await filled(tmp_path / "chat.db", 100_000)
    async with serving(tmp_path / "chat.db") as server:
        remember = server.log.on_commit

        def noted(batch):
            committed.append(len(handed))
            remember(batch)

        server.log.on_commit = noted
        async with wired(server.url) as ann, wired(server.url) as bob:
            await ann.connect({"serverOffset": 100_000})
            await bob.connect()
            assert await bob.messages(PAGE) == numbers(PAGE)
            for number in range(5):
                await server.log.append(f"live {number}")
                await ann.messages(1)
            waits = [
                [f"live {number}" in packet for packet in handed[place:]].index(True)
                for number, place in enumerate(committed)
            ]
            assert max(waits) <= PAGE
            left = await bob.messages(100_005 - PAGE)
            assert [offset for offset, _ in left] == list(range(PAGE + 1, 100_006))


async def test_connection_stays_alive_while_catch_up_takes_long(tmp_path):
    """The log answers after five PINGs, far beyond interval + timeout: they are all answered."""
    path, hold = tmp_path / "chat.db", Hold()
    await filled(path, 3)
    async with serving(path, ping_interval=0.1, ping_timeout=0.3) as server:
        hold_after_page(server.log, hold)
        async with wired(server.url) as bob:
            assert (await bob.connect()).startswith("40{")
            assert (await bob.ws.receive_str()).startswith(TOLD)
            for _ in range(5):
                assert await bob.ws.receive_str() == "2"
                await bob.ws.send_str("3")
            hold.released.set()
            assert await bob.messages(3) == numbers(3)


@pytest.mark.parametrize("hold_at", POINTS)
async def test_connection_lost_at_any_moment_leaves_nothing(tmp_path, hold_at, caplog):
    """Before the page, after it, in the wait: no task, no entry, no word in the log."""
    path, hold = tmp_path / "chat.db", Hold()
    await filled(path, 3)
    async with serving(path) as server:
        before = asyncio.all_tasks()
        hold_at(server.log, hold)
        async with wired(server.url) as bob:
            await bob.ws.send_str("40")
            await hold.reached.wait()
        while server.sio.eio.sockets or delivery_of(server)._streams:
            await turns()
        await turns()
        left = {str(t.get_coro()) for t in asyncio.all_tasks() - before}
        assert {name for name in left if "chatlab" in name or "Delivery" in name} == set()
    assert caplog.records == []


async def test_connection_gone_before_its_stream_begins_leaves_nothing(served):
    """The socket was closed while the handler ran."""
    delivery = delivery_of(served)
    delivery.attach("a sid that is gone", 0)
    await turns()
    assert delivery._streams == {}


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("no disk"), TypeError("a bug")], ids=str
)
async def test_log_that_cannot_be_read_ends_the_connection_plainly(tmp_path, error):
    """The client gets a DISCONNECT, and the error is not swallowed."""
    await filled(tmp_path / "chat.db", 3)
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with serving(tmp_path / "chat.db") as server, wired(server.url) as bob:

        async def broken(*arguments):
            raise error

        server.log.after = broken
        await bob.connect()
        assert await bob.packet() == "41"
        await turns()
        assert delivery_of(server)._streams == {}
    assert [context["exception"] for context in errors] == [error]


async def test_message_is_encoded_once_for_all(served, monkeypatch):
    """Two connections are handed the very same bytes."""
    handed, write = [], JoinedWrites.write

    def watched(writes, data):
        handed.append(data)
        write(writes, data)

    monkeypatch.setattr(JoinedWrites, "write", watched)
    async with wired(served.url) as ann, wired(served.url) as bob:
        await ann.connect()
        await bob.connect()
        await served.log.append("one")
        await ann.messages(1)
        await bob.messages(1)
    frames = [data for data in handed if b'"one"' in data]
    assert len(frames) == 2
    assert frames[0] is frames[1]


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)], ids="+".join)
async def test_text_of_any_kind_arrives_as_it_was_sent(served, transports):
    """Quotes, separators of packets and of lines, what needs two code units, what is invisible."""
    text = "\"'\\ \x1e \x00 \u2028 \U0001f600 \u200d é"
    bob = await ChatClient(served.url, "bob", transports=transports).open()
    await bob.send(text)
    assert await bob.sees(1) == [text]
    await bob.close()


# Recovery: the log is the store of the packets.


class Counted:
    """The queries that a log is asked, counted."""

    def __init__(self, log):
        self.count, after = 0, log.after

        async def counted(*arguments):
            self.count += 1
            return await after(*arguments)

        log.after = counted


@pytest.mark.parametrize("missed", [10, NEWEST, NEWEST + 1])
async def test_recovery_within_the_newest_reads_no_database(tmp_path, missed):
    """Beyond them it reads the log; and either way it sends each message once, in order."""
    async with serving(tmp_path / "chat.db", recovery=Recovery) as server:
        counted = Counted(server.log)
        await server.log.append("1")
        async with wired(server.url) as wire:
            first = json.loads((await wire.connect({"pid": "", "serverOffset": 0}))[2:])
            _, _, _, position = json.loads((await wire.packet())[2:])
        while first["sid"] in server.sio.manager.registry.connected:
            await turns()
        await asyncio.gather(*(server.log.append(str(n)) for n in range(2, missed + 2)))
        before = counted.count
        async with wired(server.url) as wire:
            again = {"pid": first["pid"], "offset": position}
            assert json.loads((await wire.connect(again))[2:]) == first
            got = [json.loads((await wire.packet())[2:]) for _ in range(missed)]
        numbers = [int(position.partition(".")[0]) for _, _, _, position in got]
        assert [offset for _, _, offset, _ in got] == numbers == list(range(2, missed + 2))
        assert (counted.count > before) is (missed > NEWEST)


async def test_recovered_tab_that_got_nothing_goes_on_where_it_came_in(tmp_path):
    """It names no position: what counts is the offset with which it came first."""
    async with serving(tmp_path / "chat.db", recovery=Recovery) as server:
        for text in "ab":
            await server.log.append(text)
        async with wired(server.url) as wire:
            first = json.loads((await wire.connect({"pid": "", "serverOffset": 2}))[2:])
        while first["sid"] in server.sio.manager.registry.connected:
            await turns()
        await server.log.append("c")
        async with wired(server.url) as wire:
            await wire.connect({"pid": first["pid"]})
            assert json.loads((await wire.packet())[2:])[1:3] == ["c", 3]


async def test_half_open_connection_is_taken_over_and_its_stream_ends(tmp_path):
    """What was sent into the dead connection comes once more, over the new one alone."""
    async with serving(tmp_path / "chat.db", recovery=Recovery) as server, wired(server.url) as old:
        first = json.loads((await old.connect({"pid": ""}))[2:])
        await server.log.append("a")
        assert json.loads((await old.packet())[2:])[1] == "a"
        async with wired(server.url) as new:
            assert json.loads((await new.connect({"pid": first["pid"]}))[2:]) == first
            await server.log.append("b")
            got = [json.loads((await new.packet())[2:])[1] for _ in range(2)]
        assert got == ["a", "b"]
        assert len(delivery_of(server)._streams) <= 1


async def test_events_and_messages_are_recovered_together(tmp_path):
    """Each has its own part of the position, whichever came last."""
    async with serving(tmp_path / "chat.db", recovery=Recovery) as server:
        tab = await ChatClient(server.url, recover=True).open()
        for number in range(3):
            await server.log.append(f"before {number}")
            await tab.sees(2 * number + 1)
            await server.sio.emit("tick", number)
            await tab.until(lambda number=number: tab.heard.get("tick") == number)
            await tab.drop()
            await server.log.append(f"missed {number}")
            await server.sio.emit("tock", number)
            await tab.reconnect()
            assert tab.recovered
            await tab.sees(2 * number + 2)
            await tab.until(lambda number=number: tab.heard.get("tock") == number)
        assert [message.offset for message in tab.shown] == list(range(1, 7))
        await tab.close()


# Each connection gets its outcome.


async def announced(server, auth, count):
    """Connect, get so many messages, and return the events before and after them."""
    async with wired(server.url) as wire:
        await wire.connect(auth)
        messages = await wire.messages(count)
        while len(wire.told) < 2:
            wire.told.append(json.loads((await wire.ws.receive_str()).removeprefix("42")))
        (before, place), (after, end) = wire.told
        assert (before, after) == (CATCHING_UP, CAUGHT_UP)
        assert place["epoch"] == end["epoch"] == server.log.epoch
        assert place["outcome"] == end["outcome"]
        assert end["sent"] == count
        return place["outcome"], place["after"], [offset for offset, _ in messages], end["offset"]


@pytest.mark.parametrize(
    ("auth", "outcome"),
    [
        ({"serverOffset": 5}, ("continued", 5, [6, 7, 8], 8)),
        ({"serverOffset": 8}, ("continued", 8, [], 8)),
        ({"serverOffset": 9}, ("reset", 4, [5, 6, 7, 8], 8)),
        ({"serverOffset": 2}, ("gap", 4, [5, 6, 7, 8], 8)),
        ({"serverOffset": 0}, ("gap", 4, [5, 6, 7, 8], 8)),
        (None, ("gap", 4, [5, 6, 7, 8], 8)),
        ({"serverOffset": 6, "epoch": None}, ("continued", 6, [7, 8], 8)),
        ({"serverOffset": 6, "epoch": "of another log"}, ("reset", 4, [5, 6, 7, 8], 8)),
    ],
)
async def test_each_position_has_its_outcome(tmp_path, auth, outcome):
    """Old, current, ahead, trimmed, of another log: each gets its outcome and the messages."""
    async with serving(tmp_path / "chat.db", keep=4) as server:
        for number in range(1, 9):
            await server.log.append(str(number))
        assert await announced(server, auth, len(outcome[2])) == outcome
        known = {"serverOffset": 8, "epoch": server.log.epoch}
        assert await announced(server, known, 0) == ("continued", 8, [], 8)


async def test_empty_log_has_its_outcome(served):
    """There are no messages, and the events say so."""
    assert await announced(served, None, 0) == ("continued", 0, [], 0)
    assert await announced(served, {"serverOffset": 1}, 0) == ("reset", 0, [], 0)


@pytest.mark.parametrize("epoch", [7, True, [], {}, "x" * 101])
async def test_epoch_that_is_none_is_refused(served, epoch):
    """With a sentence, like an offset that is none."""
    async with wired(served.url) as wire:
        answer = await wire.connect({"serverOffset": 0, "epoch": epoch})
        assert answer.startswith("44") and "bad epoch" in answer


async def test_reader_that_is_slower_than_the_log_deletes_gets_the_gap(tmp_path):
    """What it gets before and after the gap is in order, and the gap is where it says."""
    text, count = "x" * 10_000, 2500
    async with serving(tmp_path / "chat.db", keep=50) as server, wired(server.url) as bob:
        await bob.connect()  # and reads nothing for a while
        for _ in range(count // 10):
            await asyncio.gather(*(server.log.append(text) for _ in range(10)))
            await turns()
        offsets = []
        while count not in offsets:
            offsets += [offset for offset, _ in await bob.messages(1)]
        gaps = [place["after"] for _, place in bob.told if place.get("after")]
        before = [offset for offset in offsets if offset <= gaps[0]]
        assert gaps and before == list(range(1, len(before) + 1))
        assert offsets == sorted(set(offsets))
        jumps = [two - 1 for one, two in itertools.pairwise(offsets) if two > one + 1]
        assert set(jumps) <= set(gaps)


async def test_queue_of_a_reader_who_stopped_is_bounded_in_characters(tmp_path):
    """Long texts fill it sooner than many: however much there is to send."""
    text = "x" * 10_000
    async with serving(tmp_path / "chat.db") as server, wired(server.url) as bob:
        await bob.connect()
        [socket] = server.sio.eio.sockets.values()
        longest = 0
        for _ in range(100):
            await asyncio.gather(*(server.log.append(text) for _ in range(10)))
            await turns()
            longest = max(longest, held(socket))
        assert HIGH_SIZE / 2 < longest <= MOST_HELD


async def test_newest_in_memory_are_bounded_in_characters(served, monkeypatch):
    """Fewer are in memory when they are long, and no client misses one."""
    monkeypatch.setattr(chatlab.server.delivery, "NEWEST_SIZE", 100_000)
    await asyncio.gather(*(served.log.append("x" * 10_000) for _ in range(30)))
    stored = [offset for offset, _ in delivery_of(served)._newest._encoded]
    assert stored == list(range(22, 31))
    async with wired(served.url) as bob:
        await bob.connect()
        assert [offset for offset, _ in await bob.messages(30)] == list(range(1, 31))


async def test_long_messages_make_short_pages(served):
    """A page ends after so many characters, and has one message at least."""
    await asyncio.gather(*(served.log.append("\x01" * 10_000) for _ in range(5)))
    page = await delivery_of(served)._page(0)
    assert [offset for offset, _ in page] == [1]


async def test_stream_without_an_offset_is_for_those_who_are_recovered(tmp_path):
    """Another client would get the whole log, and the reason would be hard to find."""
    async with (
        serving(tmp_path / "chat.db", recovery=Recovery) as server,
        wired(server.url) as wire,
    ):
        first = json.loads((await wire.connect({"pid": ""}))[2:])
        with pytest.raises(ValueError, match="needs an offset"):
            delivery_of(server).attach(first["sid"])


async def test_last_messages_that_are_gone_are_a_gap(tmp_path):
    """Another program has deleted them: the client gets the gap, and then the next messages."""
    path = tmp_path / "chat.db"
    await filled(path, 5)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM messages WHERE id > 3")
    async with serving(path) as server, wired(server.url) as bob:
        await bob.connect()
        assert await bob.messages(3) == numbers(3)
        await server.log.append("6")
        assert await bob.messages(1) == [(6, "6")]
        begins = [place["after"] for event, place in bob.told if event == CATCHING_UP]
        assert begins == [0, 5]


# Clients that take pages: many messages in one event.


def rows(packet):
    """Return the messages in an event as offsets and texts, and its position, if it has one."""
    name, *arguments = json.loads(packet.removeprefix("42"))
    page = arguments.pop(0) if name == CHAT_MESSAGES else [[arguments.pop(0), arguments.pop(0)]]
    return [(offset, text) for text, offset in page], *arguments


@pytest.mark.parametrize("missed", [1, 2, PAGE, PAGE + 1, NEWEST + PAGE])
async def test_client_that_takes_pages_gets_each_message_once(tmp_path, missed):
    """From memory, from the table, or partly from each; a message that comes alone is no page."""
    await filled(tmp_path / "chat.db", 7)
    async with serving(tmp_path / "chat.db") as server, wired(server.url) as bob:
        await asyncio.gather(*(server.log.append(str(7 + n + 1)) for n in range(missed)))
        await bob.connect({"serverOffset": 7, "pages": True})
        got, events = [], 0
        while len(got) < missed:
            [page] = rows(await bob.packet())
            assert len(page) <= PAGE
            got, events = got + page, events + 1
        assert got == numbers(7 + missed, first=8)
        assert events == -(-missed // PAGE)
        await server.log.append("new")
        assert await bob.messages(1) == [(7 + missed + 1, "new")]


@pytest.mark.parametrize("pages", [{}, {"pages": False}, {"pages": 1}, {"pages": "true"}])
async def test_client_that_does_not_ask_for_pages_gets_none(tmp_path, pages):
    """The control: an event for each message, as the tutorial's page expects it."""
    await filled(tmp_path / "chat.db", 2 * PAGE)
    async with serving(tmp_path / "chat.db") as server, wired(server.url) as bob:
        await bob.connect({"serverOffset": 0} | pages)
        assert await bob.messages(2 * PAGE) == numbers(2 * PAGE)


@pytest.mark.parametrize("hold_at", POINTS)
async def test_message_committed_between_pages_keeps_its_place(tmp_path, hold_at):
    """It is in the page that is made next, or comes by itself."""
    await filled(tmp_path / "chat.db", PAGE + 3)
    hold = Hold()
    async with serving(tmp_path / "chat.db") as server, wired(server.url) as bob:
        hold_at(server.log, hold)
        await bob.ws.send_str('40{"serverOffset":0,"pages":true}')
        await hold.reached.wait()
        await server.log.append(str(PAGE + 4))
        hold.released.set()
        await server.log.append(str(PAGE + 5))
        assert (await bob.packet()).startswith("40")
        got = []
        while len(got) < PAGE + 5:
            got += rows(await bob.packet())[0]
        assert got == numbers(PAGE + 5)


async def test_pages_are_encoded_once_for_all_who_take_them(tmp_path, monkeypatch):
    """Two connections are handed the very same bytes, and those of a single message too."""
    handed, write = [], JoinedWrites.write

    def watched(writes, data):
        handed.append(data)
        write(writes, data)

    monkeypatch.setattr(JoinedWrites, "write", watched)
    async with serving(tmp_path / "chat.db") as server, contextlib.AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wired(server.url)) for _ in range(3)]
        for wire, pages in zip(wires, [True, True, False], strict=True):
            await wire.connect({"serverOffset": 0, "pages": pages})
        await server.log.append("alone")
        assert {await wire.packet() for wire in wires} == {'42["chat message","alone",1]'}
        await asyncio.gather(*(server.log.append(str(number)) for number in range(2, 5)))
        for wire, count in zip(wires, [3, 3, 1], strict=True):
            assert len(rows(await wire.packet())[0]) == count
    alone = [data for data in handed if b'"alone"' in data]
    together = [data for data in handed if CHAT_MESSAGES.encode() in data]
    assert (len(alone), len(together)) == (3, 2)
    assert alone[0] is alone[1] is alone[2]
    assert together[0] is together[1]


@pytest.mark.parametrize("read", [1, 2, 4])
@pytest.mark.parametrize("recovery", [None, Recovery], ids=["offset", "recovery"])
async def test_connection_lost_between_pages_goes_on_after_the_last_one(tmp_path, recovery, read):
    """By the offset of its last message, or by the position that the page carries."""
    count = 5 * PAGE
    await filled(tmp_path / "chat.db", count)
    async with serving(tmp_path / "chat.db", recovery=recovery) as server:
        auth, got, first = {"serverOffset": 0, "pages": True}, [], None
        if recovery:
            auth["pid"] = ""
        while len(got) < count:
            async with wired(server.url) as wire:
                answer = json.loads((await wire.connect(auth))[2:])
                first = first or answer
                assert not recovery or answer == first
                for _ in range(min(read, (count - len(got)) // PAGE)):
                    page, *position = rows(await wire.packet())
                    got += page
            auth["serverOffset"] = got[-1][0]
            if recovery:
                auth |= {"pid": first["pid"], "offset": position[0]}
                while first["sid"] in server.sio.manager.registry.connected:
                    await turns()
        assert got == numbers(count)


CHATS = tuple(f'42["{event}"' for event in (CHAT_MESSAGE, CHAT_MESSAGES))


async def polls(url, auth, count):
    """Let a client poll until it has the last message; return how many answers that took."""
    async with aiohttp.ClientSession() as session:
        address, got, answers = await opened(session, url, auth), [], 0
        while not got or got[-1] != (count, str(count)):
            async with session.get(address) as answer:
                events = (await answer.text()).split("\x1e")
            got += [row for event in events if event.startswith(CHATS) for row in rows(event)[0]]
            answers += 1
    assert got == numbers(count)[-len(got) :]  # `opened` may have taken the first ones
    return answers


async def test_pages_need_few_polls(tmp_path):
    """An answer has no more than MAX_PACKETS_OUT packets, which is much only with pages."""
    count = 3 * MAX_PACKETS_OUT * PAGE
    await filled(tmp_path / "chat.db", count)
    async with serving(tmp_path / "chat.db") as server:
        few = await polls(server.url, {"serverOffset": 0, "pages": True}, count)
        many = await polls(server.url, {"serverOffset": 0}, count)
    assert few <= count / PAGE < count / MAX_PACKETS_OUT - 1 <= many
