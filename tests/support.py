"""What the tests share: a server on the test's own loop, and clients that a test can steer."""

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from functools import partial

import aiohttp
import cloudpickle
import pytest
import socketio
from aiohttp import web
from jupyter_client import KernelManager
from kernels import kernel_transport
from socketio.exceptions import ConnectionRefusedError as Refusal

from chatlab.client.outbox import Outbox
from chatlab.harness.serving import DRAIN, listening
from chatlab.messages import CATCHING_UP, CAUGHT_UP, CHAT_MESSAGE, NOT_AVAILABLE
from chatlab.page import PAGE
from chatlab.server import chat, create_app

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import this
PATIENCE = 20
"""Seconds to wait for a kernel."""
Served = namedtuple("Served", "url sio log runner")
AT_ONCE, TEXT = 500, "x" * 500
"""How often a handler is called at once in a busy server, and with which text."""

ELSE = "elsewhere.example"
"""A second name of this machine, in Chromium alone: as if the browser were on another machine."""
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # this machine, and no other
    f"--host-resolver-rules=MAP {ELSE} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost",
]
WITHOUT_KEY = ("page.js", 'emit("chat message", content, key,', 'emit("chat message", content,')
"""What takes the key out of the page's script, for `rewritten`."""


@contextlib.asynccontextmanager
async def serving(
    db, handlers=chat, port=0, server=socketio.AsyncServer, recovery=None, keep=None, **options
):
    """Serve the chat until the block ends; `options` are python-socketio's."""
    inside = []

    def register(sio, log):
        inside.extend([sio, log])
        handlers(sio, log)

    made = {"server": partial(server, **options), "recovery": recovery, "keep": keep}
    app = create_app(register, db=db, **made)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN)
    try:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield Served(f"http://127.0.0.1:{site.port}", *inside, runner)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def asking(app):
    """Serve an application; yield a function that asks it for something and returns the answer.

    The function has the address of the server, and the session of its client.
    """
    async with aiohttp.ClientSession() as session, listening(app, "127.0.0.1", 0) as port:

        async def ask(path, method="GET", **headers):
            options = {"headers": headers, "allow_redirects": False}
            async with session.request(method, ask.url + path, **options) as answer:
                await answer.read()
                return answer

        ask.url, ask.session = f"http://127.0.0.1:{port}", session
        yield ask


def tutorial(sio, log):
    """The tutorial's server as it is: the control that must fail where the finished one holds."""

    @sio.event
    async def connect(sid, environ, auth):
        for message in await log.after(auth["serverOffset"]):
            await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        offset = await log.append(text)
        await sio.emit(CHAT_MESSAGE, (text, offset))
        return offset


def ordered(sio, log, *, rows=None, send=None, move=lambda cursor: cursor):
    """One ordered stream for each connection, as chapter 04 builds it.

    A variant reads rows, sends a message, or moves the cursor after a page in its own way.
    """
    here = set()
    rows = rows or log.after

    async def emit(sid, message):
        await sio.emit(CHAT_MESSAGE, (message.text, message.offset), to=sid)

    @sio.event
    async def connect(sid, environ, auth):
        here.add(sid)
        sio.start_background_task(deliver, sid, auth["serverOffset"])

    @sio.event
    async def disconnect(sid, reason):
        here.discard(sid)

    async def deliver(sid, cursor):
        while sid in here:
            for message in await rows(cursor):
                await (send or emit)(sid, message)
                cursor = message.offset
            cursor = move(cursor)
            await log.newer(cursor)

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        return await log.append(text)


class Forgetful(Outbox):
    """At most once: a message is forgotten when it is sent. A control that must lose messages."""

    def sent(self, message):
        self.pending.remove(message)

    def answered(self, message):
        """There is nothing left to forget."""


class Keyless(Outbox):
    """At least once: the server cannot recognize a retry. A control that must duplicate."""

    def new_key(self):
        return None


def busy(handlers, sio, log):
    """A server whose handler for a message is called many times at once, to spare the wire."""
    handlers(sio, log)
    send = sio.handlers["/"][CHAT_MESSAGE]

    @sio.event
    async def many(sid):
        await asyncio.gather(*(send(sid, TEXT) for _ in range(AT_ONCE)))


class Clock:
    """A clock that a test sets by hand: seconds, in `now`."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


class Hold:
    """A place in the server where a test holds the first task that comes by."""

    def __init__(self):
        self.reached, self.released = asyncio.Event(), asyncio.Event()

    async def here(self):
        if not self.reached.is_set():
            self.reached.set()
            await self.released.wait()


def missing(what):
    """Skip the test, or fail it where nothing may be skipped."""
    (pytest.fail if os.environ.get("CHATLAB_REQUIRE_BROWSER") == "1" else pytest.skip)(what)


def chromium():
    """Return the path of the browser, or skip the test."""
    return shutil.which("chromium") or missing("Chromium is not installed: none on the PATH")


def rewritten(script, old, new):
    """Return a script of the page with one piece of it replaced."""
    written = (PAGE / script).read_text()
    assert written.count(old) == 1
    return written.replace(old, new)


def stored(db):
    """Return the texts in the table of a server's database, in order."""
    with contextlib.closing(sqlite3.connect(db)) as connection:
        return [text for (text,) in connection.execute("SELECT content FROM messages ORDER BY id")]


async def asked(log, sql):
    """Run a statement on the connection that a log or a store writes with."""
    return await log._writer.run(lambda db: db.execute(sql).fetchall())


async def turns(count=50):
    """Let the loop go round: time for everything that needs no network."""
    for _ in range(count):
        await asyncio.sleep(0)


TOLD = tuple(f'42["{event}"' for event in (CATCHING_UP, CAUGHT_UP))


async def untold(ws):
    """Return the next message on a WebSocket that tells nothing of the log."""
    message = await ws.receive()
    while message.type is aiohttp.WSMsgType.TEXT and message.data.startswith(TOLD):
        message = await ws.receive()
    return message


class Wire:
    """A Socket.IO connection of which every packet is in the hands of the test."""

    def __init__(self, ws):
        self.ws = ws
        self.told = []
        """What the server has told about the log: outcomes of this connection."""

    async def connect(self, auth=None):
        """Send CONNECT; return what it is answered with."""
        await self.ws.send_str("40" + ("" if auth is None else json.dumps(auth)))
        return await self.packet()

    async def emit(self, number, *arguments):
        """Send an event that wants an acknowledgement; return the acknowledgement."""
        await self.ws.send_str(f"42{number}{json.dumps([CHAT_MESSAGE, *arguments])}")
        prefix = f"43{number}"
        while not (packet := await self.packet()).startswith(prefix):
            pass
        return json.loads(packet.removeprefix(prefix))

    async def packet(self):
        """Return the next packet; answer the PINGs before it, and keep what is told of the log."""
        while (packet := await self.ws.receive_str()) == "2" or packet.startswith(TOLD):
            if packet == "2":
                await self.ws.send_str("3")
            else:
                self.told.append(json.loads(packet.removeprefix("42")))
        return packet

    async def messages(self, count):
        """Return the next messages as offsets and texts."""
        events = [json.loads((await self.packet()).removeprefix("42")) for _ in range(count)]
        return [(offset, text) for _, text, offset in events]


def refusing_for_now(times):
    """Return handlers that refuse connections, as a server whose log cannot be read, and a list.

    The list has the refusals that are still to come.
    """
    refusals = [Refusal("no log", {"error": NOT_AVAILABLE, "message": "no log"})] * times

    def hesitant(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            if refusals:
                raise refusals.pop()

    return hesitant, refusals


@contextlib.asynccontextmanager
async def wired(url):
    """Open a WebSocket to a server, past Engine.IO's greeting."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket") as ws,
    ):
        await ws.receive_str()
        yield Wire(ws)


@contextlib.asynccontextmanager
async def here(server, auth=None):
    """A client that knows recovery, in the test's hands: its wire, and the answer to CONNECT."""
    async with wired(server.url) as wire:
        answer = await wire.connect({"pid": ""} | (auth or {}))
        yield wire, json.loads(answer.removeprefix("40"))


class Kernel:
    """A kernel of Jupyter, as a notebook has one. It listens on files: a port may be taken.

    Its temporary files are in the folder: a kernel that is killed does not remove them.
    """

    def __init__(self, folder, cwd=None):
        self.manager = KernelManager(
            transport=kernel_transport(), connection_file=f"{folder}/kernel.json"
        )
        self.manager.start_kernel(cwd=str(cwd or folder), stderr=subprocess.DEVNULL)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def run(self, code):
        """Run a cell and return what it printed, or the name of the error that it raised."""
        self.client.execute(code)
        return self.rest_of_the_cell()

    def rest_of_the_cell(self):
        said = ""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            content = message["content"]
            if message["msg_type"] == "stream":
                said += content["text"]
            elif message["msg_type"] == "error":
                said += content["ename"]
            elif content.get("execution_state") == "idle":
                return said.strip()

    def begin(self, code):
        """Run a cell that never ends; return when it says that it waits."""
        self.client.execute(code)
        while self.client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
            pass

    def close(self):
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.manager.context.destroy()
