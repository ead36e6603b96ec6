"""The log in PostgreSQL beyond the contract: several servers, and a database in trouble."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest
from databases import PIDS, connected, everything, frozen, pids, url_of
from kinds import PostgresKind
from support import turns

import chatlab.log.connections
import chatlab.log.follower
from chatlab.harness import Postgres
from chatlab.log import LogError, PostgresLog
from chatlab.messages import NOT_AVAILABLE, NOT_STORED, PERHAPS_STORED, Message, Refused

LONG = 60
"""Seconds after which something has failed: no test waits for them."""
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
def url(tmp_path):
    return url_of(tmp_path / "chat.db")


@pytest.fixture(autouse=True)
def no_looking(monkeypatch):
    """A server does not look by itself, unless a test lets it."""
    monkeypatch.setattr(chatlab.log.follower, "LOOK_EVERY", LONG)


@asynccontextmanager
async def server(url, **options):
    async with PostgresLog(url, **options) as log:
        await log.begin_epoch()
        yield log


async def sees(log, offset):
    """Wait until a log has a message."""
    async with asyncio.timeout(LONG):
        await log.newer(offset - 1)


async def test_two_servers_give_out_dense_offsets_and_both_see_all(url):
    """Each is told of every message once, in order, whoever stored it."""
    told = [], []
    async with (
        server(url, on_commit=told[0].extend) as one,
        server(url, on_commit=told[1].extend) as two,
    ):
        sent = await asyncio.gather(*((one, two)[n % 2].append(str(n)) for n in range(200)))
        assert sorted(sent) == list(range(1, 201))
        await sees(one, 200)
        await sees(two, 200)
        assert told[0] == told[1] == await one.after(0)
        assert [message.offset for message in told[0]] == list(range(1, 201))
        assert {offset: str(n) for n, offset in enumerate(sent)} == dict(told[0])


class SequenceLog(PostgresLog):
    """A log that breaks the contract: a sequence gives the offsets, and nobody has to wait."""

    async def _store(self, batch, texts):
        [text] = texts
        sql = "INSERT INTO messages SELECT nextval('numbers'), NULL, $1 RETURNING id"
        offset = await self._connections.call(lambda db: db.fetchval(sql, text))
        return self.head, 0, [offset]


async def missed_by_a_reader(make, url):
    """Hold a server between its INSERT and its COMMIT while another one stores.

    Return the texts that a reader misses, which reads in between and again at the end.
    """
    async with make(url) as one, make(url) as two, server(url) as reader:
        async with PostgresKind.held(one, "held") as held, connected(url) as db:
            first = asyncio.ensure_future(one.append("held"))
            await held.wait()
            second = asyncio.ensure_future(two.append("other"))
            while not second.done() and await db.fetchval(WAITING) < 2:
                await turns()
            page = await reader.after(0)
        await asyncio.gather(first, second)
        page += await reader.after(max((offset for offset, _ in page), default=0))
        return {text for _, text in await reader.after(0)} - {text for _, text in page}


async def test_reader_misses_nothing_of_a_transaction_that_is_held(url):
    """The other server waits until it has ended: offsets become visible in their order."""
    assert await missed_by_a_reader(PostgresLog, url) == set()


async def test_log_whose_offsets_come_from_a_sequence_loses_one(url):
    """The control: 2 is visible before 1, and a reader that has passed 2 never sees 1."""
    async with PostgresLog(url), connected(url) as db:
        await db.execute("CREATE SEQUENCE numbers")
    assert await missed_by_a_reader(SequenceLog, url) == {"held"}


async def test_server_that_is_behind_does_not_call_a_client_ahead(url):
    """It reads before it judges. The control: without that, it says "reset"."""
    async with server(url, notify=False) as one, server(url) as two:
        await one.append("a")
        assert two.place(1, one.epoch).outcome == "reset"
        await two.reach(1, one.epoch)
        assert two.place(1, one.epoch) == (1, "continued")
        assert two.place(2, one.epoch) == (0, "reset")


async def test_notification_that_is_lost_costs_some_time_and_no_message(url, monkeypatch):
    """A server looks by itself, and opens another connection to listen on."""
    monkeypatch.setattr(chatlab.log.follower, "LOOK_EVERY", 0.05)
    async with server(url, notify=False) as one, server(url) as two:
        await until_listening(url, 2)  # that wakes it too
        await turns()
        listening = two._follower._tasks["listen"]
        await one.append("a")
        await sees(two, 1)
        async with asyncio.timeout(LONG):
            await asyncio.wait([listening])
        assert two._follower._tasks["listen"] is not listening


async def test_own_messages_are_not_read_back(url, monkeypatch):
    """They follow the head directly. The control: those of another server are read."""
    async with server(url) as one, server(url) as two:
        reads = []
        after = PostgresLog._after

        async def read(log, *to):
            reads.append(log)
            return await after(log, *to)

        monkeypatch.setattr(PostgresLog, "_after", read)
        for n in range(20):
            await one.append(str(n))
            await sees(two, n + 1)
        assert one not in reads and two in reads


async def test_connection_that_is_cut_silently_delays_a_message_by_a_second(url, monkeypatch):
    """What listens hears nothing, and does not know it: the server looks by itself."""
    monkeypatch.setattr(chatlab.log.follower, "LOOK_EVERY", 0.05)
    async with server(url) as one, server(url) as two:
        await until_listening(url, 2)
        with frozen(await pids(url, "LISTEN%")):
            await one.append("a")
            await sees(two, 1)


async def until_listening(url, servers):
    async with asyncio.timeout(LONG), connected(url) as db:
        while len(await db.fetch(PIDS, "LISTEN%")) < servers:
            await turns()


@pytest.fixture
def impatient(monkeypatch):
    """The database has little time to answer."""
    for name in ("ANSWER", "CONNECT"):
        monkeypatch.setattr(chatlab.log.connections, name, 0.2)


async def test_sender_is_told_that_nobody_knows_when_the_database_hangs(url, impatient):
    """What waits behind it is not stored; both send again with their keys, and each is there once.

    Nothing waits for ever, and readers get their error too.
    """
    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    async with server(url) as log:
        await log.append("a", "1")
        await log.check()
        with frozen(await everything(url)):
            first = asyncio.ensure_future(log.append("b", "2"))
            await turns()
            others = [asyncio.ensure_future(log.append(text, text)) for text in "cd"]
            errors = await asyncio.gather(first, *others, return_exceptions=True)
            assert [error.name for error in errors] == [PERHAPS_STORED, NOT_STORED, NOT_STORED]
            for ask in (log.after(0), log.find("1"), log.check(), log.reach(99)):
                with pytest.raises(LogError) as refusal:
                    await ask
                assert refusal.value.name == NOT_AVAILABLE
        for text, key in ("b", "2"), ("c", "c"), ("d", "d"):
            await stored(log, text, key)
        await log.check()
        assert [text for _, text in await log.after(0)] == ["a", "b", "c", "d"]
    assert len(reports) == 1  # once, and not for each message


async def stored(log, text, key):
    """Send a message again and again, as a client does, until it has an offset."""
    async with asyncio.timeout(LONG):
        while True:
            try:
                return await log.append(text, key)
            except LogError:
                await turns()


async def test_memory_is_bounded_while_the_database_hangs(url, monkeypatch):
    """A message that finds too many waiting is refused at once."""
    monkeypatch.setattr("chatlab.log.postgres.MOST_WAITING", 3)
    async with server(url) as log:
        with frozen(await everything(url)):
            sent = [asyncio.ensure_future(log.append("first"))]
            await turns()
            sent += [asyncio.ensure_future(log.append(str(n))) for n in range(3)]
            await turns()
            with pytest.raises(LogError, match="too many messages wait"):
                await log.append("one too many")
        assert len(await asyncio.gather(*sent)) == 4


async def test_database_that_ends_as_in_a_power_cut_loses_nothing_acknowledged(tmp_path):
    """It recovers; the server finds it again, and what it could not answer is stored once."""
    with Postgres() as database:
        async with server(database.url()) as log, server(database.url()) as other:
            offsets = [await log.append(str(n), str(n)) for n in range(20)]
            database.stop("immediate")
            with pytest.raises(LogError) as refusal:
                await log.append("20", "20")
            assert refusal.value.name in (PERHAPS_STORED, NOT_STORED)
            with pytest.raises(LogError):
                await log.check()
            database.start()
            offsets += [await stored(log, str(n), str(n)) for n in range(20, 40)]
            assert offsets == list(range(1, 41))
            await other.reach(40)
            assert [text for _, text in await other.after(0)] == [str(n) for n in range(40)]


async def test_another_copy_that_takes_over_begins_an_epoch_under_a_running_server(url, tmp_path):
    """It lacks the newest messages: their offsets are given to others, and clients start again."""
    async with server(url) as log:
        for text in "abc":
            await log.append(text)
        epoch = log.epoch
        waiting = asyncio.ensure_future(log.newer(3))
        async with connected(url) as db:
            await db.execute("DELETE FROM messages WHERE id > 1; UPDATE head SET last = 1")
        await PostgresKind.restore(tmp_path / "chat.db")
        for pid in await pids(url):
            os.kill(pid, signal.SIGTERM)
        assert await stored(log, "x", "x") == 2
        await waiting
        assert log.epoch != epoch and log.head == 2
        assert log.place(3, epoch) == (0, "reset") and log.place(1, epoch) == (1, "continued")


async def test_foreign_tables_are_refused_in_a_sentence(url):
    """Of another program, or of another version. The password is in no sentence."""
    async with connected(url) as db:
        await db.execute("CREATE TABLE messages (text text)")
    with pytest.raises(LogError, match=r"test[0-9]+ belongs to another program"):
        await PostgresLog(url)
    async with connected(url) as db:
        await db.execute("DROP TABLE messages")
    async with PostgresLog(url), connected(url) as db:
        await db.execute("UPDATE chatlab_version SET version = 99")
    with pytest.raises(LogError, match="has tables of version 99, and this is 1"):
        await PostgresLog(url)


@pytest.mark.parametrize("setting", ["synchronous_commit", "fsync"])
async def test_database_that_confirms_before_the_disk_has_it_is_refused(setting):
    """A power cut would take what was acknowledged. The control: "local" waits for the disk."""
    with Postgres() as database:
        async with connected(database.url()) as db:
            await db.execute(f"ALTER SYSTEM SET {setting} = off")
        database.stop()
        database.start()
        with pytest.raises(LogError, match=f"postgres has {setting} = off"):
            await PostgresLog(database.url())
        async with connected(database.url()) as db:
            await db.execute("ALTER SYSTEM RESET ALL")
            await db.execute("ALTER SYSTEM SET synchronous_commit = local")
        database.stop()
        database.start()
        async with server(database.url()) as log:
            assert await log.append("a") == 1


async def test_database_that_is_not_there_is_a_sentence(tmp_path):
    """Without the password that is in the address."""
    with pytest.raises(
        LogError, match="cannot use the message log: localhost/x cannot be"
    ) as error:
        await PostgresLog(f"postgresql://ann:secret@localhost:1/x?host={tmp_path}")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("address", ["localhost:no-port/x", "[localhost/x", "localhost:1/x?port=-"])
async def test_address_that_cannot_be_one_is_a_sentence(address):
    """Without the password that is in the address."""
    with pytest.raises(
        LogError, match=r"cannot use the message log: .+ cannot be reached"
    ) as error:
        await PostgresLog(f"postgresql://ann:secret@{address}")
    assert "secret" not in str(error.value)


async def test_log_without_its_driver_says_what_to_install(monkeypatch):
    """The extra is not there for those who need only a file."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(LogError, match=r"pip install 'chatlab\[postgres\]'"):
        await PostgresLog("postgresql://localhost/x")


async def test_servers_that_start_at_once_make_the_tables_once(url):
    """Eight of them."""
    logs = await asyncio.gather(*(PostgresLog(url).open() for _ in range(8)))
    assert await asyncio.gather(*(log.append("a") for log in logs)) != []
    assert {log.head for log in logs} == {8} or await logs[0].after(7) == [Message(8, "a")]
    await asyncio.gather(*(log.close() for log in logs))


async def test_character_that_postgresql_cannot_hold_is_refused(url):
    """By name, so that no client sends it again and again."""
    async with server(url) as log:
        for message in ("a\0", None), ("a", "key\0"):
            with pytest.raises(Refused, match=r"U\+0000") as refusal:
                await log.append(*message)
            assert refusal.value.name == "bad text"


async def test_reader_that_stops_waiting_leaves_no_connection_busy(url):
    """A client that leaves during a query: more of them than the pool has connections."""
    async with server(url) as log:
        await log.append("a")
        with frozen(await everything(url)):
            reading = [asyncio.ensure_future(log.after(0)) for _ in range(20)]
            await turns()
            for task in reading:
                task.cancel()
            await asyncio.wait(reading)
        assert await log.after(0) == [Message(1, "a")]


async def test_server_that_does_not_follow_learns_only_what_it_must(url, monkeypatch):
    """An experiment leaves a server behind. The control: one that follows comes up by itself."""
    monkeypatch.setattr(chatlab.log.follower, "LOOK_EVERY", 0.01)
    async with server(url) as one, server(url) as behind, server(url) as other:
        behind.follows = False
        await one.append("a")
        await sees(other, 1)
        await turns()
        assert behind.head == 0
        await behind.reach(1)
        assert behind.head == 1
