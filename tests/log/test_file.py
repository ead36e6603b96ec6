"""The file under a log: it has one server, one owner, and its name."""

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time

import pytest
from documents import ROOT
from kinds import SqliteKind
from support import serving, stored, turns

import chatlab.log.file
from chatlab.harness.background import BackgroundServer
from chatlab.log import LogError
from chatlab.log.file import PARTS
from chatlab.log.sqlite import MessageLog
from chatlab.recovery.store import SessionStore
from chatlab.server.app import create_app

posix = pytest.mark.skipif(os.name != "posix", reason="Windows moves no file that is open")
PATIENCE = 20
TAKEN = "another server has it open, process"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chat.db"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """No server of these tests is about to close."""
    monkeypatch.setattr(chatlab.log.file, "CLOSING", 0.01)


@contextlib.asynccontextmanager
async def served(path):
    """A log as a server has it."""
    async with MessageLog(path) as log:
        await log.begin_epoch()
        yield log


async def refused(path):
    """Whether a second server is told that the file is taken, in one sentence."""
    with pytest.raises(sqlite3.OperationalError) as refusal:
        async with served(path):
            pass
    assert str(refusal.value).startswith("cannot use") and "\n" not in str(refusal.value)
    return TAKEN in str(refusal.value)


# One server


async def test_file_has_one_server_at_a_time(path):
    """A second one is refused by name, and served when the first one is gone."""
    async with served(path) as log:
        assert await refused(path)
        assert await log.append("a") == 1
    async with served(path) as log:
        assert await log.append("b") == 2


async def test_two_writers_without_a_lock_miss_each_others_messages(path):
    """The control: both of them store everything, and each shows only what it has stored."""
    heard = [], []
    logs = [MessageLog(path, on_commit=batch.extend) for batch in heard]
    async with logs[0] as first, logs[1] as second:
        assert [await first.append("a"), await second.append("b")] == [1, 2]
    assert [text for _, text in heard[0]] == ["a"] and [text for _, text in heard[1]] == ["b"]


async def test_server_that_waited_for_another_begins_after_its_messages(path):
    """It opened the file while the other one still stored: its epoch begins at the real end."""
    async with MessageLog(path) as late:
        async with served(path) as log:
            await log.append("a")
            epoch = log.epoch
        await late.begin_epoch()
        assert late.head == 1
        assert late.place(1, epoch).outcome == "continued"


async def test_log_that_is_served_can_be_read(path):
    """A lab judges the log of its running server, and a server is not kept from its file by it."""
    async with served(path) as log:
        await log.append("a")
        async with MessageLog(path) as reader:
            assert [text for _, text in await reader.after(0)] == ["a"]
    async with MessageLog(path), served(path) as log:
        assert await log.append("b") == 2


@posix
async def test_every_way_to_the_file_leads_to_its_lock(path, monkeypatch):
    """A link, a link to its folder, and a path from elsewhere."""
    (path.parent / "link.db").symlink_to(path)
    (path.parent / "folder").symlink_to(path.parent, target_is_directory=True)
    monkeypatch.chdir(path.parent)
    async with served("link.db"):
        for other in (path, path.name, path.parent / "folder" / path.name, f"./{path.name}"):
            assert await refused(other)


async def test_lock_that_cannot_be_had_is_explained(path):
    """Somebody has put a file, or a folder, in its place."""
    (path.parent / "a.db.serving").write_text("this is no database, but it is long enough" * 99)
    (path.parent / "b.db.serving").mkdir()
    for name, reason in ("a.db", "lock .*a.db.serving: .*database"), ("b.db", "open .*serving"):
        with pytest.raises(sqlite3.DatabaseError, match=f"cannot use .*{name}.*: cannot {reason}"):
            async with served(path.with_name(name)):
                pass


@posix
async def test_file_with_two_names_is_not_served(path):
    """SQLite would keep what is new beside each of the names, and rows would be lost."""
    async with MessageLog(path) as log:
        await log.append("a")
    os.link(path, path.parent / "other.db")
    with pytest.raises(sqlite3.OperationalError, match="hard link"):
        async with served(path):
            pass


SERVE = """
import asyncio, os, sys
from chatlab import MessageLog
async def main():
    async with MessageLog(sys.argv[1]) as log:
        await log.begin_epoch()
        if "fork" in sys.argv and os.fork() == 0:
            while True:
                os.read(0, 1) or os._exit(0)
        print(os.getpid(), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
@pytest.mark.parametrize("how", ["alone", "fork"])
def test_lock_ends_with_its_process(path, how):
    """It names the process; after `kill -9` the file is free, though a child of it lives on."""

    async def serve():
        async with served(path) as log:
            return await log.append("a")

    command = [sys.executable, "-c", SERVE, path, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        pid = process.stdout.readline().decode().strip()
        with pytest.raises(sqlite3.OperationalError, match=f"{TAKEN} {pid}$"):
            asyncio.run(serve())
        process.kill()
        process.wait(PATIENCE)
        assert asyncio.run(serve()) == 1


async def test_sessions_have_one_server_at_a_time(path):
    """Also without a log; and the log and the sessions of one server share a file."""
    store = SessionStore(path)
    async with served(path):
        await store.open()
        with pytest.raises(sqlite3.OperationalError, match=f"cannot keep sessions in .*{TAKEN}"):
            await SessionStore(path).open()
    await store.close()
    await store.open()
    await store.close()


async def test_second_application_does_not_start(path):
    """On the loop of the first, or in the background; the first one is not disturbed."""
    async with serving(path) as server:
        with pytest.raises(sqlite3.OperationalError, match=TAKEN):
            async with serving(path):
                pass
        second = BackgroundServer(lambda: create_app(db=path), name="second")
        with pytest.raises(sqlite3.OperationalError, match=TAKEN):
            await asyncio.to_thread(second.start)
        assert await server.log.append("a") == 1


# One owner


@posix
@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
async def test_new_files_are_for_their_owner_alone(path, umask):
    """Whatever the umask says: the database, what SQLite keeps beside it, and the lock."""
    before = os.umask(umask)
    try:
        async with served(path) as log:
            await log.append("a")
            found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert {path.name + part for part in (*PARTS, ".serving")} <= set(found)
    assert set(found.values()) == {0o600}


@posix
async def test_file_that_is_there_keeps_its_rights(path):
    """Its owner chose them, and the files beside it follow."""
    path.touch()
    path.chmod(0o640)
    async with served(path) as log:
        await log.append("a")
        found = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert found == {0o640}


# Its name


def moved(path):
    path.rename(path.parent / "moved.db")


def deleted(path):
    path.unlink()


def replaced(path):
    """By a copy of it that was made before."""
    copy = path.parent / "copy.db"
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def without_wal(path):
    path.with_name(path.name + "-wal").unlink()


def without_shm(path):
    path.with_name(path.name + "-shm").unlink()


LOSSES = [moved, deleted, replaced, without_wal, without_shm]


async def not_stored(log, *texts):
    """Raise AssertionError unless each append fails, because the file has gone."""
    for text in texts:
        with pytest.raises(LogError, match="moved, replaced or deleted"):
            await log.append(text)


@posix
@pytest.mark.parametrize("lose", LOSSES)
async def test_nothing_is_stored_in_a_file_that_has_gone(path, lose):
    """Every sender is told so, the loop is told once, and what was stored can still be read."""
    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    async with served(path) as log:
        await log.append("a")
        lose(path)
        await not_stored(log, "b", "c")
        assert [text for _, text in await log.after(0)] == ["a"]
        assert log.head == 1
    assert len(reports) == 1


@posix
@pytest.mark.parametrize("lose", LOSSES)
async def test_sqlite_alone_goes_on_in_a_file_that_has_gone(path, lose):
    """The control: each commit succeeds, and nothing is found under the name after a `kill -9`."""
    async with MessageLog(path) as log:
        await log.append("a")
        lose(path)
        log._writer._file.check = lambda db: None
        assert await log.append("b") == 2


@posix
@pytest.mark.parametrize("lose", LOSSES)
async def test_file_that_goes_in_the_middle_of_a_commit_is_noticed(path, lose):
    """After the look before the transaction, and before its sender would get the offset."""
    async with served(path) as log, SqliteKind.held(log, "b") as held:
        await log.append("a")
        sending = asyncio.ensure_future(not_stored(log, "b"))
        await held.wait()
        lose(path)
    await sending


async def rest(path, monkeypatch):
    """Let the folder of a file be as it is for a while."""
    monkeypatch.setattr(chatlab.log.file, "COARSE", 0.05)
    while time.time() - path.parent.stat().st_ctime < 0.1:
        await turns(1)


async def test_one_look_at_a_folder_that_has_not_changed_is_enough(path, monkeypatch):
    """Nobody looks for the four files then, for a second."""
    monkeypatch.setattr(chatlab.log.file, "LOOK_CLOSELY_EVERY", PATIENCE)
    async with served(path) as log:
        await rest(path, monkeypatch)
        await log.append("a")
        with monkeypatch.context() as patched:
            patched.setattr(log._writer._file, "_found", None)
            assert await log.append("b") == 2


def back_in_time(lose):
    """Lose a file as a program does that restores a backup: it sets the folder's time."""

    def restore(path):
        changed = path.parent.stat().st_mtime_ns
        lose(path)
        os.utime(path.parent, ns=(changed, changed))

    return restore


@posix
@pytest.mark.parametrize("lose", [*LOSSES, *map(back_in_time, LOSSES)])
async def test_file_that_goes_from_a_folder_at_rest_is_noticed(path, monkeypatch, lose):
    """Each of these ways changes the folder."""
    monkeypatch.setattr(chatlab.log.file, "LOOK_CLOSELY_EVERY", PATIENCE)
    async with served(path) as log:
        await rest(path, monkeypatch)
        await log.append("a")
        lose(path)
        await not_stored(log, "b")


async def moved_unseen(path, monkeypatch, changed):
    """Move a file right after a look; its folder says all the time that it changed at `changed`."""
    monkeypatch.setattr(chatlab.log.file, "_state", lambda folder: (1, 1, 0.0, changed))
    async with served(path) as log:
        await log.append("a")
        moved(path)
        await log.append("b")


@posix
async def test_file_that_goes_right_after_a_look_is_noticed(path, monkeypatch):
    """The time of a folder that was changed just before says nothing. The control believes it."""
    monkeypatch.setattr(chatlab.log.file, "LOOK_CLOSELY_EVERY", PATIENCE)
    with pytest.raises(LogError, match="moved, replaced or deleted"):
        await moved_unseen(path, monkeypatch, changed=time.time())
    await moved_unseen(path.with_name("other.db"), monkeypatch, changed=0.0)


@posix
async def test_file_that_goes_where_folders_have_no_time_is_noticed(path, monkeypatch):
    """A look at the files themselves comes sooner or later."""
    monkeypatch.setattr(chatlab.log.file, "LOOK_CLOSELY_EVERY", 0)
    with pytest.raises(LogError, match="moved, replaced or deleted"):
        await moved_unseen(path, monkeypatch, changed=0.0)


@posix
async def test_what_was_stored_goes_with_the_file_that_is_moved(path):
    """Also what was only in -wal until then; and the new file does not get it."""
    for text in ("a", "b"):
        async with served(path) as log:
            await log.append(text)
            moved(path)
            if text == "b":
                await not_stored(log, "c")
        assert stored(path.parent / "moved.db") == [text]
        assert not path.exists()


@posix
async def moved_while_nobody_writes(path):
    """Move the file of a log at rest; return what is in it, read as SQLite alone reads it."""
    moved = path.with_name("moved.db")
    async with served(path) as log:
        await log.append("a")
        os.rename(path, moved)
        for _ in range(100):
            with contextlib.suppress(sqlite3.OperationalError):  # it has no table yet
                if texts := stored(moved):
                    return texts
            await asyncio.sleep(0.01)
    return []


@posix
@pytest.mark.parametrize(("every", "texts"), [(0.01, ["a"]), (PATIENCE, [])])
async def test_what_was_stored_goes_along_before_the_next_message(path, monkeypatch, every, texts):
    """The server may be killed before it comes. The control: one that looks too late."""
    monkeypatch.setattr(chatlab.log.database, "LOOK_EVERY", every)
    assert await moved_while_nobody_writes(path) == texts


async def test_rows_of_a_file_that_was_moved_away_are_not_deleted(path):
    """SQLite would delete "-wal" if a new and empty file took the place of the other one."""
    path.with_name("chat.db-wal").write_bytes(b"rows")
    with pytest.raises(sqlite3.OperationalError, match="put the file back"):
        await MessageLog(path)
    assert not path.exists()
    assert path.with_name("chat.db-wal").read_bytes() == b"rows"


@posix
async def test_lock_that_is_deleted_ends_the_server(path):
    """A second server could get a lock of its own: so the first one stores nothing more."""
    async with served(path) as log:
        await log.append("a")
        path.with_name("chat.db.serving").unlink()
        with pytest.raises(LogError, match="moved, replaced or deleted"):
            await log.append("b")


async def test_old_wal_does_no_harm_to_a_file_that_took_the_place(path):
    """A restored copy is as it was when it was copied, and the next server goes on with it."""
    async with served(path) as log:
        await log.append("a")
    async with served(path) as log:
        for number in range(50):
            await log.append(f"{number}" * 500)
        replaced(path)
        await not_stored(log, "b")
    async with served(path) as log:
        assert [text for _, text in await log.after(0)] == ["a"]
        assert await log.append("c") == 2
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@posix
async def test_file_that_comes_back_is_used_again_after_a_restart(path):
    """Not before: somebody may have changed it under its other name."""
    async with served(path) as log:
        await log.append("a")
        moved(path)
        await not_stored(log, "b")
        (path.parent / "moved.db").rename(path)
        await not_stored(log, "b")
    async with served(path) as log:
        assert await log.append("b") == 2
    assert stored(path) == ["a", "b"]


@posix
async def test_folder_that_is_moved_is_noticed_too(tmp_path):
    """The file is another one, or none, under the name by which it was opened."""
    folder = tmp_path / "here"
    folder.mkdir()
    async with served(folder / "chat.db") as log:
        await log.append("a")
        folder.rename(tmp_path / "there")
        await not_stored(log, "b")
    assert stored(tmp_path / "there" / "chat.db") == ["a"]


async def test_change_of_the_working_folder_is_no_loss(path, monkeypatch):
    """The name is the one that it had when it was opened."""
    monkeypatch.chdir(path.parent)
    async with served(path.name) as log:
        monkeypatch.chdir("/")
        assert await log.append("a") == 1


PLAIN = "import shutil; shutil.copy('chat.db', 'plain.db'); "


async def test_copy_is_made_as_the_docs_say(path):
    """While the server runs, it has every message; the control, the file by itself, has none."""
    [code] = re.findall(r'python -c "(.*)"', (ROOT / "docs" / "DATABASE.md").read_text())
    async with served(path) as log:
        await log.append("a")
        command = [sys.executable, "-c", PLAIN + code]
        await asyncio.to_thread(subprocess.run, command, cwd=path.parent, check=True)
        assert await log.append("b") == 2
    assert stored(path.parent / "copy.db") == ["a"]
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        stored(path.parent / "plain.db")
