"""What clients in other languages ask for, read from their own sources; the words are ours.

Each kind has the file where its facts are from, in the repository that its name tells. A mark `t`
that depends on the time is one that does not change: all happens in one second or millisecond.
"""

import asyncio
import contextlib
import itertools
import json
from collections import namedtuple

from yarl import URL

from chatlab.messages import CHAT_MESSAGE

Kind = namedtuple("Kind", "name first then marks typed alone leaves", defaults=(True, True, "1"))
"""How a client polls: the query of its first request and of all others, and the marks `t` in them.

`typed`: its POST has a Content-Type. `alone`: one POST at a time. `leaves`: what it posts last.
"""
OFFICIAL = "EIO=4&transport=polling"
THEN = f"{OFFICIAL}&sid={{sid}}"


def yeast():
    """Return the mark of a moment, and then the same with a counter."""
    return itertools.chain(["Q3yWq80"], (f"Q3yWq80.{number}" for number in itertools.count()))


KINDS = [
    # doghappy/socket.io-client-csharp, v3.1.1: src/SocketIOClient/Transport/Http/
    # HttpPollingHandler.cs: whole seconds
    Kind("C# 3", OFFICIAL, f"{THEN}&t={{t}}", lambda: itertools.repeat("1764291600"), leaves=None),
    # the same, v4.0.2: src/SocketIOClient/Protocol/Http/HttpAdapter.cs: milliseconds; no lock
    Kind(
        "C# 4",
        OFFICIAL,
        f"{THEN}&t={{t}}",
        lambda: itertools.repeat("1764291600123"),
        alone=False,
        leaves="41",
    ),
    # socketio/engine.io-client-java: .../engineio/client/transports/Polling.java
    Kind("Java", OFFICIAL, THEN, lambda: itertools.repeat(None)),
    # the same with `timestampRequests`: .../yeast/Yeast.java
    Kind("Java, marked", f"{OFFICIAL}&t={{t}}", f"{THEN}&t={{t}}", yeast),
    # socketio/socket.io-client-swift: Source/SocketIO/Engine/SocketEngine.swift, createURLs
    Kind(
        "Swift",
        "transport=polling&b64=1&EIO=4",
        "transport=polling&b64=1&EIO=4&sid={sid}",
        lambda: itertools.repeat(None),
    ),
    # rikulo/socket.io-client-dart: lib/src/engine/transport/polling_transport.dart, with
    # `timestampRequests`: milliseconds without a counter. Two polls in one of them look like one
    # that is repeated: the connection ends, and the client comes back.
    Kind(
        "Dart",
        f"{OFFICIAL}&t={{t}}",
        f"{THEN}&t={{t}}",
        lambda: map("mihc{}".format, itertools.count()),
    ),
    # 1c3t3a/rust-socketio: engineio/src/transport.rs: ADLER-32 of the time, often the same
    Kind(
        "Rust",
        "EIO=4&transport=polling&t={t}",
        "EIO=4&sid={sid}&transport=polling&t={t}",
        lambda: itertools.repeat("2163150423"),
        typed=False,
        alone=False,
    ),
    # maldikhan/go.socket.io: engine.io/v4/client/transport/polling/transport.go: an empty sid
    Kind(
        "Go",
        "EIO=4&sid=&transport=polling",
        "EIO=4&sid={sid}&transport=polling",
        lambda: itertools.repeat(None),
        typed=False,
        alone=False,
        leaves=None,
    ),
    # ElephantIO/elephant.io: src/Engine/SocketIO/Version1X.php, buildQueryParameters; src/Yeast.php
    Kind("PHP", f"{OFFICIAL}&t={{t}}", f"{OFFICIAL}&t={{t}}&sid={{sid}}", yeast, leaves="41"),
]
BY_NAME = {kind.name: kind for kind in KINDS}


@contextlib.asynccontextmanager
async def beside(work):
    """Do something for ever beside the block; its error ends the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()


class Imitation:
    """One connection of a client, with what it was sent: `shown` and `answers`."""

    def __init__(self, kind, session, url):
        self.kind, self.session = kind, session
        self.url = URL(f"{url}/socket.io/")
        self.marks = kind.marks()
        self.sid, self.shown, self.answers = None, [], {}
        self.accepted = asyncio.Event()
        self.changed = asyncio.Condition()

    def address(self, query=None):
        query = query or (self.kind.then if self.sid else self.kind.first)
        return URL(f"{self.url}?{query.format(sid=self.sid, t=next(self.marks))}", encoded=True)

    async def handshake(self):
        async with self.session.get(self.address()) as answer:
            assert answer.status == 200
            self.sid = json.loads((await answer.text())[1:])["sid"]

    async def poll(self):
        """Poll once."""
        async with self.session.get(self.address()) as answer:
            assert answer.status == 200, f"a poll of {self.kind.name} was refused"
            body = await answer.text()
        for packet in body.split("\x1e"):
            await self.receive(packet)

    @contextlib.asynccontextmanager
    async def polling(self):
        """Poll all the time, until the block ends; a poll that is refused ends it."""

        async def polls():
            while True:
                await self.poll()

        async with beside(polls()):
            yield

    async def post(self, *packets):
        """Post packets in one request."""
        options = {} if self.kind.typed else {"skip_auto_headers": ["Content-Type"]}
        body = "\x1e".join(packets).encode()
        if self.kind.typed:
            options["headers"] = {"Content-Type": "text/plain;charset=UTF-8"}
        async with self.session.post(self.address(), data=body, **options) as answer:
            assert answer.status == 200, f"a POST of {self.kind.name} was refused"

    async def receive(self, packet):
        if packet.startswith("40"):
            self.accepted.set()
        elif packet.startswith(f'42["{CHAT_MESSAGE}"'):
            self.shown.append(json.loads(packet[2:])[1])
        elif packet.startswith("43"):
            number, _, values = packet[2:].partition("[")
            self.answers[int(number)] = json.loads(f"[{values}")
        async with self.changed:
            self.changed.notify_all()

    async def send(self, *texts, post=None):
        """Send messages that want an acknowledgement: one after another, or all at once."""
        post = post or self.post
        packets = [self.message(number, text) for number, text in enumerate(texts)]
        if self.kind.alone:
            for packet in packets:
                await post(packet)
        else:
            await asyncio.gather(*map(post, packets))

    def message(self, number, text):
        return f"42{number}{json.dumps([CHAT_MESSAGE, text])}"

    async def until(self, condition):
        async with self.changed:
            await self.changed.wait_for(condition)

    def websocket(self, query):
        """Open a WebSocket for the connection."""
        return self.session.ws_connect(self.address(query))

    @contextlib.asynccontextmanager
    async def reading(self, ws):
        """Receive all that comes on a WebSocket, until the block ends; if it closes, this ends."""

        async def reads():
            while True:
                await self.receive(await ws.receive_str())

        async with beside(reads()):
            yield
