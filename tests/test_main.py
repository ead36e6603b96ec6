"""The server as a program: it says where it is, stops when asked, and explains why it cannot."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest

import chatlab
from chatlab.client.tab import ChatClient
from chatlab.harness.program import new_loop

PATIENCE = 20
MORTAL = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""Begins a command that may not, even as root, open every file."""
READY = re.compile(r"The chat is on (http://localhost:\d+) \(Ctrl-C stops it\)\n")


WINDOWS = """
import asyncio, sys
from chatlab.__main__ import main

remove_reader = asyncio.SelectorEventLoop.remove_reader

def missing(*args):
    raise NotImplementedError

def missing_for_us(loop, file):
    return (remove_reader if isinstance(file, int) else missing)(loop, file)

asyncio.SelectorEventLoop.add_signal_handler = missing
asyncio.SelectorEventLoop.remove_reader = missing_for_us
sys.modules["uvloop"] = sys.modules["resource"] = None
main()
"""
"""The program without what Windows does not have. asyncio itself gives the number of a file to its
readers, which this loop still has."""


@contextlib.contextmanager
def program(folder, *options, code=None):
    """Run `python -m chatlab`, or code in its place, in a folder; where we are root, without the
    right to every file."""
    prefix = MORTAL if os.geteuid() == 0 and shutil.which(MORTAL[0]) else []
    run = ["-c", code] if code else ["-m", "chatlab"]
    with subprocess.Popen(
        [*prefix, sys.executable, *run, *map(str, options)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def running(folder, *options, code=None):
    """Run the program, and give its process and its address when it serves."""
    with program(folder, "--port", 0, *options, code=code) as process:
        yield process, READY.fullmatch(process.stdout.readline())[1]


def outcome(folder, *options):
    """Run the program to its end; return its exit code, its output and its complaint."""
    with program(folder, *options) as process:
        said, complaint = process.communicate(timeout=PATIENCE)
    return process.returncode, said, complaint


def get(url):
    with urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


def test_program_says_where_it_is_and_serves_the_page(tmp_path):
    """One line, then nothing; the page is there, and the database in the folder it runs in."""
    with running(tmp_path) as (process, url):
        assert "<title>" in get(url)
        assert (tmp_path / "chat.db").exists()
        process.terminate()
        assert process.communicate(timeout=PATIENCE) == ("", "")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0", "localhost"])
def test_every_address_that_is_said_can_be_opened(tmp_path, host):
    """The one for this machine, and that for others: "::" is no address, and ::1 needs brackets."""
    with program(tmp_path, "--port", 0, "--host", host) as process:
        said = process.stdout.readline()
        urls = re.findall(r"http://[^\s,]+", said)
        assert re.fullmatch(r"http://(localhost|\[::1\]):\d+", urls[0]), said
        for url in urls:
            assert "<title>" in get(url)


@pytest.mark.parametrize("transport", [None, "websocket", "polling"])
@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGINT", None), ("SIGTERM", None), ("SIGINT", WINDOWS)],
    ids=["SIGINT", "SIGTERM", "Ctrl-C on Windows"],
)
async def test_signal_stops_the_program_cleanly(tmp_path, name, code, transport):
    """Ctrl-C and the usual end: exit code 0 and no word, also while a client is connected."""
    with running(tmp_path, code=code) as (process, url):
        ann = ChatClient(url, transports=(transport,))
        if transport:
            await ann.open()
            await ann.send("hello")
        process.send_signal(getattr(signal, name))
        ended = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        await ann.close()
    assert ended == ("", "")
    assert process.returncode == 0
    assert not (tmp_path / "chat.db-wal").exists()  # the database was closed too


async def test_two_clients_see_each_others_messages(tmp_path):
    """What one sends, both show."""
    with running(tmp_path) as (_, url):
        ann, bob = await ChatClient(url, "ann").open(), await ChatClient(url, "bob").open()
        await ann.send("hello bob")
        await bob.sees(1)
        await bob.send("hello ann")
        assert await ann.sees(2) == await bob.sees(2) == ["hello bob", "hello ann"]
        await ann.close()
        await bob.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
async def test_messages_survive_kill_9(tmp_path):
    """A tab that opens after the restart shows every message that was shown before, in order."""
    with running(tmp_path) as (process, url):
        ann = await ChatClient(url, "ann").open()
        for number in range(20):
            await ann.send(str(number))
        shown = await ann.sees(20)
        process.kill()
        await asyncio.to_thread(process.wait, PATIENCE)
        await ann.close()
    assert process.returncode == -signal.SIGKILL
    with running(tmp_path) as (_, url):
        bob = await ChatClient(url, "bob").open()
        assert await bob.sees(20) == shown == [str(number) for number in range(20)]
        await bob.close()


def test_second_program_on_the_file_says_who_has_it(tmp_path):
    """One sentence with the process; the first one goes on."""
    with running(tmp_path) as (process, url):
        returned, said, complaint = outcome(tmp_path, "--port", 0)
        assert "<title>" in get(url)
    assert (returned, said) == (1, "")
    assert complaint.startswith("Cannot serve: ") and complaint.count("\n") == 1
    assert f"another server has it open, process {process.pid}." in complaint


JOIN = re.compile(r"Join at (http://\S+):(\d+) with the code (\w{6})\n")


@contextlib.contextmanager
def class_running(folder, *options, code=None):
    """Run the program with `--class`; give what it says, and where and how to join."""
    with program(folder, "--class", "--port", 0, *options, code=code) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if line == "Ctrl-C ends the class\n":
                break
        [joining] = filter(None, map(JOIN.fullmatch, said))
        yield process, "".join(said), joining.groups()


@pytest.mark.parametrize("program", [None, WINDOWS], ids=["here", "Windows"])
async def test_class_says_how_to_join_and_lets_in_who_has_the_code(tmp_path, program):
    """A picture, the address and the code; the console; and its log is not that of the chat."""
    with class_running(tmp_path, code=program) as (process, said, (host, port, code)):
        picture, words = said.split("Join at ")
        assert len(picture.splitlines()) > 15
        assert host == "http://localhost"
        console = re.fullmatch(
            r"\S+ with the code \w+\n"
            r"Only this machine reaches it: for phones, the host has to be 0\.0\.0\.0\.\n"
            r"Your console, on this machine alone: (http://localhost:\d+/\S{32}/)\n"
            r"Ctrl-C ends the class\n",
            words,
        )[1]
        assert "<table" in get(console)
        auth = {"code": code, "name": "Ann", "badge": "x" * 16}
        url = f"http://127.0.0.1:{port}"
        outside, ann = ChatClient(url), ChatClient(url, auth=auth)
        with pytest.raises(ConnectionRefusedError, match="a join code is needed"):
            await outside.open()
        await ann.open()
        await ann.send("hello")
        assert await ann.sees(1) == ["Ann: hello"]
        process.send_signal(signal.SIGINT)
        ended = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        await ann.close()
        await outside.close()
    assert ended == ("", "")
    assert process.returncode == 0
    assert (tmp_path / "class.db").exists()
    assert not (tmp_path / "chat.db").exists()


def test_class_for_phones_is_on_every_address(tmp_path):
    """And says which one to use; the code may be one of an earlier run, and the file any other."""
    options = ("--host", "0.0.0.0", "--code", "k7pq2m", "--db", tmp_path / "monday.db")
    with class_running(tmp_path, *options) as (_, said, (host, port, code)):
        assert code == "K7PQ2M"
        assert "<title>" in get(f"http://127.0.0.2:{port}/")
        assert ("is in no network" in said) is (host == "http://localhost")
        assert "0.0.0.0" not in said
        assert (tmp_path / "monday.db").exists()


def test_class_on_a_taken_port_is_explained(tmp_path):
    """As without a class."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = outcome(tmp_path, "--class", "--port", port)
    sentence = f"Cannot serve on 127.0.0.1, port {port}: address already in use.\n"
    assert ended == (1, "", sentence)


def test_terminal_without_the_characters_for_a_picture_gets_the_words(tmp_path, monkeypatch):
    """Nothing fails for that: the words say the same."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with class_running(tmp_path) as (_, said, _joining):
        assert said.startswith("Join at ")


def test_taken_port_is_explained(tmp_path):
    """One sentence that names the port, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = outcome(tmp_path, "--port", port)
    sentence = f"Cannot serve on 127.0.0.1, port {port}: address already in use.\n"
    assert ended == (1, "", sentence)


def foreign(path):
    """A database of another program."""
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()


def no_database(path):
    """A file that is none."""
    path.write_text("Dear diary, " * 100)


def unreadable(path):
    """A file that we may not open."""
    path.touch()
    path.chmod(0)


def folder(path):
    """A folder in the place of the file."""
    path.mkdir()


def nothing(path):
    """A file in a folder that does not exist."""
    path.parent.rmdir()


@pytest.mark.parametrize("make", [foreign, no_database, unreadable, folder, nothing])
def test_file_that_cannot_be_used_is_explained(tmp_path, make):
    """One sentence that names the file as it was given, and no traceback."""
    path = tmp_path / "Folder" / "Chat.db"
    path.parent.mkdir()
    make(path)
    code, said, complaint = outcome(tmp_path, "--port", 0, "--db", path)
    assert (code, said) == (1, "")
    assert re.fullmatch(rf"Cannot serve: cannot [a-z]+ {re.escape(str(path))}[^\n]*\.\n", complaint)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--port", "http", "'http' is not a port"),
        ("--port", "65536", "'65536' is not a port"),
        ("--port", "-1", "'-1' is not a port"),
        ("--port", "3000.5", "'3000.5' is not a port"),
        ("--keep", "0", "'0' is no number of messages"),
        ("--keep", "all", "'all' is no number of messages"),
        ("--host", "", "'' is not an address"),
        ("--host", "a..b", "'a..b' is not an address"),
        ("--origin", "chat.example", "'chat.example' is not as https://chat.example"),
        ("--code", "abc", "'abc' is no join code: a join code has 6 characters"),
        ("--code", "K7PQ2M", "only a class has a join code"),
    ],
)
def test_bad_option_is_explained(tmp_path, option, value, reason):
    """The way in which the options are used, and one sentence."""
    code, said, complaint = outcome(tmp_path, option, value)
    assert (code, said) == (2, "")
    assert complaint.startswith("usage: python -m chatlab ")
    assert reason in complaint.splitlines()[-1]


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_host_that_is_not_this_machine_is_explained(tmp_path, host):
    """An address of nobody (it is reserved for examples), and a name of nobody."""
    code, said, complaint = outcome(tmp_path, "--port", 0, "--host", host)
    assert (code, said) == (1, "")
    reason = r"[^\n:]*(assign|bind|known|resolution|address)[^\n]*"
    assert re.fullmatch(rf"Cannot serve on {re.escape(host)}, port 0: {reason}\.\n", complaint)


@pytest.fixture
def copy(tmp_path):
    """A copy of the package in which the browser client is not installed."""
    shutil.copytree(
        Path(chatlab.__file__).parent,
        tmp_path / "chatlab",
        ignore=shutil.ignore_patterns("vendor", "__pycache__"),
    )
    return tmp_path  # `python -m` looks in the folder in which it runs first


def test_missing_browser_client_is_said_and_the_page_is_served(copy):
    """The page has another source for it: the sentence says so, and the server serves."""
    with program(copy, "--port", 0) as process:
        sentence = process.stdout.readline()
        url = READY.fullmatch(process.stdout.readline())[1]
        assert "browser client is not installed" in sentence
        assert "CDN" in sentence
        assert "<title>chatlab</title>" in get(url)


def test_installed_browser_client_is_not_mentioned(copy):
    """The control: with the file in its place, the first line says where the chat is."""
    vendor = copy / "chatlab" / "page" / "static" / "vendor"
    vendor.mkdir()
    (vendor / "socket.io.min.js").write_text("// the client")
    with running(copy) as (_, url):
        assert get(f"{url}/socket.io/socket.io.js") == "// the client"


def sessions_in(folder):
    """How many sessions a program has stored: it does so in the background."""
    with contextlib.closing(sqlite3.connect(folder / "chat.db")) as store:
        [(count,)] = store.execute("SELECT count(*) FROM sessions")
        return count


async def test_program_recovers_and_keeps_as_many_messages_as_asked(tmp_path):
    """The page that comes back has its session again, even after a kill."""
    with running(tmp_path, "--keep", 2) as (process, url):
        tab = await ChatClient(url, recover=True).open()
        for number in range(1, 5):
            await tab.send(str(number))
        await tab.sees(4)
        while not sessions_in(tmp_path):  # noqa: ASYNC110 - another process stores them
            await asyncio.sleep(0.01)
        process.kill()
        await tab.until(lambda: not tab.connected)
        await tab.drop()
    with running(tmp_path, "--keep", 2) as (process, tab.url):
        await tab.reconnect()
        assert tab.recovered
        await tab.reload()
        assert await tab.sees(2) == ["3", "4"]
        await tab.close()


def test_program_uses_the_quicker_loop_where_it_is_installed(monkeypatch):
    """And asyncio's own where it is not: the rest of this file has run on one of them."""
    if find_spec("uvloop"):
        assert new_loop().__module__.startswith("uvloop")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert new_loop() is asyncio.new_event_loop
