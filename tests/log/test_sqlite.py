"""The message log: durable, dense, in order."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from functools import partial

import pytest
from kinds import life, places
from support import asked, turns

import chatlab.log.database
import chatlab.log.sqlite
from chatlab.log import LogError
from chatlab.log.batched import Append
from chatlab.log.database import PRAGMAS, TRIES
from chatlab.log.sqlite import MOST_AT_ONCE, SCHEMA, MessageLog, head_of
from chatlab.messages import Message

NOT_STORED = "the message could not be stored"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chat.db"


@contextlib.contextmanager
def beside(path):
    """A connection of our own, beside the log's, for each thread."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        yield database
    finally:
        database.close()


def rows(path):
    with beside(path) as database:
        return database.execute("SELECT * FROM messages ORDER BY id").fetchall()


async def test_appended_messages_are_numbered_from_one(path):
    """Offsets are 1, 2, 3, and the rows hold what was sent."""
    async with MessageLog(path) as log:
        assert [await log.append(text) for text in ("a", "b", "c")] == [1, 2, 3]
        assert log.head == 3
    assert rows(path) == [(1, None, "a"), (2, None, "b"), (3, None, "c")]


async def test_message_is_on_disk_when_append_returns(path):
    """Another connection sees the row as soon as the offset is known."""
    async with MessageLog(path) as log:
        for text in "abc":
            offset = await log.append(text)
            assert rows(path)[-1] == (offset, None, text)


async def test_locked_database_is_an_error_and_the_log_goes_on(path, monkeypatch):
    """While another program holds the lock, append fails; afterwards it works."""
    monkeypatch.setitem(PRAGMAS, "busy_timeout", 1)
    async with MessageLog(path) as log:
        with beside(path) as database:
            database.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogError, match="locked"):
                await log.append("a")
            database.execute("ROLLBACK")
        assert await log.append("b") == 1
    assert rows(path) == [(1, None, "b")]


def tried(monkeypatch, do=lambda count: None):
    """Count how often a log tries a transaction; return the list of what it tried to store."""
    tries = []

    def store(log, batch, db):
        tries.append([item.text for item in batch])
        do(len(tries))
        return real(log, batch, db)

    real = MessageLog._store
    monkeypatch.setattr(MessageLog, "_store", store)
    return tries


async def test_locked_database_fails_all_that_wait_at_once(path, monkeypatch):
    """Twenty messages: they are tried together, and never each in its turn."""
    monkeypatch.setitem(PRAGMAS, "busy_timeout", 1)
    tries = tried(monkeypatch)
    async with MessageLog(path) as log:
        with beside(path) as database:
            database.execute("BEGIN IMMEDIATE")
            sending = [log.append(str(n)) for n in range(20)]
            outcomes = await asyncio.gather(*sending, return_exceptions=True)
            assert {str(error) for error in outcomes} == {
                "the message could not be stored: database is locked"
            }
            assert len({id(error) for error in outcomes}) == 20  # each is raised by itself
            with pytest.raises(LogError):
                await log.append("later")
            database.execute("ROLLBACK")
        assert tries == [[str(n) for n in range(20)]] * TRIES + [["later"]]  # patience is used up
        assert await log.append("when the lock is gone") == 1


async def test_lock_that_ends_at_the_last_try_is_waited_for(path, monkeypatch):
    """Another program may write for longer than one try takes."""
    monkeypatch.setitem(PRAGMAS, "busy_timeout", 1)
    async with MessageLog(path) as log:
        with beside(path) as database:
            database.execute("BEGIN IMMEDIATE")
            tried(monkeypatch, lambda count: count < TRIES or database.execute("ROLLBACK"))
            assert await log.append("a") == 1


async def test_log_is_closed_while_another_program_holds_a_lock(path, monkeypatch):
    """What still waits is tried once more, and nothing waits for the lock."""
    monkeypatch.setitem(PRAGMAS, "busy_timeout", 1)
    monkeypatch.setattr(chatlab.log.database, "TRIES", 10**9)
    trying = asyncio.Event()
    loop = asyncio.get_running_loop()
    tries = tried(monkeypatch, lambda count: loop.call_soon_threadsafe(trying.set))
    with beside(path) as database:
        async with asyncio.timeout(20), MessageLog(path) as log:
            database.execute("BEGIN IMMEDIATE")
            sending = [asyncio.ensure_future(log.append("first"))]
            await trying.wait()
            sending += [asyncio.ensure_future(log.append(str(n))) for n in range(20)]
            await turns()
        assert all("locked" in str(task.exception()) for task in sending)
    assert tries[0] == ["first"]
    assert [batch for batch in tries if batch != ["first"]] == [list(map(str, range(20)))]


async def test_full_disk_is_an_error_and_the_log_goes_on(path):
    """A message that was not stored is not announced. Later, no offset is missing."""
    announced = []
    async with MessageLog(path, on_commit=announced.extend) as log:
        await log.append("before")
        [(pages,)] = await asked(log, "PRAGMA page_count")
        await asked(log, f"PRAGMA max_page_count = {pages}")
        outcomes = await asyncio.gather(
            *(log.append("x" * 9000) for _ in range(3)), return_exceptions=True
        )
        assert [str(error) for error in outcomes] == [f"{NOT_STORED}: database or disk is full"] * 3
        await asked(log, "PRAGMA max_page_count = 1000000")
        assert await log.append("after") == 2
        assert announced == await log.after(0) == [Message(1, "before"), Message(2, "after")]


async def test_number_is_never_given_twice(path):
    """Also when the newest rows were deleted, and after the log was closed."""
    async with MessageLog(path) as log:
        for text in "abc":
            await log.append(text)
    with beside(path) as database:
        database.execute("DELETE FROM messages")
    async with MessageLog(path) as log:
        assert log.head == 3
        assert await log.append("d") == 4


async def test_rows_of_another_program_are_seen_by_the_next_batch(path):
    """A new row, a new row with the key of the next message, and a number that was used once."""
    async with MessageLog(path) as log:
        assert await log.append("a", "key a") == 1
        with beside(path) as database:
            database.execute("INSERT INTO messages VALUES (2, NULL, 'beside')")
        assert await log.append("b", "key b") == 3
        with beside(path) as database:
            database.execute("INSERT INTO messages VALUES (4, 'key c', 'c')")
        assert await log.append("c", "key c") == 4
        with beside(path) as database:
            database.execute("INSERT INTO messages VALUES (5, NULL, 'gone')")
            database.execute("DELETE FROM messages WHERE id = 5")
        assert await log.append("d") == 6
    assert [row[0] for row in rows(path)] == [1, 2, 3, 4, 6]


async def test_new_messages_are_one_statement(path):
    """Each further one would wait for the event loop's turn; only a known key needs more."""
    async with MessageLog(path) as log:
        await log.append("first")  # before that, there is no newest offset in the file
        asked = []
        await log._writer.run(lambda db: db.set_trace_callback(asked.append))
        await asyncio.gather(*(log.append(f"{number} \0", f"{number}") for number in range(10)))
        assert [statement.split()[0] for statement in asked] == ["INSERT"] * len(asked)
        assert len(asked) <= 2  # a batch, or the first message and then a batch
        asked.clear()
        assert await log.append("3 \0", "3") == 5
        assert "BEGIN IMMEDIATE" in asked
    assert [row[2] for row in rows(path)[1:]] == [f"{number} \0" for number in range(10)]


async def test_log_that_keeps_many_stores_them_in_one_statement_too(path):
    """As long as nothing has to be deleted."""
    async with MessageLog(path, keep=10) as log:
        await log.append("first")
        asked = []
        await log._writer.run(lambda db: db.set_trace_callback(asked.append))
        for number in range(2, 11):
            await log.append(f"{number}")
        assert {statement.split()[0] for statement in asked} == {"INSERT"}
        await log.append("the eleventh")
        assert any(statement.startswith("DELETE") for statement in asked)


async def test_batch_of_any_size_is_stored(path):
    """As one statement up to a hundred, which bounds the memory of those that are prepared."""
    async with MessageLog(path) as log:
        await log.append("first")
        asked = []
        await log._writer.run(lambda db: db.set_trace_callback(asked.append))
        for size in (MOST_AT_ONCE, MOST_AT_ONCE + 1):
            batch = [Append(f"{n}", None, None) for n in range(size)]
            outcomes, new = await log._writer.write(partial(log._store, batch))
            log._grow(new)
            assert [message.offset for message in new] == outcomes
            assert len(outcomes) == size
    assert len(rows(path)) == 2 * MOST_AT_ONCE + 2
    assert sum(statement.startswith("BEGIN") for statement in asked) == 1


async def test_close_commits_what_waits(path):
    """Nothing that was handed over is dropped at the end."""
    log = await MessageLog(path)
    waiting = [asyncio.ensure_future(log.append(text)) for text in "abc"]
    await asyncio.sleep(0)
    await log.close()
    assert [task.result() for task in waiting] == [1, 2, 3]
    assert len(rows(path)) == 3


async def test_pragmas_are_what_durability_needs(path):
    """WAL, a commit that waits for the disk, and patience with another writer; also if reopened."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 500}
    assert 500 * TRIES == 5000
    for _ in range(2):
        async with MessageLog(path) as log:
            for pragma, value in wanted.items():
                assert await asked(log, f"PRAGMA {pragma}") == [(value,)]


@pytest.mark.parametrize(
    ("pragma", "refused", "stays"),
    [
        ("journal_mode", "none", "delete"),
        ("synchronous", 7, "0"),
        ("busy_timeout", -1, "0"),
    ],
)
async def test_pragma_that_does_not_take_keeps_the_log_closed(
    path, monkeypatch, pragma, refused, stays
):
    """One sentence says which, and no message is taken on weaker terms."""
    monkeypatch.setitem(PRAGMAS, pragma, refused)
    sentence = f"cannot use .*{path.name}.*{pragma} stays {stays}, and it has to be {refused}"
    with pytest.raises(sqlite3.NotSupportedError, match=sentence):
        await MessageLog(path)
    with beside(path) as database:
        assert database.execute("SELECT * FROM sqlite_master").fetchall() == []


async def test_tutorial_database_is_opened_and_continued(path):
    """A file with the tutorial's own table is a log, and its rows are there."""
    with beside(path) as database:
        database.execute(SCHEMA)
        database.execute("INSERT INTO messages (content) VALUES ('from the tutorial')")
    async with MessageLog(path) as log:
        assert await log.after(0) == [Message(1, "from the tutorial")]
        assert await log.append("next") == 2


def text_file(path):
    path.write_text("these are not the bytes you are looking for" * 100)


def other_program(path):
    with beside(path) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")


def other_columns(path):
    with beside(path) as database:
        database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, subject TEXT)")


@pytest.mark.parametrize("make", [text_file, other_program, other_columns])
async def test_foreign_file_is_refused_and_left_alone(path, make):
    """One sentence, and not a byte of the file is changed."""
    make(path)
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="cannot use"):
        await MessageLog(path)
    assert path.read_bytes() == before


async def test_database_in_memory_is_refused(tmp_path, monkeypatch):
    """Each connection would have one of its own, and SQLite's word for it is no file to make."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sqlite3.OperationalError, match="it has to be a file"):
        await MessageLog(":memory:")
    assert list(tmp_path.iterdir()) == []


async def test_file_that_cannot_be_opened_is_named(tmp_path):
    """A folder, and a file in a folder that is not there."""
    for path in (tmp_path, tmp_path / "missing" / "chat.db"):
        with pytest.raises(sqlite3.OperationalError, match="cannot open"):
            await MessageLog(path)


APPEND_FOR_EVER = """
import asyncio, sys
from chatlab.log.sqlite import MessageLog
async def main():
    async with MessageLog(sys.argv[1]) as log:
        while True:
            print(await log.append("x"), flush=True)
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_acknowledged_messages_survive_kill_9(path):
    """Every offset that a killed process has printed is in the table."""
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", APPEND_FOR_EVER, path], stdout=subprocess.PIPE, text=True
        )
        printed = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        printed += [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.wait()
        process.stdout.close()
        stored = {row[0] for row in rows(path)}
        assert set(printed) <= stored
        assert stored == set(range(1, len(stored) + 1))


async def test_restored_copy_is_noticed(path, tmp_path):
    """By a client that is ahead of the copy, also when the copy has grown beyond it."""
    await life(MessageLog, path, "1", "2")
    copy = tmp_path / "copy.db"
    async with MessageLog(path) as log:
        await log.begin_epoch()
        await log.append("3")
        with beside(path) as source, beside(copy) as target:
            source.backup(target)
        await log.append("4")
        epoch = log.epoch
    await life(MessageLog, copy, "other 4", "other 5")
    assert await places(MessageLog, copy, (3, epoch), (4, epoch)) == [
        (3, "continued"),
        (0, "reset"),
    ]
    assert await places(MessageLog, path, (4, epoch)) == [(4, "continued")]


async def test_log_of_which_everything_is_gone(path):
    """Its offsets go on."""
    await life(MessageLog, path, "1", "2")
    with beside(path) as database:
        database.execute("DELETE FROM messages")
    assert await places(MessageLog, path, (1, None), (2, None)) == [(2, "gap"), (2, "continued")]


async def test_batch_that_fails_trims_nothing(path):
    """What was to be deleted with it is still there."""
    async with MessageLog(path, keep=1) as log:
        await log.append("1")
        await asked(log, "PRAGMA query_only = 1")
        with pytest.raises(LogError):
            await log.append("2")
        assert log.trimmed == 0 and await log.after(0) == [(1, "1")]


async def test_long_log_that_is_to_keep_little_gets_shorter_bit_by_bit(path, monkeypatch):
    """No sender waits until millions are deleted, and each client is told of its own gap."""
    monkeypatch.setattr(chatlab.log.sqlite, "MOST_OLD", 3)
    async with MessageLog(path) as log:
        for number in range(10):
            await log.append(str(number))
    async with MessageLog(path, keep=2) as log:
        left = []
        for _ in range(4):
            await log.append("new")
            left.append([row[0] for row in rows(path)])
            assert log.trimmed == left[-1][0] - 1
    assert left == [[*range(5, 12)], [*range(9, 13)], [12, 13], [13, 14]]


@pytest.mark.parametrize("keep", [0, -1])
def test_log_that_keeps_nothing_is_none(path, keep):
    """One sentence says so."""
    with pytest.raises(ValueError, match=f"at least 1 message, not {keep}"):
        MessageLog(path, keep=keep)


async def test_trimmed_is_raised_before_a_reader_can_miss_a_message(path, monkeypatch):
    """A reader right after the commit, on another thread, finds `trimmed` already raised."""
    seen = []
    async with MessageLog(path, keep=1) as log:
        await log.append("1")
        run = log._writer.run

        async def watched(work):
            def then_look(db):
                done = work(db)
                seen.append((rows(path)[0][0] - 1, log.trimmed))
                return done

            return await run(then_look)

        monkeypatch.setattr(log._writer, "run", watched)
        for number in range(2, 5):
            await log.append(str(number))
    assert seen[:3] == [(1, 1), (2, 2), (3, 3)]  # the last look is at the end


async def test_head_of_a_file_is_read_beside_its_server(path):
    """While the log is open, when it is closed, and when its messages are deleted."""
    async with MessageLog(path) as log:
        assert head_of(path) == 0
        for text in "abc":
            await log.append(text)
        assert head_of(path) == 3
    assert head_of(path) == 3
    with beside(path) as database:
        database.execute("DELETE FROM messages")
    assert head_of(path) == 3


async def test_head_of_a_file_is_read_while_another_writes(path):
    """Neither the reader waits, nor the writer."""
    async with MessageLog(path) as log:
        await log.append("a")
        with beside(path) as database:
            database.execute("BEGIN IMMEDIATE")
            assert head_of(path) == 1
            database.execute("ROLLBACK")


def test_head_of_a_file_that_is_not_there_is_an_error(path):
    """And looking makes no file."""
    with pytest.raises(sqlite3.Error):
        head_of(path)
    assert not path.exists()
