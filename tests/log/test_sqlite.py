"""The message log: durable, dense, in order."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from support import asked

from chatlab.log.database import PRAGMAS
from chatlab.log.sqlite import SCHEMA, MessageLog, head_of
from chatlab.messages import Message, Refused


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chat.db"


@contextlib.contextmanager
def beside(path):
    """A connection of our own, beside the log's."""
    database = sqlite3.connect(path, isolation_level=None)
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


async def test_repeated_key_gets_the_first_offset(path):
    """A retry stores nothing and burns no number, in the same batch or later."""
    async with MessageLog(path) as log:
        assert await asyncio.gather(log.append("a", "k1"), log.append("a", "k1")) == [1, 1]
        assert await log.append("b", "k2") == 2
        assert await log.append("a", "k1") == 1
        assert await log.append("c") == 3
    assert rows(path) == [(1, "k1", "a"), (2, "k2", "b"), (3, None, "c")]


async def test_row_that_the_database_refuses_fails_alone(path):
    """Its sender gets the database's error; the others are stored, and no number is burnt."""
    announced = []
    async with MessageLog(path, on_commit=announced.extend) as log:
        with beside(path) as database:
            database.execute(
                "CREATE TRIGGER no BEFORE INSERT ON messages WHEN NEW.content = 'bad' "
                "BEGIN SELECT RAISE(ABORT, 'no bad words'); END"
            )
        results = await asyncio.gather(
            log.append("a"), log.append("bad"), log.append("b"), return_exceptions=True
        )
    assert results[0] == 1
    assert isinstance(results[1], sqlite3.Error)
    assert results[2] == 2
    assert announced == [Message(1, "a"), Message(2, "b")]


async def test_locked_database_is_an_error_and_the_log_goes_on(path, monkeypatch):
    """While another program holds the lock, append fails; afterwards it works."""
    monkeypatch.setitem(PRAGMAS, "busy_timeout", 1)
    async with MessageLog(path) as log:
        with beside(path) as database:
            database.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                await log.append("a")
            database.execute("ROLLBACK")
        assert await log.append("b") == 1
    assert rows(path) == [(1, None, "b")]


async def test_full_disk_is_an_error_and_the_log_goes_on(path):
    """Nobody hears of what was not stored; when there is room again, no offset is missing."""
    announced = []
    async with MessageLog(path, on_commit=announced.extend) as log:
        await log.append("before")
        [(pages,)] = await asked(log, "PRAGMA page_count")
        await asked(log, f"PRAGMA max_page_count = {pages}")
        outcomes = await asyncio.gather(
            *(log.append("x" * 9000) for _ in range(3)), return_exceptions=True
        )
        assert [str(error) for error in outcomes] == ["database or disk is full"] * 3
        await asked(log, "PRAGMA max_page_count = 1000000")
        assert await log.append("after") == 2
        assert announced == await log.after(0) == [Message(1, "before"), Message(2, "after")]


async def test_bad_text_is_refused_before_it_is_stored(path):
    """Validation is here, where a message enters the log."""
    async with MessageLog(path) as log:
        for text in ("", 42, "\ud800"):
            with pytest.raises(Refused):
                await log.append(text)
    assert rows(path) == []


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
    wanted = {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5000}
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


# Epochs: whose offsets mean something here.


async def life(path, *texts):
    """One life of a server that stores some messages; return the name of its epoch."""
    async with MessageLog(path) as log:
        await log.begin_epoch()
        for text in texts:
            await log.append(text)
        return log.epoch


async def places(path, *positions):
    async with MessageLog(path) as log:
        await log.begin_epoch()
        return [log.place(offset, epoch) for offset, epoch in positions]


async def test_offset_of_an_older_life_goes_on(path):
    """As far as that life has come, and not further."""
    first = await life(path, "1", "2")
    second = await life(path, "3")
    assert first != second
    found = await places(path, (2, first), (3, first), (3, second), (0, first), (4, second))
    assert [place.outcome for place in found] == [
        "continued", "reset", "continued", "continued", "reset",
    ]  # fmt: skip
    assert [place.after for place in found] == [2, 0, 3, 0, 0]


async def test_life_without_a_message_is_known_too(path):
    """A client may have come in it, with offsets from before."""
    await life(path, "1", "2")
    quiet = await life(path)
    await life(path, "3")
    assert await places(path, (2, quiet), (3, quiet)) == [(2, "continued"), (0, "reset")]


async def test_other_log_is_noticed(path, tmp_path):
    """However long it is; only who has nothing yet has nothing to forget."""
    other = await life(tmp_path / "other.db", "a", "b")
    await life(path, "1", "2", "3")
    found = await places(path, (2, other), (0, other), (3, "made up"), (3, ""))
    assert [place.outcome for place in found] == ["reset", "continued", "reset", "reset"]


async def test_restored_copy_is_noticed(path, tmp_path):
    """By those who are ahead of the copy, even when it has grown beyond them."""
    await life(path, "1", "2")
    copy = tmp_path / "copy.db"
    async with MessageLog(path) as log:
        await log.begin_epoch()
        await log.append("3")
        with beside(path) as source, beside(copy) as target:
            source.backup(target)
        await log.append("4")
        epoch = log.epoch
    await life(copy, "other 4", "other 5")
    assert await places(copy, (3, epoch), (4, epoch)) == [(3, "continued"), (0, "reset")]
    assert await places(path, (4, epoch)) == [(4, "continued")]


async def test_client_without_an_epoch_is_believed_unless_it_is_ahead(path):
    """As the tutorial's page is."""
    await life(path, "1", "2")
    found = await places(path, (0, None), (2, None), (3, None))
    assert found == [(0, "continued"), (2, "continued"), (0, "reset")]


async def test_empty_log_and_the_same_position(path):
    """Nothing follows, and nothing is wrong."""
    assert await places(path, (0, None), (1, None)) == [(0, "continued"), (0, "reset")]


async def test_looking_at_a_log_begins_no_epoch(path):
    """A lab looks at the log of a server that goes on: that changes nothing for its clients."""
    async with MessageLog(path) as log:
        await log.begin_epoch()
        await log.append("1")
        async with MessageLog(path) as other:
            assert [message.text for message in await other.after(0)] == ["1"]
        await log.append("2")
        epoch = log.epoch
    assert await places(path, (2, epoch)) == [(2, "continued")]


# Retention: the newest messages are kept.


async def test_log_of_which_everything_is_gone(path):
    """Its offsets go on."""
    await life(path, "1", "2")
    with beside(path) as database:
        database.execute("DELETE FROM messages")
    assert await places(path, (1, None), (2, None)) == [(2, "gap"), (2, "continued")]


async def test_batch_that_fails_trims_nothing(path):
    """What was to be deleted with it is still there."""
    async with MessageLog(path, keep=1) as log:
        await log.append("1")
        await asked(log, "PRAGMA query_only = 1")
        with pytest.raises(sqlite3.OperationalError):
            await log.append("2")
        assert log.trimmed == 0 and await log.after(0) == [(1, "1")]


@pytest.mark.parametrize("keep", [0, -1])
def test_log_that_keeps_nothing_is_none(path, keep):
    """One sentence says so."""
    with pytest.raises(ValueError, match=f"at least 1 message, not {keep}"):
        MessageLog(path, keep=keep)


async def test_hole_is_never_seen_before_it_is_told(path, monkeypatch):
    """Whoever reads right after the commit, on another thread, finds `trimmed` raised already."""
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


async def test_head_of_a_file_is_read_beside_whoever_serves_it(path):
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
    """Nobody waits: neither the one who looks, nor the one who writes."""
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
