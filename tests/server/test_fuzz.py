"""Ten thousand payloads, generated from a seed: the table is what the model says, nothing raises.

One client at a time sends them, so that the model knows the offset of every message beforehand.
After each payload comes a probe, a CONNECT to a namespace that does not exist: Socket.IO answers it
in any state of the connection. No answer means that the payload has ended the connection.
"""

import asyncio
import base64
import contextlib
import gc
import itertools
import json
import random
import re
import sqlite3
from collections import deque
from dataclasses import dataclass

import aiohttp
import pytest
from support import serving, tutorial, wired

from chatlab.client.tab import ChatClient
from chatlab.messages import (
    CATCHING_UP,
    CAUGHT_UP,
    CHAT_MESSAGE,
    MAX_CLIENT_OFFSET,
    MAX_OFFSET,
    MAX_TEXT,
)
from chatlab.server.packets import MAX_CONNECT

SEED = 20_240_229
PATIENCE = 10
"""Seconds after which a server that says nothing is taken to hang."""
ROUNDS = 10
BATCH = 40
"""Payloads that are sent before the first answer is read."""
LITERALS = (
    "null true false 0 -0 -0.0 7 -7 1.5 1e3 1e999 -1e999 1e-999 NaN Infinity -Infinity [] {} [[]] "
    '"" "\\u0000" "\\u001e" "\\ud800" "\\udc00\\ud800" "a\\udfffb" "\\ud83d\\ude00" "\\u2028" '
    '{"_placeholder":true,"num":0} {"toString":1} {"__proto__":{}} ["chat"] '
    "9223372036854775807 9223372036854775808 -9223372036854775809 " + "9" * 100
).split(" ")
ALPHABET = (
    "abc XYZ 019 .,:;'\"\\/{}[]<>&%\t\n\r\0\x01\x1b\x1e\x7f\x85\xa0éßİ"
    "שלום مرحبا नमस्ते 你好 👋🏽 👨\u200d👩\u200d👧 🇨🇭 e\u0301 \u202e \u2028 \ufeff \uffff \U0010ffff"
)
DEEPER = '{"0":'
OTHER_DIGITS = ["\u0662", "\u0660", "\u00b2", "2\u00b2"]
SURROGATE = re.compile("[\ud800-\udfff]")


class Raw(bytes):
    """Bytes in a frame that says that it is a text."""


@dataclass
class Payload:
    """What a client sends, and what has to come of it."""

    frames: list[str | bytes]
    arguments: list | None = None
    """Those of a `chat message` that reaches its handler."""
    number: int | None = None
    """The id under which an answer is wanted."""
    ends: bool | None = False
    """Whether it ends the connection; None for a payload that may do so or not."""
    leaves: bool = False
    """Whether it takes leave, so that there is nobody to answer."""

    @property
    def breaks(self):
        """Whether it breaks the WebSocket itself, and all that is in flight on it."""
        with contextlib.suppress(UnicodeDecodeError):
            for frame in self.frames:
                if isinstance(frame, Raw):
                    frame.decode()
            return len(self.frames[0]) > 1_000_000
        return True


class Generator:
    """Payloads of every kind, the same ones for the same seed."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.numbers = itertools.count(1)
        self.keyed = []
        """Pairs of a text and a key that were used before."""

    # Pieces, as JSON.

    def text(self):
        """A text: mostly good, of any script, now and then of a length around the limit."""
        size = self.chance.choice([1, 2, 5, 20, 80])
        if self.chance.random() < 0.02:
            size = MAX_TEXT + self.chance.choice([-1, 0, 1, 2, MAX_TEXT])
            return self.chance.choice("xא👋\0") * size
        return "".join(self.chance.choices(ALPHABET, k=size))

    def escaped(self, value):
        return json.dumps(value, ensure_ascii=self.chance.random() < 0.5)

    def value(self, depth=0):
        """Any JSON value."""
        kind = self.chance.randrange(10 if depth < 4 else 8)
        if kind < 5:
            return self.chance.choice(LITERALS)
        if kind == 5:
            return str(self.chance.randint(-(10**20), 10**20))
        if kind == 6:
            return repr(self.chance.uniform(-1e300, 1e300))
        if kind == 7:
            return self.escaped(self.text())
        inner = [self.value(depth + 1) for _ in range(self.chance.randrange(4))]
        if kind == 8:
            return f"[{','.join(inner)}]"
        return "{" + ",".join(f"{self.escaped(self.text()[:9])}:{value}" for value in inner) + "}"

    def arguments(self):
        """What follows the name of the event: mostly a text, with or without a key."""
        shape = self.chance.random()
        if shape < 0.35:
            return [self.escaped(self.text())]
        if shape < 0.55:
            return [self.escaped(self.text()), self.escaped(f"key {next(self.numbers)}")]
        if shape < 0.65 and self.keyed:
            text, key = self.chance.choice(self.keyed)
            return [self.chance.choice([text, text, self.escaped(self.text())]), key]
        if shape < 0.7:
            length = MAX_CLIENT_OFFSET + self.chance.choice([-1, 0, 1, 50])
            return [self.escaped(self.text()), self.escaped("🔑" * length)]
        if shape < 0.8:
            return [self.value()]
        if shape < 0.9:
            return [self.escaped(self.text()), self.value()]
        return [self.value() for _ in range(self.chance.randrange(6))]

    def number(self):
        """An id for the answer, as digits that no other payload has; or none."""
        if self.chance.random() < 0.25:
            return ""
        number = next(self.numbers)
        return self.chance.choice([str(number), f"{number:07}", f"{10**60 + number}"])

    # Payloads.

    def message(self):
        """A `chat message` as some client may send it: it is stored or refused, and answered."""
        arguments, number = self.arguments(), self.number()
        if len(arguments) == 2:
            self.keyed.append(arguments)
        name = self.chance.choice([f'"{CHAT_MESSAGE}"'] * 5 + ['"chat\\u0020message"'])
        comma, space = self.chance.choice([",", ",", " , "]), self.chance.choice(["", "", "/,"])
        packet = f"42{space}{number}[{comma.join([name, *arguments])}]"
        parsed = [json.loads(argument) for argument in arguments]
        return Payload([packet], parsed, int(number) if number else None)

    def binary(self):
        """A `chat message` with attachments, which are somewhere in it, or nowhere."""
        count, number = self.chance.randint(1, 3), self.number()
        blobs = [self.chance.randbytes(self.chance.choice([0, 1, 9])) for _ in range(count)]
        parsed, raw = [], []
        for argument in self.arguments():
            if self.chance.random() < 0.5:
                index = self.chance.randrange(count)
                raw.append(f'{{"_placeholder":true,"num":{index}}}')
                parsed.append(blobs[index])
            elif "_placeholder" not in argument:
                raw.append(argument)
                parsed.append(json.loads(argument))
        packet = f"45{count}-{number}[{','.join([json.dumps(CHAT_MESSAGE), *raw])}]"
        return Payload([packet, *blobs], parsed, int(number) if number else None)

    def idle(self):
        """What is passed over: another event, another namespace, an answer to nothing."""
        event = self.chance.choice(["", "chat", "chat message ", "Chat Message", "*", "message"])
        others = [
            f"42{self.number()}[{self.escaped(event)},{self.value()}]",
            f'42/elsewhere,{self.number()}["{CHAT_MESSAGE}",{self.escaped(self.text())}]',
            f'42/elsewhere?a=b,["connect-",{self.value()}]',
            f"41/elsewhere,[{self.value()}]",
            f"40/elsewhere,[{self.value()}]",
            f"43{self.number()}[{self.value()}]",
        ]
        return Payload([self.chance.choice(others)])

    def below(self):
        """A packet of Engine.IO's own: passed over, or the end over polling."""
        packets = ["0", "0{}", "3", "3probe", "2probe", "5", "6", "7", "8[]", "9x"]
        return Payload([self.chance.choice(packets)], ends=None)

    def leave(self):
        """DISCONNECT, or the end of the connection below it, now and then with something odd."""
        return Payload(
            [self.chance.choice(["1", "41", f"41{self.value()}"])], ends=None, leaves=True
        )

    def fatal(self):
        """What no client sends: it ends its connection, and nothing else."""
        pick, chat = self.chance.choice, json.dumps(CHAT_MESSAGE)
        event = json.dumps(pick(["connect", "disconnect", "disconnecting", "connect_error"]))
        placeholder = '{"_placeholder":true,"num":%s}'
        index = placeholder % pick(["1", "99", "-1", '"0"', "null", "0.5", "[]", "true", "1e999"])
        first = placeholder % 0
        frames = pick(
            [
                [f"42{self.number()}[{','.join([event, *self.arguments()])}]"],
                [f"451-[{event},{first}]", b"x"],
                [f"451-{self.number()}[{chat},{index}]", b"x"],
                [f"451-{self.number()}[{chat},{first}]", '42["instead"]'],
                [f"451-[{chat},{first}]", "41"],
                [f"45{pick(['', '0-', '-', '1', 'x-', '-1-', '9' * 11 + '-'])}[{chat},7]"],
                [f'421-[{chat},"an event with attachments"]'],
                [f'42{pick(["-5", "1.5", "²", "9" * 101])}[{chat},"x"]'],
                [f"42[{chat},{'9' * pick([101, 5000])}]"],
                [f"42[{chat},{'[' * pick([2_000, 100_000])}"],
                [f"4{pick(['[', DEEPER]) * pick([2_000, 100_000])}"],
                [f'4{pick(OTHER_DIGITS)}[{chat},"x"]'],
                [f"42{pick(['', '[]', '{}', '7', 'null', '[null]', '[7]', '[[]]', '[{}]'])}"],
                [f"4{pick(['4', '47', '49', 'x', ' ', '', '-2', '/', '/,'])}"],
                [f"4{pick(['true', 'null', ' 7', '[2]', '{}', ' 1', 'NaN', DEEPER + '1}'])}"],
                [pick(["", "x", "/", " ", "🦆", "b", "b4", "b!", Raw(b"\xff"), Raw(b"42\xc3")])],
                [self.chance.randbytes(self.chance.randrange(9))],
                [f"40{self.value()}"],
                ["x" * 1_000_001],
                [pick(["40{", "40[", "40/,x", '40"']), "40"],
            ]
        )
        return Payload(frames, ends=True)

    def deep(self):
        """Lists in lists, as deep as Python may be able to read; no text, in any case."""
        depth = self.chance.choice([50, 300, 450, 900, 980, 1_200])
        nested = "[" * depth + '{"_placeholder":true,"num":0}' + "]" * depth
        event = f"[{json.dumps(CHAT_MESSAGE)},{nested}]"
        frames = self.chance.choice([[f"42{event}"], [f"451-{event}", b"x"]])
        return Payload(frames, ends=None)

    def mutant(self):
        """A good packet in which some bytes were changed, doubled, moved or lost."""
        packet = bytearray(self.message().frames[0][:200].encode())
        for _ in range(self.chance.randint(1, 3)):
            place = self.chance.randrange(len(packet) + 1)
            if self.chance.random() < 0.3:
                place = min(place, 4)
            match self.chance.randrange(5):
                case 0:
                    packet[place : place + 1] = self.chance.randbytes(1)
                case 1:
                    packet[place:place] = self.chance.choice(b'0123456[]{}",:-/\\').to_bytes()
                case 2:
                    del packet[place : place + self.chance.randint(1, 3)]
                case 3:
                    packet[place:place] = packet[place : place + 4]
                case 4:
                    del packet[place:]
        return mutated(bytes(packet))

    def auth(self):
        """What comes with CONNECT, and whether the server accepts it."""
        offset = self.value()
        if self.chance.random() < 0.4:
            offset = str(self.chance.choice([0, 1, 2, 7, MAX_OFFSET - 1, MAX_OFFSET, -1, 2**63]))
        raw = self.chance.choice(
            [
                self.value(),
                f'{{"serverOffset":{offset}}}',
                f'{{"serverOffset":{offset},"token":{self.value()}}}',
                f'{{"serverOffset":"x","serverOffset":{offset}}}',
                f'{{"serveroffset":{offset}}}',
                "",
            ]
        )
        if raw[:1].isdigit():  # Socket.IO would take it for an id
            raw = f"[{raw}]"
        auth = json.loads(raw) if raw else None
        if not auth:  # Socket.IO takes any empty value for none
            return raw, True
        if not isinstance(auth, dict):
            return raw, False
        offset = auth.get("serverOffset", 0)
        return raw, type(offset) is int and 0 <= offset <= MAX_OFFSET


def mutated(packet):
    """Say what comes of bytes that may be no packet at all."""
    with contextlib.suppress(ValueError):
        text = packet.decode()
        event = re.fullmatch(r"42(?:/(?:\?[^,]*)?,)?([0-9]{0,100})(\[.*)", text, re.DOTALL)
        if event:
            name, *arguments = json.loads(event[2])
            if name == CHAT_MESSAGE:
                number = int(event[1]) if event[1] else None
                return Payload([Raw(packet)], arguments, number)
    return Payload([Raw(packet)], ends=None, leaves=packet.startswith((b"1", b"41")))


class Model:
    """What the server has to store and to answer, said once more in a few lines."""

    def __init__(self):
        self.rows = []
        self.keys = {}

    def take(self, arguments):
        """Take a message; return its offset, or the name of the error."""
        if not 1 <= len(arguments) <= 2:
            return "bad arguments"
        text, key = (*arguments, None)[:2]
        if not isinstance(text, str):
            return "bad text"
        if len(text) > MAX_TEXT:
            return "text too long"
        if not text or SURROGATE.search(text):
            return "bad text"
        if key is not None and (
            not isinstance(key, str)
            or not 1 <= len(key) <= MAX_CLIENT_OFFSET
            or SURROGATE.search(key)
        ):
            return "bad client_offset"
        if key in self.keys:
            offset, first = self.keys[key]
            return offset if first == text else "client_offset used"
        offset = len(self.rows) + 1
        self.rows.append((offset, key, text))
        if key is not None:
            self.keys[key] = (offset, text)
        return offset


class Socket:
    """A connection over a WebSocket."""

    in_flight = True
    """Whether what the server has sent before it ends the connection still arrives."""

    def __init__(self, session, url):
        self.session, self.address = session, f"{url}/socket.io/?EIO=4&transport=websocket"

    async def open(self):
        self.ws = await self.session.ws_connect(self.address)
        await self.ws.receive_str()

    async def send(self, frames):
        for frame in frames:
            if isinstance(frame, Raw):
                await self.ws.send_frame(frame, aiohttp.WSMsgType.TEXT)
            elif isinstance(frame, bytes):
                await self.ws.send_bytes(frame)
            else:
                await self.ws.send_str(frame)

    async def receive(self):
        """Return the next packet, or None at the end of the connection."""
        message = await self.ws.receive()
        if message.type is not aiohttp.WSMsgType.TEXT or message.data == "1":
            return None
        return message.data

    async def close(self):
        await self.ws.close()


class Polling:
    """A connection over HTTP requests."""

    in_flight = False

    def __init__(self, session, url):
        self.session, self.address = session, f"{url}/socket.io/?EIO=4&transport=polling"
        self.packets = deque()

    async def open(self):
        async with self.session.get(self.address) as answer:
            self.address += f"&sid={json.loads((await answer.text())[1:])['sid']}"

    async def send(self, frames):
        """Send all of them in one request, after which the connection may be gone."""
        body = b"\x1e".join(map(self.encoded, frames))
        async with self.session.post(self.address, data=body) as answer:
            assert answer.status in (200, 400)

    def encoded(self, frame):
        if isinstance(frame, bytes) and not isinstance(frame, Raw):
            return b"b" + base64.b64encode(frame)
        return frame.encode() if isinstance(frame, str) else frame

    async def receive(self):
        if not self.packets:
            async with self.session.get(self.address) as answer:
                assert answer.status in (200, 400)
                packets = (await answer.text()).split("\x1e") if answer.status == 200 else ["1"]
            self.packets.extend(packets)
        packet = self.packets.popleft()
        return None if packet in ("", "1") else packet

    async def close(self):
        await self.send([Raw(b"1")])


class Fuzz:
    """A client that sends anything to a server, and writes down what should not have happened."""

    def __init__(self, server):
        self.server, self.model = server, Model()
        self.sent = 0
        self.faults = []

    def expect(self, holds, *fault):
        if not holds:
            self.faults.append(" ".join(str(part)[:300] for part in fault))

    @contextlib.asynccontextmanager
    async def line(self, kind):
        """Open a connection, past Engine.IO's greeting; say nothing at its end but close it."""
        async with aiohttp.ClientSession() as session:
            line = kind(session, self.server.url)
            await line.open()
            yield line
            await line.close()

    async def send(self, payloads, kind=Socket):
        """Send payloads, over as many connections as it takes."""
        self.sent += len(payloads)
        while payloads:
            async with self.line(kind) as line:
                seen = self.server.log.head
                await line.send([f'40{{"serverOffset":{seen}}}'])
                self.expect((await line.receive()).startswith("40"), "CONNECT is not accepted")
                heard, stays = [], True
                while payloads and stays:
                    done, stays = await self.batch(line, batch(payloads, line.in_flight), heard)
                    payloads = payloads[done:]
            events = [json.loads(packet[2:]) for packet in heard if packet.startswith("42")]
            delivered = [event for event in events if event[0] not in (CATCHING_UP, CAUGHT_UP)]
            due = [[CHAT_MESSAGE, text, offset] for offset, _, text in self.model.rows[seen:]]
            self.expect(delivered == due[: len(delivered)], "not as stored:", delivered, due)

    async def batch(self, line, payloads, heard):
        """Send payloads; return how many were taken, and whether the connection is still there.

        What arrives meanwhile is added to `heard`.
        """
        if payloads[0].leaves:
            await line.send(payloads[0].frames)
            return 1, False
        with contextlib.suppress(ConnectionResetError):
            for number, payload in enumerate(payloads):
                await line.send([*payload.frames, f"40/{number},"])
        packets, ended = await self.hear(line, f"44/{len(payloads) - 1},", payloads)
        taken = sum(bool(re.match("44/[0-9]", packet)) for packet in packets) + ended
        last = payloads[taken - 1]
        self.expect(last.ends in (ended, None), "the connection has ended:", ended, last)
        due = {}
        for payload in payloads[:taken]:
            if payload.arguments is not None:
                due[payload.number] = self.model.take(payload.arguments)
        if not ended:  # a message that is answered when all those before it are
            due[0] = self.model.take(["a good one"])
            await line.send([f'420["{CHAT_MESSAGE}","a good one"]'])
            more, cut = await self.hear(line, "430[", payloads)
            self.expect(not cut, "no answer to a good message after", payloads)
            packets += more
        self.check_answers(packets, due, complete=not ended)
        heard += packets
        return taken, not ended

    async def hear(self, line, last, asked):
        """Read until a packet begins with `last`; return the packets, and whether it ended.

        Raises AssertionError if there is neither, and says what was asked.
        """
        packets = []
        try:
            async with asyncio.timeout(PATIENCE):
                while (packet := await line.receive()) is not None:
                    packets.append(packet)
                    if packet.startswith(last):
                        return packets, False
        except TimeoutError:
            raise AssertionError(f"no {last} after {packets} to {asked}"[:5000]) from None
        return packets, True

    def check_answers(self, packets, due, complete):
        """Compare the answers with those that are due, which may be lost with a connection."""
        due.pop(None, None)
        for packet in packets:
            if answer := re.fullmatch(r"43([0-9]+)\[(.*)\]", packet, re.DOTALL):
                number, value = int(answer[1]), json.loads(answer[2])
                named = value["error"] if isinstance(value, dict) else value
                wanted = due.pop(number, "nothing")
                self.expect(named == wanted, "answered with", value, "and not with", wanted)
        self.expect(not (complete and due), "no answer to", due)

    async def connect(self, auths):
        """Connect with each of these, on one line: CONNECT, DISCONNECT, and again."""
        self.sent += len(auths)
        async with self.line(Socket) as line:
            for raw, _ in auths:
                await line.send([f"40{raw}", "41"])
            await line.send(["40/end,"])
            packets, ended = await self.hear(line, "44/end,", auths)
        self.expect(not ended, "one of these ends the connection:", auths)
        answers = [packet for packet in packets[:-1] if not packet.startswith("42")]
        self.expect(len(answers) == len(auths), "not every CONNECT is answered:", auths, answers)
        for (raw, accepted), answer in zip(auths, answers, strict=False):
            if accepted and len(raw) < MAX_CONNECT:
                self.expect(answer.startswith('40{"sid":'), raw, "is answered with", answer)
            else:
                named = answer.startswith("44") and json.loads(answer[2:])["data"]["error"]
                self.expect(named in ("bad auth", "bad offset"), raw, "is answered with", answer)

    async def check(self):
        """Compare the table with the model, and be a new client that sends and gets a message."""
        async with asyncio.timeout(PATIENCE), wired(self.server.url) as ann:
            await ann.connect({"serverOffset": len(self.model.rows)})
            offset = self.model.take(["still there?"])
            await ann.ws.send_str(f'42["{CHAT_MESSAGE}","still there?"]')
            self.expect(await ann.messages(1) == [(offset, "still there?")], "a good client fails")
        with contextlib.closing(sqlite3.connect(self.server.log.path)) as database:
            rows = database.execute("SELECT * FROM messages ORDER BY id").fetchall()
        self.expect(rows == self.model.rows, "the table is not as the model has it")
        gc.collect()  # errors of tasks that nobody waits for are told only then


def batch(payloads, in_flight):
    """The first payloads, up to one that may end the connection: with it, or on its own."""
    for number, payload in enumerate(payloads[:BATCH]):
        if payload.ends is not False:
            return payloads[
                : number + (number == 0 or (in_flight and not (payload.leaves or payload.breaks)))
            ]
    return payloads[:BATCH]


@pytest.fixture
async def errors():
    """What reaches the loop's exception handler, as in a server of the notebooks."""
    contexts = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: contexts.append(repr(context.get("exception", context)))
    )
    return contexts


@pytest.mark.parametrize("rounds", [1, pytest.param(ROUNDS, marks=pytest.mark.slow)])
async def test_ten_thousand_payloads_do_not_upset_the_server(served, errors, caplog, rounds):
    """Each is answered, passed over or ends its connection, and the table is the model's."""
    make, fuzz = Generator(SEED), Fuzz(served)
    for _ in range(rounds):
        good = [make.chance.choice([make.message] * 9 + [make.binary])() for _ in range(600)]
        await fuzz.send(good)
        kinds = [make.message] * 3 + [make.binary, make.idle, make.fatal, make.mutant, make.mutant]
        kinds += [make.deep, make.below, make.leave]
        for kind, count in ((Socket, 150), (Polling, 50)):
            await fuzz.send([make.chance.choice(kinds)() for _ in range(count)], kind)
        for _ in range(6):
            await fuzz.connect([make.auth() for _ in range(BATCH)])
        await fuzz.check()
        assert (fuzz.faults[:5], errors, caplog.records) == ([], [], [])
    assert fuzz.sent >= 1000 * rounds
    texts = [text for _, _, text in fuzz.model.rows]
    assert len(texts) > 300 * rounds
    bob = await ChatClient(served.url, "bob").open()
    assert await bob.sees(len(texts)) == texts
    await bob.close()


async def test_tutorial_server_is_upset(tmp_path, errors):
    """The control: the same check finds messages that raise and get no answer."""
    make = Generator(SEED)
    async with serving(tmp_path / "chat.db", tutorial) as server:
        fuzz = Fuzz(server)
        await fuzz.send([make.message() for _ in range(200)])
        await fuzz.check()
    assert any("no answer to" in fault for fault in fuzz.faults)
    assert "the table is not as the model has it" in fuzz.faults
    assert any("TypeError" in error for error in errors)
