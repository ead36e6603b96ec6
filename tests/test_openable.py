"""Whatever can be opened lets a program end that forgets to close it."""

import subprocess
import sys
import threading

import aiosqlite
import pytest
from support import stored

from chatlab.log.sqlite import MessageLog
from chatlab.recovery.store import SessionStore

PATIENCE = 60
FORGETFUL = """
import asyncio, sys
from chatlab import *

async def main():
    global opened  # nothing of it is collected before the end
    opened = [log := await MessageLog("log.db")]
    await log.begin_epoch()
    await log.append("acknowledged")
    opened += [store := SessionStore("store.db"), recovery := Recovery(store=SessionStore("r.db"))]
    await store.open()
    await recovery.open()
    opened += [server := BackgroundServer(lambda: create_app(db="chat.db")).start()]
    opened += [link := await Link(server.port)]
    opened += [await ChatClient(link.url, "ann").open(), await Classroom(db="class.db")]
    opened += [lab := await Lab(chat, recovery=True, store=True), await lab.join("bob")]
    await opened[-1].send("hello")
    if "fail" in sys.argv:
        raise LookupError("planted")

asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "code"), [("end", 0), ("fail", 1)])
def test_program_that_closes_nothing_ends(tmp_path, how, code):
    """After an error too, with the right exit code, and what was acknowledged is on the disk."""
    command = [sys.executable, "-c", FORGETFUL, how]
    ended = subprocess.run(
        command, cwd=tmp_path, timeout=PATIENCE, stderr=subprocess.PIPE, text=True
    )
    assert ended.returncode == code, ended.stderr
    assert ("LookupError: planted" in ended.stderr) is (how == "fail")
    assert stored(tmp_path / "log.db") == ["acknowledged"]


async def threads(opening):
    """Return what an opening begins: itself, and its threads."""
    before = set(threading.enumerate())
    return await opening, set(threading.enumerate()) - before


@pytest.mark.parametrize("kind", [MessageLog, SessionStore])
async def test_thread_of_a_database_is_a_daemon(tmp_path, kind):
    """Python waits at its end for every thread that is none."""
    thing = kind(tmp_path / "x.db")
    _, begun = await threads(thing.open())
    await thing.close()
    assert begun and all(thread.daemon for thread in begun)


async def test_thread_of_aiosqlite_alone_is_no_daemon(tmp_path):
    """The control: a program would wait for it for ever."""
    connection, begun = await threads(aiosqlite.connect(tmp_path / "x.db"))
    await connection.close()
    assert [thread.daemon for thread in begun] == [False]
