"""The door of a class on the wire: who is in, as whom, how often, and how far."""

import asyncio
import itertools
import json

import aiohttp
import pytest
from support import Clock, Forgetful, serving, stored, turns, wired

from chatlab.classroom.door import WRONG_CODES
from chatlab.classroom.handlers import ASK_EVERY, SILENT, ClassHandlers
from chatlab.classroom.roster import MESSAGES
from chatlab.client.tab import ChatClient
from chatlab.messages import CHAT_MESSAGE, MAX_TEXT, NOT_STORED, WHERE, Refused
from chatlab.recovery.recovery import Recovery

CODE = "K7PQ2M"
PATIENCE = 10
TRANSPORTS = [("websocket",), ("polling",), ("polling", "websocket")]


def said(name="Ann", badge=None, **more):
    """What a student's page says when it connects."""
    return {"code": CODE, "name": name, "badge": badge or name.ljust(16, "x")} | more


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def db(tmp_path):
    return tmp_path / "class.db"


@pytest.fixture
def handlers(clock):
    return ClassHandlers(CODE, clock=clock)


@pytest.fixture
async def served(db, handlers):
    async with serving(db, handlers, recovery=Recovery) as server:
        yield server


@pytest.fixture
async def tab(served):
    """A function that opens a student's tab."""
    tabs = []

    async def open_tab(name="Ann", auth=None, **options):
        auth = said(name) if auth is None else auth
        tabs.append(ChatClient(served.url, name, auth=auth, **options))
        return await tabs[-1].open()

    yield open_tab
    for opened in tabs:
        await opened.close()


def refused_as(packet):
    """Return the name of the refusal in the answer to a CONNECT."""
    assert packet.startswith("44")
    told = json.loads(packet[2:])
    assert told["message"] == told["data"]["message"]
    return told["data"]["error"]


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
async def test_student_with_the_code_joins_and_writes(tab, transports, db):
    """On any transport; the name stands in front of the text, on every page and in the table."""
    ann = await tab(transports=transports, auth=said(code=" k7pq2m"))
    bob = await tab("Bob", transports=transports)
    assert await ann.send("hello") == 1
    assert await bob.send("Ann: hello") == 2
    for page in (ann, bob):
        assert await page.sees(2) == ["Ann: hello", "Bob: Ann: hello"]
    assert stored(db) == ["Ann: hello", "Bob: Ann: hello"]


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
@pytest.mark.parametrize(
    ("auth", "sentence"),
    [
        ({}, "a join code is needed"),
        (said(code="222222"), "this is not the join code of this class"),
        (said(name=" "), "a name has 1 to 30 characters"),
        (said(badge="short"), "a badge is a text of 16 to 100 ASCII characters"),
    ],
)
async def test_page_without_what_it_takes_is_refused(tab, handlers, auth, sentence, transports):
    """It is told why, and nobody is in the class."""
    with pytest.raises(ConnectionRefusedError, match=sentence):
        await tab(auth=auth, transports=transports)
    assert handlers.rows() == []


@pytest.mark.parametrize(
    ("auth", "name"),
    [
        (None, "no code"),
        ("K7PQ2M", "no code"),
        ([], "no code"),
        (["K7PQ2M"], "no code"),
        (said(code=None), "no code"),
        (said(code="222222"), "wrong code"),
        (said(code=7), "wrong code"),
        (said(code=True), "wrong code"),
        (said(code={"$ne": ""}), "wrong code"),
        (said(code="\ud800"), "wrong code"),
        (said(name=None, badge="x" * 16), "bad name"),
        (said(name="Ann: Bob"), "bad name"),
        (said(badge=None) | {"badge": 7}, "bad badge"),
        (said(serverOffset="abc"), "bad offset"),
    ],
)
async def test_refused_connection_gets_and_gives_nothing(tab, served, handlers, auth, name, db):
    """Whatever it says in its place: no message reaches it, and none of its own is stored."""
    ann = await tab("Bo")
    await ann.send("for the class")
    async with wired(served.url) as wire:
        assert refused_as(await wire.connect(auth)) == name
        await wire.ws.send_str(f'421["{CHAT_MESSAGE}","from outside"]')
        await ann.send("for the class again")
        await ann.sees(2)
        assert refused_as(await wire.connect(auth)) == name  # the next packet that it is sent
    assert [row.name for row in handlers.rows() if row.state != "away"] == ["Bo"]
    assert stored(db) == ["Bo: for the class", "Bo: for the class again"]


async def test_session_of_somebody_else_does_not_replace_the_code(tab, served):
    """A pid is no join code; with the code it is what it always is: the control."""
    ann = await tab(recover=True)
    await ann.send("secret")
    await ann.sees(1)
    pid = ann.session | {"serverOffset": 0}
    await ann.drop()
    async with wired(served.url) as wire:
        assert refused_as(await wire.connect(pid)) == "no code"
    bob = await tab("Bob", recover=True)
    await bob.drop()
    await bob.reconnect()
    assert bob.recovered


async def test_recovered_student_still_has_the_name(tab):
    """What is written after the recovery has it in front, as before."""
    ann = await tab(recover=True)
    await ann.send("one")
    await ann.sees(1)
    await ann.drop()
    await ann.reconnect()
    assert ann.recovered
    await ann.send("two")
    assert await ann.sees(2) == ["Ann: one", "Ann: two"]


async def test_guessing_is_stopped_for_one_address_alone(served, monkeypatch):
    """Also on one connection. Another address is let in, and so is who was in before."""
    monkeypatch.setattr("chatlab.classroom.handlers.ADDRESS", address := Address("192.0.2.7"))
    async with wired(served.url) as ann, wired(served.url) as wire:
        assert (await ann.connect(said())).startswith("40")
        guesses = [await wire.connect(said("Eve", code="222222")) for _ in range(WRONG_CODES + 1)]
        names = list(map(refused_as, guesses))
        assert names == ["wrong code"] * WRONG_CODES + ["too many codes"]
        assert refused_as(await wire.connect(said("Bob"))) == "too many codes"
        address.value = "192.0.2.8"
        assert (await wire.connect(said("Bob"))).startswith("40")
        address.value = "192.0.2.7"
        async with wired(served.url) as again:
            assert (await again.connect(said())).startswith("40")


class Address:
    """Where requests come from, as a test wants it."""

    def __init__(self, value):
        self.value = value

    def get(self):
        return self.value


async def test_name_of_somebody_who_is_away_is_not_given_to_others(tab):
    """Its owner may use it again; another badge is refused, with a sentence."""
    ann = await tab()
    await ann.drop()
    with pytest.raises(ConnectionRefusedError, match="somebody here is called ann already"):
        await tab(auth=said("ann", badge="y" * 16))
    await ann.reconnect()
    assert await ann.send("here I am") == 1


async def test_message_that_is_sent_twice_is_stored_once(served):
    """Under its own key, also when its sender has joined again with another name meanwhile."""
    async with wired(served.url) as ann, wired(served.url) as other:
        await ann.connect(said())
        await other.connect(said("Annie", badge="Ann".ljust(16, "x")))
        assert await answer(ann, 1, "hello", "key") == 1
        assert await answer(ann, 2, "hello", "key") == 1
        assert await answer(other, 3, "hello", "key") == 1
        assert (await answer(other, 4, "goodbye", "key"))["error"] == "client_offset used"
        assert (await answer(ann, 5, "goodbye", "key"))["error"] == "client_offset used"
        assert await answer(other, 6, "hello", "other key") == 2
    assert stored(served.log.path) == ["Ann: hello", "Annie: hello"]


async def test_name_that_has_written_is_not_given_to_others(tab, monkeypatch):
    """In a full class, Bob's is: he has written nothing."""
    monkeypatch.setattr("chatlab.classroom.roster.MAX_STUDENTS", 2)
    ann, bob = await tab(), await tab("Bob")
    assert await ann.send("hello") == 1
    await ann.drop()
    await bob.drop()
    with pytest.raises(ConnectionRefusedError, match="somebody here is called Ann already"):
        await tab(auth=said(badge="y" * 16))
    await tab("Carol")
    with pytest.raises(ConnectionRefusedError, match="the class is full"):
        await bob.reconnect()
    await ann.reconnect()
    assert await ann.send("still Ann") == 2


async def test_message_is_known_again_after_a_restart_of_the_class(db, clock):
    """The page keeps its badge and its keys; the class keeps nothing but the log."""
    for _ in range(2):
        handlers = ClassHandlers(CODE, clock=clock)
        async with serving(db, handlers) as served, wired(served.url) as ann:
            await ann.connect(said())
            assert await answer(ann, 1, "hello", "key") == 1
    assert stored(db) == ["Ann: hello"]


async def test_nobody_takes_the_key_of_somebody_elses_message(served, db):
    """Eve knows it, and sends it first. On the finished server, the control, Ann's text is lost."""
    async with wired(served.url) as eve, wired(served.url) as ann:
        await eve.connect(said("Eve"))
        await ann.connect(said())
        assert await answer(eve, 1, "mine", "the key of Ann") == 1
        assert await answer(ann, 1, "hello", "the key of Ann") == 2
        assert await answer(eve, 2, "hello", "the key of Ann") == {
            "error": "client_offset used", "message": "this client_offset belongs to another text",
        }  # fmt: skip
    assert stored(db) == ["Eve: mine", "Ann: hello"]
    async with serving(db.with_name("chat.db")) as plain, wired(plain.url) as eve:
        await eve.connect()
        assert await answer(eve, 1, "mine", "the key of Ann") == 1
        assert (await answer(eve, 2, "hello", "the key of Ann"))["error"] == "client_offset used"


@pytest.mark.parametrize("key", ["", 7, "x" * 101, ["key"], True])
async def test_key_that_is_none_is_refused_by_name(served, key):
    """As by the finished server."""
    async with wired(served.url) as ann:
        await ann.connect(said())
        assert (await answer(ann, 1, "hello", key))["error"] == "bad client_offset"
        assert await answer(ann, 2, "hello", None) == 1


async def test_message_with_a_second_line_is_refused(served, db):
    """It could be taken for one of somebody else. The finished server, the control, stores it."""
    async with wired(served.url) as eve:
        await eve.connect(said("Eve"))
        assert (await answer(eve, 1, "hello\nBob: I resign"))["error"] == "bad text"
    assert stored(db) == []
    async with serving(db.with_name("chat.db")) as plain, wired(plain.url) as eve:
        await eve.connect()
        assert await answer(eve, 1, "hello\nBob: I resign") == 1


async def test_name_that_is_freed_is_somebody_elses(tab, handlers):
    """Its student is told, is out and can write no more; another one takes the name and writes."""
    squatter, bob = await tab("Ann"), await tab("Bob")
    handlers.free("Ann")
    await squatter.until(lambda: not squatter.connected)
    ann = await tab("Ann", auth=said("Ann", badge="y" * 16))
    assert await ann.send("it is me") == 1
    with pytest.raises(ConnectionRefusedError, match="somebody here is called Ann already"):
        await squatter.reconnect()
    assert await bob.sees(1) == ["Ann: it is me"]


async def test_sender_who_is_too_quick_is_told_so_and_nothing_is_stored(served, clock, db):
    """The error is the one after which an outbox tries again; a second later there is room."""
    async with wired(served.url) as ann, wired(served.url) as bob:
        await ann.connect(said())
        await bob.connect(said("Bob"))
        answers = [await answer(ann, number, str(number)) for number in range(MESSAGES + 5)]
        assert answers[:MESSAGES] == list(range(1, MESSAGES + 1))
        assert {answer["error"] for answer in answers[MESSAGES:]} == {NOT_STORED}
        assert await answer(bob, 1, "slowly") == MESSAGES + 1
        clock.now += 1
        assert await answer(ann, 99, "now") == MESSAGES + 2
    assert len(stored(db)) == MESSAGES + 2


@pytest.mark.parametrize("outbox", [None, Forgetful])
async def test_quick_writer_loses_nothing(tab, clock, db, handlers, outbox):
    """Every message is sent again until it is stored, once and in order. One outbox is the control:
    it forgets what it has sent, and loses what was refused."""
    ticks = itertools.count(clock(), 0.4)
    handlers.clock = lambda: next(ticks)
    ann = await tab(**({"outbox": outbox} if outbox else {}))
    texts = [f"message {number}" for number in range(3 * MESSAGES)]
    for text in texts:
        ann.post(text)
    await ann.until(lambda: not ann.pending and not ann.posting)
    whole = [f"Ann: {text}" for text in texts]
    assert (stored(db) == whole) is (outbox is None)
    assert ann.refused == []


@pytest.mark.parametrize("text", [None, 7, "", ["x"], "x" * (MAX_TEXT - 4), "x" * (MAX_TEXT + 1)])
async def test_what_is_no_message_is_refused_for_good(tab, text, db):
    """By name, as by the finished server; a text may be as long as it fits with the name."""
    ann = await tab()
    with pytest.raises(Refused) as refused:
        await ann.send(text)
    assert refused.value.name in ("bad text", "text too long")
    assert await ann.send("x" * (MAX_TEXT - 5)) == 1
    assert [len(text) for text in stored(db)] == [MAX_TEXT]


async def test_message_without_arguments_is_refused(served):
    """A client of one's own may send anything."""
    async with wired(served.url) as wire:
        await wire.connect(said())
        await wire.ws.send_str(f'421["{CHAT_MESSAGE}"]')
        while not (packet := await wire.packet()).startswith("431"):
            pass
        assert json.loads(packet[3:])[0]["error"] == "bad text"
        [answer] = await wire.emit(2, "text", "key", "more")
        assert answer["error"] == "bad arguments"


@pytest.mark.parametrize("size", [10**6 - 5000, 2 * 10**6])
async def test_huge_packet_harms_its_sender_alone(tab, served, size):
    """Below the transport's limit it is refused by name, and above it the connection ends."""
    ann = await tab()
    async with wired(served.url) as wire:
        await wire.connect(said("Bob"))
        await wire.ws.send_str(f'421["{CHAT_MESSAGE}","{"x" * size}"]')
        ended = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
        while (message := await wire.ws.receive()).type not in ended:
            if message.data.startswith("431"):
                break
        assert (message.type in ended) is (size > 10**6)
    assert await ann.send("still here") == 1


async def test_row_tells_how_far_a_page_has_come(tab, handlers, clock):
    """As far as the page itself has said, and not as far as the server has sent."""
    ann, bob = await tab(), await tab("Bob")
    await bob.send("one")
    await ann.sees(1)
    await bob.sees(1)
    assert await looked(handlers, clock) == [
        ("Ann", "caught up", 1, 0),
        ("Bob", "caught up", 1, 0),
    ]
    await ann.drop()
    await bob.send("two")
    await bob.sees(2)
    assert await looked(handlers, clock) == [("Ann", "away", 1, 1), ("Bob", "caught up", 2, 0)]
    await ann.reconnect()
    await ann.sees(2)
    assert await looked(handlers, clock) == [("Ann", "caught up", 2, 0), ("Bob", "caught up", 2, 0)]


async def test_page_that_does_not_answer_is_silent(served, handlers, clock):
    """What it has not said, it does not have, although the server has sent it."""
    async with wired(served.url) as mute, wired(served.url) as ann:
        await ann.connect(said())
        await mute.connect(said("Mute"))
        await answer(ann, 1, "one")
        assert await mute.messages(1) == [(1, "Ann: one")]
        await looked(handlers, clock, mute=["Mute", "Ann"])
        question = await mute.packet()
        assert question.endswith('["where"]')
        clock.now += SILENT
        assert handlers.rows()[1] == ("Mute", "silent for 2 s", 0, 1)
        clock.now += 60
        assert handlers.rows()[1] == ("Mute", "silent for 62 s", 0, 1)
        await mute.ws.send_str(question.replace("42", "43", 1).replace('"where"', "1"))
        await settled(handlers, mute=["Ann"])
        assert handlers.rows()[1] == ("Mute", "caught up", 1, 0)


async def test_further_connection_of_a_student_moves_nothing_back(served, handlers):
    """A page opens one to get the messages before those that it shows."""
    async with wired(served.url) as page, wired(served.url) as earlier:
        await page.connect(said())
        await answer(page, 1, "one")
        await page.ws.send_str(answered(await asked(handlers, page), "[1]"))
        await settled(handlers)
        await earlier.connect(said(serverOffset=0))
        assert handlers.rows() == [("Ann", "caught up", 1, 0)]


async def asked(handlers, wire):
    """Ask for the offsets; return the question that came to a page."""
    handlers.rows()
    return await question(wire)


async def question(wire):
    """Return the next question for the offset, and let all other packets pass."""
    async with asyncio.timeout(PATIENCE):
        while not (packet := await wire.packet()).endswith('["where"]'):
            pass
    return packet


BREAKS = ["430[]", "430null", '430["x"]', "43[]", "43999[1]", "43-1[1]", "430", f"43{10**99}[1]"]
"""Acknowledgements that nobody asked for. With id 0, python-socketio deletes its counter."""


@pytest.mark.parametrize("unasked", BREAKS)
async def test_page_that_acknowledges_what_was_not_asked_blinds_no_console(
    served, handlers, clock, unasked
):
    """Whatever becomes of its own connection: the pages after it are asked, again and again."""
    async with wired(served.url) as eve, wired(served.url) as zoe:
        await eve.connect(said("Eve"))
        await zoe.connect(said("Zoe"))
        assert await answer(zoe, 1, "hello") == 1
        handlers.rows()
        await eve.ws.send_str(answered(await question(eve), "[1]"))
        await zoe.ws.send_str(answered(await question(zoe), "[0]"))
        await settled(handlers)
        await eve.ws.send_str(unasked)
        await eve.ws.send_str(f'427["{CHAT_MESSAGE}"]')  # by its answer, all before it was read
        await ended_or_answered(eve)
        for _ in range(2):
            clock.now += ASK_EVERY
            handlers.rows()
            await zoe.ws.send_str(answered(await question(zoe), "[1]"))
            await settled(handlers, mute=["Eve"])
        assert handlers.rows()[1] == ("Zoe", "caught up", 1, 0)


async def ended_or_answered(wire):
    while (message := await wire.ws.receive()).type is aiohttp.WSMsgType.TEXT:
        if message.data.startswith("437"):
            return


def answered(question, data):
    """Return the packet that answers a question for the offset."""
    return question.replace("42", "43", 1).replace('["where"]', data)


@pytest.mark.parametrize("data", ["null", '"abc"', '{"0":1}', "7", "", "true", b"null", b"[]", b""])
async def test_answer_that_is_no_list_is_no_error_of_the_server(served, handlers, clock, data):
    """The page's connection may end, as with the official server, but nothing is raised."""
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, error: errors.append(error))
    async with wired(served.url) as eve, wired(served.url) as zoe:
        await eve.connect(said("Eve"))
        await zoe.connect(said("Zoe"))
        handlers.rows()
        packet = answered(await question(eve), "")
        if isinstance(data, str):
            await eve.ws.send_str(packet + data)
        else:  # an acknowledgement with an attachment
            await eve.ws.send_str(packet.replace("43", "461-", 1) + data.decode())
            await eve.ws.send_bytes(b"attached")
        await eve.ws.send_str(f'427["{CHAT_MESSAGE}"]')
        await ended_or_answered(eve)
        await zoe.ws.send_str(answered(await question(zoe), "[0]"))
        await settled(handlers, mute=["Eve"])
        assert handlers.rows()[0].offset == 0
        assert handlers.rows()[1] == ("Zoe", "caught up", 0, 0)
    assert errors == []


async def never(*arguments, **options):
    await asyncio.Event().wait()


async def broken(*arguments, **options):
    raise KeyError("a connection that is not as it should be")


@pytest.mark.parametrize("send", [never, broken])
async def test_connection_that_cannot_be_asked_keeps_nobody_else_from_it(
    served, handlers, clock, monkeypatch, send
):
    """It raises, or never returns. The control, a loop that waits for each, does not ask Zoe."""
    asked, emit = [], served.sio.emit

    async def emit_or_fail(event, to, callback):
        name = handlers.roster.of(to).name
        asked.append(name)
        await (send if name == "Eve" else emit)(event, to=to, callback=callback)

    async with wired(served.url) as eve, wired(served.url) as zoe:
        await eve.connect(said("Eve"))
        await zoe.connect(said("Zoe"))
        monkeypatch.setattr(served.sio, "emit", emit_or_fail)
        one_by_one = asyncio.create_task(ask_one_by_one(served.sio, handlers))
        await turns()
        assert asked == ["Eve"]
        handlers.rows()
        await zoe.ws.send_str(answered(await question(zoe), "[0]"))
        await settled(handlers, mute=["Eve"])
        clock.now += SILENT
        assert [row.state for row in handlers.rows()] == ["silent for 2 s", "caught up"]
        one_by_one.cancel()
        await asyncio.wait([one_by_one])
        assert send is never or isinstance(one_by_one.exception(), KeyError)


async def ask_one_by_one(sio, handlers):
    """The control, as a loop over students is written first."""
    for student in handlers.roster:
        await sio.emit(WHERE, to=student.sids[-1], callback=print)


@pytest.mark.parametrize(
    "answer", ["", '"abc"', "-1", "true", "[7]", "1e99", "null", "1", str(2**63 - 1)]
)
async def test_answer_that_is_no_offset_is_no_offset(served, handlers, clock, answer):
    """It is heard, so the page is not silent, and believed to be where it was."""
    async with wired(served.url) as odd:
        await odd.connect(said("Odd", serverOffset=0))
        handlers.rows()
        question = await odd.packet()
        await odd.ws.send_str(question.replace("42", "43", 1).replace('"where"', answer))
        await settled(handlers)
        clock.now += 60
        assert handlers.rows() == [("Odd", "caught up", 0, 0)]


async def test_catching_up_is_seen(served, handlers, clock):
    """A page that answers, and has not everything that there was when it was asked."""
    async with wired(served.url) as slow:
        await slow.connect(said("Slow"))
        for number in range(3):
            await slow.emit(number, "text")
        clock.now += ASK_EVERY
        handlers.rows()
        while not (question := await slow.packet()).endswith('["where"]'):
            pass
        await slow.ws.send_str(question.replace("42", "43", 1).replace('"where"', "1"))
        await settled(handlers)
        assert handlers.rows() == [("Slow", "catching up", 1, 2)]


async def test_pages_of_a_large_class_are_asked_in_turn(served, handlers, clock, monkeypatch):
    """Not more at once than there is time for; who joins again and again waits like the others."""
    monkeypatch.setattr("chatlab.classroom.handlers.ASK_AT_ONCE", 2)
    asked = []

    async def emit(event, to, callback):
        asked.append(to)
        callback(0)

    monkeypatch.setattr(served.sio, "emit", emit)
    for name in ("ann", "bob", "carol", "dave", "eve"):
        handlers.roster.join(name, "x" * 16, name)
    for _ in range(4):
        handlers.roster.join("ann", "x" * 16, "ann")
        clock.now += ASK_EVERY
        handlers.rows()
        await turns()
    assert asked == ["ann", "bob", "carol", "dave", "eve", "ann", "bob", "carol"]


async def answer(wire, *emitted):
    """Return what a message is acknowledged with."""
    [answer] = await wire.emit(*emitted)
    return answer


async def looked(handlers, clock, *, mute=()):
    """Look twice: what pages are asked at the first look is seen at the second."""
    clock.now += ASK_EVERY
    handlers.rows()
    await settled(handlers, mute)
    return handlers.rows()


async def settled(handlers, mute=()):
    """Wait until every page that was asked has answered, but for those that do not."""
    async with asyncio.timeout(PATIENCE):
        while any(one.asked_at is not None for one in handlers.roster if one.name not in mute):
            await turns(1)


async def test_handler_without_a_key_is_called_without_it(db, clock):
    """As in any other server: the page sends a key, and the server of a chapter takes none."""

    def plain(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            return auth["name"] != "Eve"  # so python-socketio lets a handler refuse

        @sio.event
        async def disconnect(sid, reason):
            """Nothing to do."""

        @sio.on(CHAT_MESSAGE)
        async def chat_message(sid, text):
            return await log.append(text)

    handlers = ClassHandlers(CODE, clock=clock, handlers=plain)
    async with serving(db, handlers) as served, wired(served.url) as ann, wired(served.url) as eve:
        await ann.connect(said("Ann"))
        assert await ann.emit(1, "hello", "a key of its own") == [1]
        assert (await eve.connect(said("Eve"))).startswith("44")
        assert [student.name for student in handlers.roster if student.sids] == ["Ann"]
