"""The finished server: what it accepts, what it refuses and how, and that it goes on."""

import asyncio
import contextlib
import json
import sqlite3

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import asked, ordered, serving, untold, wired

from chatlab.client.tab import ChatClient
from chatlab.log.database import PRAGMAS
from chatlab.messages import CHAT_MESSAGE, MAX_TEXT


async def stored(server):
    return [message.text for message in await server.log.after(0)]


async def test_acknowledgement_is_the_offset(served):
    """The sender hears the number of its message."""
    async with wired(served.url) as ann:
        await ann.connect()
        assert await ann.emit(1, "one") == [1]
        assert await ann.emit(2, "two", "a key") == [2]
        assert await ann.emit(3, "two", "a key") == [2]
    assert await stored(served) == ["one", "two"]


async def test_message_without_acknowledgement_is_stored_too(served):
    """The tutorial's page does not ask for one."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str('42["chat message","one"]')
        assert await ann.messages(1) == [(1, "one")]


@pytest.mark.parametrize("transports", [("websocket",), ("polling",)])
async def test_messages_of_one_sender_keep_their_order(served, transports):
    """A thousand in flight at once are stored and shown in the order in which they were sent."""
    texts = [str(number) for number in range(1000)]
    ann = await ChatClient(served.url, "ann", transports=transports).open()
    offsets = await asyncio.gather(*(ann.send(text) for text in texts))
    assert offsets == list(range(1, 1001))
    assert await ann.sees(1000) == texts
    await ann.close()


BAD_OFFSETS = '"1" "abc" 1.5 -1 1e99 NaN 1e999 [] [1] {} true null 9223372036854775808 1' + "0" * 20
BAD_AUTHS = [(auth, "bad auth") for auth in ('"7"', "[7]", "true", '"\\ud800"')]
BAD_AUTHS += [(f'{{"serverOffset":{offset}}}', "bad offset") for offset in BAD_OFFSETS.split()]


@pytest.mark.parametrize(("auth", "error"), BAD_AUTHS)
async def test_bad_auth_is_refused_by_name(served, auth, error, caplog):
    """Also numbers that only Python's JSON reads: the client hears of it, and is not left alone."""
    async with wired(served.url) as bob:
        await bob.ws.send_str(f"40{auth}")
        answer = await bob.packet()
        assert answer.startswith("44")
        assert json.loads(answer[2:])["data"]["error"] == error
    assert await alive(served) == [1]
    assert caplog.records == []


@pytest.mark.parametrize("auth", ["", "{}", '{"token":"x"}', '{"serverOffset":0}'])
async def test_client_without_an_offset_gets_everything(served, auth):
    """It has seen nothing yet."""
    await served.log.append("one")
    async with wired(served.url) as bob:
        await bob.ws.send_str(f"40{auth}")
        assert (await bob.packet()).startswith("40")
        assert await bob.messages(1) == [(1, "one")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("42", "bad text"),
        ("true", "bad text"),
        ("null", "bad text"),
        ('["hi"]', "bad text"),
        ('{"text":"hi"}', "bad text"),
        ("NaN", "bad text"),
        ('""', "bad text"),
        ('"\\ud800"', "bad text"),
        (json.dumps("x" * (MAX_TEXT + 1)), "text too long"),
        ('"hi",7', "bad client_offset"),
        ('"hi",""', "bad client_offset"),
        ('"hi","\\ud800"', "bad client_offset"),
        ('"hi","key","more"', "bad arguments"),
    ],
)
async def test_bad_message_is_refused_by_name(served, arguments, error, caplog):
    """Nothing is stored, nothing is sent to anybody, and the server goes on."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str(f'421["chat message",{arguments}]')
        [refusal] = json.loads((await ann.packet()).removeprefix("431"))
        assert refusal["error"] == error
        assert await stored(served) == []
        assert await ann.emit(2, "good") == [1]
    assert caplog.records == []


async def test_message_without_a_text_is_refused_by_name(served):
    """An event with no argument at all."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str('421["chat message"]')
        assert json.loads((await ann.packet())[3:])[0]["error"] == "bad arguments"


async def test_key_with_another_text_is_refused_by_name(served):
    """A key belongs to one message for ever."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.emit(1, "one", "key")
        [refusal] = await ann.emit(2, "two", "key")
        assert refusal["error"] == "client_offset used"


async def test_longest_message_arrives_whole(served):
    """At the limit, in the characters that take the most room."""
    text = "\N{PILE OF POO}" * MAX_TEXT
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str(f"421{json.dumps(['chat message', text])}")
        assert (1, text) in [*await ann.messages(1)]


@pytest.mark.parametrize(
    "packet",
    [
        "4",
        "4x",
        "44",
        "47",
        "49",
        "42",
        "42[]",
        "42{}",
        "42[7]",
        "42[",
        "4299",
        "40{",
        "401.5",
        "45",
        '42"chat"',
        '4{"0":1}',
        "4true",
        "4null",
        "4 1",
        '450-["chat message","x"]',
        '45["chat message","x"]',
        '421-["chat message","x"]',
        '4\u0662["chat message","x"]',
        "4\u0660",
        '42["connect",{},null]',
        '42["disconnect","bye"]',
        "4" + "[" * 100_000,
        "",
        "x",
    ],
)
async def test_packet_that_makes_no_sense_ends_its_connection_only(served, packet, caplog):
    """Its sender is gone, the next client is served, and there is no traceback."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str(packet)
        assert await ended(ann.ws)
        assert await alive(served) == [1]
    assert caplog.records == []


@pytest.mark.parametrize(
    "packet", ["9", "x", "", "2", "0", "4[[]]", "3" + "[" * 100_000, "4 [[]]", "1[]", "5{}"]
)
async def test_packet_of_no_known_type_ends_its_connection_only(served, caplog, packet):
    """The official server closes it too: a client that sends this is no client of Engine.IO."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str(packet)
        assert await ended(ann.ws)
        assert await alive(served) == [1]
    assert caplog.records == []


@pytest.mark.parametrize(
    "body", ["4 42[] x 42[", "", "x", "\x1e", '42["chat message"\x1e', "9", "4" + "[" * 100_000]
)
async def test_request_that_makes_no_sense_ends_its_connection_only(served, body, caplog):
    """The same over polling."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{served.url}/socket.io/?EIO=4&transport=polling") as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        address = f"{served.url}/socket.io/?EIO=4&transport=polling&sid={sid}"
        async with session.post(address, data=body) as answer:
            assert answer.status in (200, 400)
    assert await alive(served) == [1]
    assert caplog.records == []


async def test_deep_payload_ends_its_connection_only(served, caplog):
    """A list in a list, a hundred thousand times over."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str('42["chat message",' + "[" * 100_000)
        assert await ended(ann.ws)
        assert await alive(served) == [1]
    assert caplog.records == []


async def test_binary_message_is_refused_by_name(served):
    """A text is not made of bytes."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str('451-1["chat message",{"_placeholder":true,"num":0}]')
        await ann.ws.send_bytes(b"hi")
        [refusal] = json.loads((await ann.packet()).removeprefix("431"))
        assert refusal["error"] == "bad text"


async def test_empty_attachment_is_an_attachment(served):
    """A text is not made of no bytes either."""
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str('451-1["chat message",{"_placeholder":true,"num":0}]')
        await ann.ws.send_bytes(b"")
        [refusal] = json.loads((await ann.packet()).removeprefix("431"))
        assert refusal["error"] == "bad text"


DEEP = "[" * 900 + '{"_placeholder":true,"num":9}' + "]" * 900


@pytest.mark.parametrize("place", ["1", "-1", '"0"', "[]", "1e999", "null", DEEP])
async def test_attachment_without_its_place_ends_its_connection_only(served, place, caplog):
    """There is no such attachment, or it is too deep to be put there."""
    argument = place if place == DEEP else f'{{"_placeholder":true,"num":{place}}}'
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str(f'451-1["chat message",{argument}]')
        await ann.ws.send_bytes(b"hi")
        assert await ended(ann.ws)
        assert await alive(served) == [1]
    assert caplog.records == []


@pytest.mark.parametrize(("count", "waits"), [(10, True), (11, False)])
async def test_attachments_that_are_too_many_end_their_connection_only(served, count, waits):
    """A packet waits in memory for the last of its attachments, so there are ten at most."""
    places = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(count))
    async with wired(served.url) as ann:
        await ann.connect()
        await ann.ws.send_str(f'45{count}-1["chat message",{places}]')
        if not waits:
            assert await ended(ann.ws)
            assert await alive(served) == [1]
            return
        for _ in range(count):
            await ann.ws.send_bytes(b"hi")
        [refusal] = json.loads((await ann.packet()).removeprefix("431"))
        assert refusal["error"] == "bad arguments"


async def test_attachments_before_connect_end_their_connection_only(served, caplog):
    """Who has not connected sends no events."""
    async with wired(served.url) as ann:
        await ann.ws.send_str('451-["chat message",{"_placeholder":true,"num":0}]')
        assert await ended(ann.ws)
        assert await alive(served) == [1]
    assert caplog.records == []


async def test_packets_after_the_end_are_passed_over(served, caplog):
    """They are on their way when the server ends the connection: the line is closed behind them."""
    async with wired(served.url) as ann:
        await ann.connect()
        for packet in ("42[7]", "40", '421["chat message","late"]', '42["disconnect"]', "49"):
            await ann.ws.send_str(packet)
        assert await ann.packet() == "1"
        assert (await ann.ws.receive()).type is aiohttp.WSMsgType.CLOSE
        assert await alive(served) == [1]
    assert caplog.records == []


async def ended(ws):
    """Wait until the server ends a connection: with Engine.IO's CLOSE, or by hanging up."""
    message = await untold(ws)
    return message.data == "1" or message.type is not aiohttp.WSMsgType.TEXT


async def alive(server):
    """Let another client send a message; return its acknowledgement."""
    async with wired(server.url) as other:
        await other.connect()
        return await other.emit(1, "still there?")


# Handlers of learners, who know nothing of keys.


def silent(sio, log):
    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await log.append(text)


def plain(sio, log):
    @sio.on(CHAT_MESSAGE)
    def chat_message(sid, text):
        return text.upper()


def curious(sio, log):
    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text, client_offset="none"):
        return f"{text} {client_offset}"


@pytest.mark.parametrize(
    ("handlers", "answer"),
    [(ordered, [1]), (silent, []), (plain, ["HI"]), (curious, ["hi key"])],
)
async def test_handler_gets_the_key_only_if_it_takes_one(tmp_path, handlers, answer):
    """`chat_message(sid, text)` is called without it, and acknowledges what it always did."""
    async with serving(tmp_path / "chat.db", handlers) as server, wired(server.url) as ann:
        await ann.connect({"serverOffset": 0})
        assert await ann.emit(1, "hi", "key") == answer


async def test_handler_without_a_key_still_fails_on_anything_else(tmp_path):
    """Only the key is dropped: the error for a third argument is the learner's to see."""
    handlers, errors = [], []

    def register(sio, log):
        silent(sio, log)
        handlers.append(sio.handlers["/"])

    async with serving(tmp_path / "chat.db", register):
        called = handlers[0][CHAT_MESSAGE]
        assert called.__name__ == "chat_message"
        for arguments in ((), ("hi", "key", "more")):
            with pytest.raises(TypeError) as error:
                await called("sid", *arguments)
            errors.append(str(error.value))
    assert all("chat_message()" in error for error in errors)


# A database that says no.


async def test_full_disk_is_told_to_the_sender_and_the_server_goes_on(served):
    """What is not committed is sent to nobody; when there is room again, all is well."""
    async with wired(served.url) as ann:
        await ann.connect()
        await asked(served.log, "PRAGMA max_page_count = 1")
        [refusal] = await ann.emit(1, "x" * MAX_TEXT)
        assert refusal["error"] == "not stored"
        assert "full" in refusal["message"]
        await asked(served.log, "PRAGMA max_page_count = 1000000")
        await ann.ws.send_str('42["chat message","room"]')
        assert await ann.messages(1) == [(1, "room")]


async def test_locked_database_is_told_to_the_sender_and_the_server_goes_on(tmp_path, monkeypatch):
    """Another program holds the lock longer than the server waits."""
    monkeypatch.setitem(PRAGMAS, "busy_timeout", 1)
    async with serving(tmp_path / "chat.db") as server, wired(server.url) as ann:
        await ann.connect()
        with contextlib.closing(sqlite3.connect(server.log.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            [refusal] = await ann.emit(1, "one")
            assert refusal["error"] == "not stored"
            other.execute("ROLLBACK")
        await ann.ws.send_str('42["chat message","two"]')
        assert await ann.messages(1) == [(1, "two")]


async def test_row_that_the_database_refuses_fails_alone(served):
    """Others in the same batch are stored and sent, in order."""
    await asked(
        served.log,
        "CREATE TRIGGER no BEFORE INSERT ON messages WHEN NEW.content = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'no bad words'); END",
    )
    async with wired(served.url) as ann:
        await ann.connect()
        for number, text in enumerate(("a", "bad", "b")):
            await ann.ws.send_str(f'42{number}["chat message","{text}"]')
        packets = [await ann.packet() for _ in range(5)]
    assert [packet for packet in packets if packet.startswith("42")] == [
        '42["chat message","a",1]',
        '42["chat message","b",2]',
    ]
    assert any("no bad words" in packet for packet in packets)


# What is logged.

REFUSED = [
    ("EIO=3&transport=polling", "Refused a client that speaks an old protocol."),
    ("transport=polling", "Refused a client that speaks an old protocol."),
    ("EIO=4&transport=websocket", "Refused a WebSocket without all of its headers."),
]
SILENT = [
    "EIO=4&transport=polling&sid=a%20lie",
    "EIO=4&transport=a%20lie",
    "EIO=4&transport=polling&j=a%20lie",
]


@pytest.mark.parametrize(("query", "words"), REFUSED)
async def test_refused_client_is_logged_once_with_the_cause(served, caplog, query, words):
    """python-socketio alone says it too; the next one of the same cause is not logged."""
    async with aiohttp.ClientSession() as session:
        for more in ("", "&more=a%20lie"):
            async with session.get(f"{served.url}/socket.io/?{query}{more}") as answer:
                assert answer.status == 400
    [said] = caplog.messages
    assert said.startswith(words)


@pytest.mark.parametrize("query", SILENT)
async def test_what_only_a_stranger_can_cause_is_not_logged(served, caplog, query):
    """Every client of an earlier run sends such a sid; the text is the stranger's."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{served.url}/socket.io/?{query}") as answer,
    ):
        assert answer.status == 400
    assert caplog.messages == []


# Anything at all.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=100)
@given(st.lists(JSON, max_size=4), JSON)
def test_no_payload_upsets_the_server(tmp_path_factory, arguments, auth):
    """Every message is acknowledged or refused by name, every connection accepted or refused."""

    async def attempt():
        async with (
            asyncio.timeout(10),
            serving(tmp_path_factory.mktemp("log") / "chat.db") as server,
        ):
            async with wired(server.url) as bob:
                assert (await bob.connect({"serverOffset": auth}))[:2] in ("40", "44")
            async with wired(server.url) as ann:
                await ann.connect()
                [answer] = await ann.emit(1, *arguments)
                accepted = isinstance(answer, int)
                assert accepted or set(answer) == {"error", "message"}
                assert await stored(server) == (arguments[:1] if accepted else [])
                assert await alive(server) == [2 if accepted else 1]

    asyncio.run(attempt())
