"""Several servers, started and proxied with the lines that docs/CLUSTER.md has."""

import asyncio
import contextlib
import itertools
import re
import signal
import subprocess
import sys
from functools import partial

import aiohttp
import nginx
import pytest
from databases import url_of
from documents import ROOT

from chatlab.client import ChatClient
from chatlab.harness import BackgroundServer
from chatlab.history import History, check
from chatlab.server import chat, create_app

DOCUMENT = ROOT / "docs" / "CLUSTER.md"
[BLOCK] = nginx.blocks(DOCUMENT)
COMMAND = re.compile(r"^\.venv/bin/python (-m chatlab --port (\d+) .*)$", re.MULTILINE)
COMMANDS = {port: words.split() for words, port in COMMAND.findall(DOCUMENT.read_text())}
NOT_STICKY = BLOCK.replace("    hash $remote_addr consistent;\n", "")
TABS, MESSAGES = 12, 40
PATIENCE = 20
READY = "The chat is on "


@contextlib.contextmanager
def addresses_of_their_own(monkeypatch):
    """Let each connection of a ChatClient come from another address, as from another machine."""
    numbers, session = itertools.count(1), aiohttp.ClientSession

    def from_another(**options):
        connector = aiohttp.TCPConnector(local_addr=(f"127.0.1.{next(numbers)}", 0))
        return session(connector=connector, **options)

    with monkeypatch.context() as patch:
        patch.setattr(aiohttp, "ClientSession", from_another)
        yield


@pytest.fixture
def came():
    """For each of the clients, the number of the server that it came to."""
    return []


@pytest.fixture
def before_three(tmp_path, came):
    """A function that runs nginx with a block before three servers; it returns its address."""
    with contextlib.ExitStack() as stack:

        def counted(number, sio, log):
            chat(sio, log)
            connect = sio.handlers["/"]["connect"]

            async def counting(sid, environ, auth):
                came.append(number)
                await connect(sid, environ, auth)

            sio.on("connect", counting)

        def before_three(block):
            servers = [
                stack.enter_context(
                    BackgroundServer(
                        partial(create_app, partial(counted, number), db=url_of(tmp_path)),
                        name=f"server {number}",
                    )
                )
                for number in range(3)
            ]
            ports = {name: server.port for name, server in zip(COMMANDS, servers, strict=True)}
            stack.enter_context(
                nginx.proxied(tmp_path / "nginx", block, ports, at := nginx.free_port())
            )
            return f"http://127.0.0.1:{at}"

        yield before_three


async def chat_of_twelve(url, transports):
    """Let twelve tabs send one message each, and return the verdict when all of them see all."""
    history = History()
    async with contextlib.AsyncExitStack() as stack:
        tabs = []
        for number in range(TABS):
            made = partial(ChatClient, record=history.record, transports=transports)
            tabs.append(await made(url, f"tab{number}").open())
            stack.push_async_callback(tabs[-1].close)
        for tab in tabs:
            tab.post(f"of {tab.name}")
        for tab in tabs:
            await tab.sees(TABS)
        return check(history, promised=True)


async def test_websocket_alone_needs_no_stickiness(before_three, came):
    """nginx sends one connection after the other to the next server."""
    assert (await chat_of_twelve(before_three(NOT_STICKY), ("websocket",))).valid
    assert sorted(came) == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("transports", [("polling",), ("polling", "websocket")])
async def test_polling_works_with_the_line_that_makes_it_sticky(
    before_three, came, monkeypatch, transports
):
    """Each address has its server, and not all have the same."""
    with addresses_of_their_own(monkeypatch):
        assert (await chat_of_twelve(before_three(BLOCK), transports)).valid
    assert len(came) == TABS and len(set(came)) > 1


async def test_polling_does_not_work_without_that_line(before_three):
    """The control: another server answers that it does not know the connection."""
    url = before_three(NOT_STICKY)
    with pytest.raises(ConnectionError):
        await ChatClient(url, "ann", transports=("polling",)).open()


class Program:
    """A server that a command of the document starts, on a free port. It keeps its port."""

    def __init__(self, words, url):
        self.words = [url if word == "$LOG" else word for word in words]
        self.port = 0

    async def start(self):
        """Start it, and return when it serves."""
        self.words[self.words.index("--port") + 1] = str(self.port)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *self.words, stdout=subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE):
            said = (await self.process.stdout.readline()).decode()
        assert said.startswith(READY), said
        self.port = int(re.search(r":(\d+)", said)[1])

    async def end(self, how=signal.SIGTERM):
        """End it; return what it exits with."""
        self.process.send_signal(how)
        async with asyncio.timeout(PATIENCE):
            await self.process.communicate()
        return self.process.returncode


@contextlib.asynccontextmanager
async def started(folder, block):
    """The programs that the document starts, and nginx before them, at an address."""
    programs = {name: Program(words, url_of(folder)) for name, words in COMMANDS.items()}
    assert len(programs) == 3
    async with contextlib.AsyncExitStack() as stack:
        for program in programs.values():
            await program.start()
            stack.push_async_callback(program.end, signal.SIGKILL)
        ports = {name: program.port for name, program in programs.items()}
        stack.enter_context(nginx.proxied(folder / "nginx", block, ports, at := nginx.free_port()))
        yield list(programs.values()), f"http://127.0.0.1:{at}"


async def write(tab, until):
    """Write one message after the other, until an event."""
    for number in itertools.count():
        tab.post(f"{tab.name}: {number}")
        await tab.until(lambda: not tab.pending)
        if until.is_set():
            return


@pytest.mark.parametrize("block", [BLOCK, NOT_STICKY], ids=["sticky", "not sticky"])
async def test_rolling_restart_loses_no_message(tmp_path, monkeypatch, block):
    """The servers end one after the other while everybody writes, and none of them complains."""
    history, stop = History(), asyncio.Event()
    async with started(tmp_path, block) as (programs, url), asyncio.TaskGroup() as group:
        assert await asked(url, "chat.example") == 200
        with addresses_of_their_own(monkeypatch):
            tabs = [ChatClient(url, f"tab{n}", record=history.record) for n in range(4)]
            for tab in tabs:
                await tab.open()
                group.create_task(write(tab, stop))
            for program in programs:
                await tabs[0].sees(len(tabs[0].shown) + MESSAGES)
                assert await program.end() == 0
                await tabs[0].sees(len(tabs[0].shown) + MESSAGES)
                await program.start()
                assert await asked(f"http://127.0.0.1:{program.port}/health") == 200
            stop.set()
            for tab in tabs:
                await tab.until(lambda tab=tab: not tab.posting and tab.connected)
            count = len({event.text for event in history if event.kind == "acknowledge"})
            for tab in tabs:
                await tab.sees(count)
                assert [message.offset for message in tab.shown] == list(range(1, count + 1))
            verdict = check(history, promised=True)
            assert verdict.valid and verdict.unacknowledged == ()
            assert {event.kind for event in history} >= {"drop", "reconnect"}
            for tab in tabs:
                await tab.close()


async def asked(url, name="127.0.0.1"):
    """Ask for a page by the name of a server; return the status of the answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Host": name}) as answer,
    ):
        return answer.status
