"""The complete files in the README, run as they stand there, with a real client for each."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys

import aiohttp
import pytest
import socketio
from documents import ROOT, programs
from socketio.exceptions import ConnectionError as NoConnection
from support import wired

README = ROOT / "README.md"
PROGRAMS = programs(README)
PATIENCE = 20


class Program:
    """A file of the README as a process, on a free port instead of 3000."""

    def __init__(self, name, folder):
        self.path, self.port, self.process = folder / name, 0, None

    async def start(self):
        """Run it, and return when it has said where it serves."""
        source = PROGRAMS[self.path.name]
        assert source.count("port=3000") == 1
        self.path.write_text(source.replace("port=3000", f"port={self.port}"))
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", self.path.name),
            cwd=self.path.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        async with asyncio.timeout(PATIENCE):
            said = await self.process.stdout.readuntil(b"(Ctrl-C stops it)")
        self.port = re.search(rb"http://localhost:(\d+)", said)[1].decode()

    async def kill(self):
        self.process.kill()
        await self.process.communicate()

    async def stop(self):
        """End it as Ctrl-C does; return what it has said since it was started."""
        self.process.terminate()
        said, _ = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return said.decode()


class Client:
    """A client as somebody writes it who has only python-socketio."""

    def __init__(self, program, path="/socket.io"):
        self.program, self.path = program, path
        self.heard, self.changed = [], asyncio.Event()
        self.sio = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self.refusal = None
        for event in ("chat message", "said"):
            self.sio.on(event, self._hear)
        self.sio.on("connect_error", self._refused)

    def _hear(self, *message):
        self.heard.append(list(message))
        self.changed.set()

    def _refused(self, reason):
        self.refusal = reason

    async def connect(self, **auth):
        await self.sio.connect(
            f"http://localhost:{self.program.port}", auth=auth, socketio_path=self.path
        )

    async def hears(self, *messages):
        """Wait until it has heard so many messages, and check that it has heard these."""
        async with asyncio.timeout(PATIENCE):
            while len(self.heard) < len(messages):
                self.changed.clear()
                await self.changed.wait()
        assert self.heard == list(messages)


@pytest.fixture
async def run(tmp_path):
    """A function that runs a file of the README until the test ends; it may not complain."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(name):
            program = Program(name, tmp_path)
            await program.start()
            stack.push_async_callback(check_end, program)
            return program

        yield run


async def check_end(program):
    said = await program.stop()
    assert program.process.returncode == 0, said
    assert "Traceback" not in said, said


@pytest.fixture
async def client():
    """A function that makes a client of a program, which is disconnected at the end."""
    made = []

    def client(*arguments):
        made.append(Client(*arguments))
        return made[-1]

    yield client
    for one in made:
        await one.sio.disconnect()


def test_every_program_is_tried():
    """Each block of Python in the README is a complete file, and has a test below."""
    assert set(PROGRAMS) == {"mounted.py", "named.py", "recovery.py"}
    assert README.read_text().count("```python") == len(PROGRAMS)


def test_no_program_lets_aiohttp_unpack_what_a_stranger_sends():
    """`run` does not, and `tests/harness/test_program.py` says what it would cost."""
    for source in PROGRAMS.values():
        assert re.search(r"^run\(", source, re.MULTILINE)
        assert "run_app" not in source


async def test_finished_chat_works_inside_another_application(run, client):
    """The home page is the application's own; the chat below it catches up, with its own page."""
    program = await run("mounted.py")
    ann, bob = client(program, "/chat/socket.io"), client(program, "/chat/socket.io")
    url = f"http://localhost:{program.port}"
    async with aiohttp.request("GET", url) as home, aiohttp.request("GET", f"{url}/chat/") as page:
        assert 'href="/chat/"' in await home.text()
        assert "<title>chatlab</title>" in await page.text()
    await ann.connect()
    assert await ann.sio.call("chat message", "one") == 1
    await ann.sio.call("chat message", "two")
    await bob.connect(serverOffset=1)
    await bob.hears(["two", 2])


async def test_named_chat_keeps_its_promises(run, client):
    """The server's name is in front, a key counts once, nonsense is told, a drop is caught up."""
    program = await run("named.py")
    ann, bob = client(program), client(program)
    await ann.connect(name="ann")
    await bob.connect(name="bob")
    assert await ann.sio.call("chat message", ("hello", "key")) == 1
    assert await ann.sio.call("chat message", ("hello", "key")) == 1
    await bob.hears(["ann: hello", 1])
    refusal = await ann.sio.call("chat message", (42, "other key"))
    assert refusal["error"] == "bad text"
    await bob.sio.disconnect()
    await ann.sio.call("chat message", "are you there?")
    await bob.connect(serverOffset=1)
    await bob.sio.call("chat message", "now I am")
    await bob.hears(["ann: hello", 1], ["ann: are you there?", 2], ["somebody: now I am", 3])
    eve = client(program)
    with pytest.raises(NoConnection):
        await eve.connect(serverOffset="abc")
    assert "an offset is a whole number" in eve.refusal["message"]


async def test_recovered_client_gets_what_it_missed_even_after_a_kill(run, client):
    """It has its sid and its room again, and the event that was sent while it was away."""
    program = await run("recovery.py")
    ann = client(program)
    await ann.connect()
    async with wired(f"http://localhost:{program.port}") as bob:
        first = json.loads((await bob.connect({"pid": ""})).removeprefix("40"))
        await ann.sio.call("say", "hello")
        _, text, offset = json.loads((await bob.packet()).removeprefix("42"))
        assert text == "hello"
        bob.ws._response.connection.transport.abort()
    await ann.sio.call("say", "are you there?")
    await program.kill()
    await program.start()
    async with wired(f"http://localhost:{program.port}") as bob:
        second = await bob.connect({"pid": first["pid"], "offset": offset})
        assert json.loads(second.removeprefix("40")) == first
        assert json.loads((await bob.packet()).removeprefix("42"))[:2] == ["said", "are you there?"]
    await ann.hears(["hello"], ["are you there?"])
