"""What a reader may forget or mistake in a cell with a lab: each is named in one sentence."""

import asyncio
import re
import warnings

import pytest
from labs import echo, until
from support import tutorial

import chatlab.lab.studied_server
from chatlab.client.outbox import Outbox
from chatlab.client.tab import ChatClient
from chatlab.harness import Mishap
from chatlab.lab.lab import Lab
from chatlab.mistakes import BadArgument, BadMoment, NotAwaited

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    # What is said of a call that the tests forget on purpose.
    pytest.mark.filterwarnings(
        "ignore:nothing has happened yet", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]
CALLS = {
    "join": lambda lab: lab.join("ann"),
    "quiet": lambda lab: lab.quiet(),
    "verdict": lambda lab: lab.verdict(),
    "stop": lambda lab: lab.stop(),
    "kill": lambda lab: lab.kill(),
    "start": lambda lab: lab.start(),
    "restart": lambda lab: lab.restart(),
    "live_through": lambda lab: lab.live_through([]),
    "pause": lambda lab: lab.pause(asyncio.sleep(0)),
    "page": lambda lab: lab.page(),
    "live": lambda lab: lab.live(),
}


async def refused(call, *arguments):
    """Return the sentence with which a call is refused."""
    with pytest.raises((BadArgument, BadMoment)) as raised:
        answer = call(*arguments)
        await answer
    return str(raised.value)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_lab_that_is_not_awaited_names_the_await_at_its_first_call(call):
    """Whichever that is, and without waiting for a server that was never started."""
    lab = Lab(echo)
    assert "write `lab = await Lab(server)`, with `await`" in await refused(call, lab)
    await lab
    await lab.close()
    assert "run its cell, `await Lab(...)`, and those after it again" in await refused(call, lab)


async def test_call_of_a_tab_or_lab_that_is_not_awaited_names_the_await():
    """Its result is used, or shown; when it is dropped, a warning says it."""
    async with Lab(echo) as lab:
        for call in (lab.join("bob"), lab.verdict(), lab.quiet(), lab.kill()):
            assert "write `await`" in repr(call)
            with pytest.raises(NotAwaited, match="write `await`"):
                call.messages.append("")
            call.close()
        with pytest.raises(NotAwaited, match="before the call of `join`"):
            _ann, _bob = lab.join("ann", "bob")
        ann = await lab.join("ann")
        link = lab.links["ann"]
        calls = [ann.send(""), ann.drop(), ann.reconnect(), ann.sees(1), link.lose(), link.holds()]
        for call in calls:
            assert "write `await`" in repr(call)
            call.close()


def forgetful(sio, log):
    """It forgets to wait: for the log, and for its emit."""

    @sio.on("log")
    async def from_the_log(sid):
        return [message.text for message in log.after(0)]

    @sio.on("emit")
    async def emit(sid):
        sio.emit("left")


@pytest.mark.parametrize("event", ["log", "emit"])
async def test_handler_that_forgets_an_await_is_told_where(event):
    """In the cell, and not by silence."""
    async with Lab(forgetful) as lab:
        ann = await lab.join("ann")
        with pytest.raises((NotAwaited, BaseExceptionGroup)) as raised:
            await ann.call(event)
            await lab.quiet()
        name = {"log": "after", "emit": "emit"}[event]
        assert f"before the call of `{name}`" in repr(raised.value)


def number(sio):
    """What a cell defines, and defines again."""


BAD_LABS = {
    "called": (lambda: Lab(number(None)), "`def server(sio, log)`, without `async` and without"),
    "async": (lambda: Lab(refused), "without `async`"),
    "no sio": (lambda: Lab(lambda: None), "takes the function that registers the handlers"),
    "heartbeat": (lambda: Lab(echo, heartbeat=0), "heartbeat is in seconds, above 0, not 0"),
    "clock": (lambda: Lab(echo, clock=5), "clock is a function that returns seconds, not 5"),
    "name": (lambda: Lab(echo, name=None), "the name of a lab is a text, not None"),
    "store": (lambda: Lab(echo, store=True), "store=True goes with recovery=True"),
}


@pytest.mark.parametrize(("make", "sentence"), BAD_LABS.values(), ids=BAD_LABS)
def test_lab_with_an_argument_that_cannot_be_is_refused(make, sentence):
    """Before anything is started."""
    with pytest.raises(BadArgument, match=re.escape(sentence)):
        make()


@pytest.mark.parametrize("keep", [0, "3"])
async def test_lab_that_keeps_nothing_is_refused(keep):
    """The log says it, when the lab starts."""
    lab = Lab(echo, keep=keep)
    assert await refused(lambda: lab) == f"a log keeps at least 1 message, not {keep!r}"


BAD_CALLS = {
    "join a list": (lambda lab: lab.join(["ann"]), "a name is a text"),
    "join nobody": (lambda lab: lab.join(""), "a name is a text"),
    "pause": (lambda lab: lab.pause(lab.clients["ann"].reload), "a call without `await`"),
    "stranger": (lambda lab: lab.live_through([Mishap("drop", "bob")]), "'bob' has not joined"),
    "no mishap": (lambda lab: lab.live_through(["drop"]), "a list of mishaps, of the kinds send"),
    "no kind": (lambda lab: lab.live_through([Mishap("burn", "ann")]), "of the kinds send, kill"),
    "clients": (lambda lab: lab.clients["bob"], "'bob' has not joined this lab"),
    "links": (lambda lab: lab.links["bob"], "those who have: ann"),
    "freeze": (lambda lab: lab.links["ann"].freeze("sideways"), '"up", "down", or nothing'),
    "sees": (lambda lab: lab.clients["ann"].sees("one"), "sees takes a number of messages"),
    "until": (lambda lab: lab.clients["ann"].until(True), "until takes a function"),
    "outbox": (lambda lab: ChatClient("", outbox=Outbox()), "outbox is a class, such as Outbox"),
    "transports": (lambda lab: ChatClient("", transports="polling"), 'transports are ("websocket"'),
    "name": (lambda lab: ChatClient("", 5), "the name of a tab is a text, not 5"),
}


@pytest.mark.parametrize(("call", "sentence"), BAD_CALLS.values(), ids=BAD_CALLS)
async def test_argument_that_cannot_be_is_refused_in_one_sentence(call, sentence):
    """Nothing has happened then: Ann's tab is as it was."""
    async with Lab(echo) as lab:
        ann = await lab.join("ann")
        events = len(lab.history)
        assert sentence in await refused(call, lab)
        assert (len(lab.history), ann.connected) == (events, True)
        assert not lab.links["ann"].frozen


async def test_day_of_a_lab_that_nobody_has_joined_says_how_to_join():
    """Instead of the name as an error."""
    async with Lab(echo) as lab:
        said = await refused(lab.live_through, [Mishap("send", "ann")])
        assert (
            said
            == "'ann' has not joined this lab; nobody has. `await lab.join(\"ann\")` lets ann join"
        )


def defined(source, cell):
    """Run a cell that defines `server`; return it."""
    exec(compile(source, "<cell>", "exec"), cell)
    return cell["server"]


FIRST = "def server(sio):\n    return 1"
SECOND = "def server(sio):\n    return 2"


async def test_server_that_is_defined_anew_is_noticed_at_the_next_call_once():
    """The lab still runs the old one: it says so, and what to do."""
    cell = {}
    async with Lab(defined(FIRST, cell)) as lab:
        await lab.join("ann")
        defined(SECOND, cell)
        with pytest.warns(UserWarning, match=r"`server` was defined anew, .* run its Lab") as told:
            await lab.quiet()
        assert told[0].filename == __file__
        await lab.quiet()  # a second warning would be an error


WRAPPED = "def helper(f):\n    return lambda sio: f(sio)\ndef server(sio):\n    pass"


async def test_server_that_is_not_defined_anew_is_no_news():
    """The same cell again; a helper's function; a lambda; a name that was another all the time."""
    cell = {}
    again = defined(FIRST, cell)
    wrapped = defined(WRAPPED, other := {})
    inner = {"server": number}
    exec("def make():\n    def server(sio): pass\n    return server\nmade = make()", inner)
    labs = [again, other["helper"](wrapped), inner["made"], lambda sio: None]
    for place, server in enumerate(labs):
        async with Lab(server, name=f"lab {place}") as lab:
            defined(FIRST, cell)
            defined(WRAPPED, other)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                await lab.quiet()


class Endless:
    """A server with a handler that is busy until the test lets it end."""

    def __init__(self):
        self.busy = True

    def __call__(self, sio):
        @sio.on("chat message")
        async def chat_message(sid, text):
            while self.busy:
                pass


async def test_handler_that_never_awaits_says_to_restart_the_kernel(monkeypatch):
    """The thread of the cells notices, and names the line."""
    monkeypatch.setattr(chatlab.lab.studied_server, "STUCK", 3)
    server = Endless()
    async with Lab(server) as lab:
        ann = await lab.join("ann")
        try:
            with pytest.raises(BadMoment, match="the server does not answer any more") as raised:
                await ann.send("one")
        finally:
            server.busy = False
        assert "it is in the line `while self.busy:`" in str(raised.value) or "`pass`" in str(
            raised.value
        )
        assert "restart the kernel" in str(raised.value)
        await lab.quiet()


async def test_server_in_this_process_cannot_kill_it():
    """The handler gets an error, which the cell that waits is told; the lab goes on."""

    def fragile(sio):
        @sio.on("chat message")
        async def chat_message(sid, *message):
            import os
            import signal

            os.kill(os.getpid(), 0)  # asks only whether it is there
            os.kill(os.getpid(), signal.SIGKILL)

    async with Lab(fragile) as lab:
        ann = await lab.join("ann")
        ann.post("lights out")
        with pytest.raises(BadMoment, match="give it one of its own, with `process=True`"):
            await ann.until(lambda: not ann.connected)
        assert lab.server.running


class Deaf(Outbox):
    """It does not hear that a message is answered."""

    def answered(self, message):
        pass


class Texts(Outbox):
    """It keeps texts."""

    def add(self, text):
        self.pending.append(text)


class Clumsy(Outbox):
    """Its own code fails."""

    def answered(self, message):
        raise KeyError("whom?")


async def test_outbox_that_keeps_what_is_answered_is_named():
    """And does not send it for ever."""
    async with Lab(tutorial) as lab:
        ann = await lab.join("ann", tab=lambda *a, **k: ChatClient(*a, outbox=Deaf, **k))
        ann.post("one")
        with pytest.raises(BadMoment, match="the outbox Deaf keeps 'one' in `pending`, although"):
            await lab.quiet()
        await lab.quiet()
        assert [event.kind for event in lab.history.of("ann")].count("acknowledge") == 1


async def test_outbox_that_gives_texts_is_named_when_one_is_posted():
    """The sentence says what it should give."""
    async with Lab(tutorial) as lab:
        ann = await lab.join("ann", tab=lambda *a, **k: ChatClient(*a, outbox=Texts, **k))
        with pytest.raises(BadMoment, match="the outbox Texts has in `pending` 'one', where `Out"):
            ann.post("one")


async def test_error_of_an_outbox_is_raised_in_the_cell_that_waits():
    """It is the reader's code, like a handler's."""
    async with Lab(tutorial) as lab:
        ann = await lab.join("ann", tab=lambda *a, **k: ChatClient(*a, outbox=Clumsy, **k))
        ann.post("one")
        with pytest.raises(KeyError, match="whom"):
            await lab.quiet()


STRANGE = {
    "no text": (("chat message", ()), "'chat message' with nothing: a page takes a text, and"),
    "a list": (("chat message", ["hi", 1]), "'chat message' with ['hi', 1]: a page takes a text"),
    "an object": (("chat message", {"text": "hi"}), "with {'text': 'hi'}: a page takes a text"),
    "an offset in a list": (("chat message", ("hi", [1])), "with 'hi', [1]: a page takes a text"),
    "an offset in an object": (("chat message", ("hi", {"id": 1})), "with 'hi', {'id': 1}: a page"),
    "no place": (("catching up", ()), "'catching up' with nothing: a page takes {\"outcome\": "),
    "half a place": (("catching up", {"after": 1}), "with {'after': 1}: a page takes {\"outcome\""),
}


@pytest.mark.parametrize(("event", "said"), STRANGE.values(), ids=STRANGE)
async def test_event_that_no_page_can_take_is_an_error_of_the_server(event, said):
    """It is told to who sends, and then all goes on: the page, the picture and the verdict."""

    def server(sio):
        @sio.on("chat message")
        async def chat_message(sid, text):
            await sio.emit(*event if text == "strange" else ("chat message", text))

    async with Lab(server) as lab:
        ann = await lab.join("ann")
        with pytest.raises(BadArgument) as raised:
            await ann.send("strange")
            await lab.quiet()
        assert said in str(raised.value)
        await ann.send("hello")
        await lab.quiet()
        assert ann.messages == ["hello"]
        assert 'sends "hello"; shows it' in str(lab.diagram())
        assert "1 lost" in str(await lab.verdict(promised=True))


async def test_event_that_no_page_can_take_is_kept_for_the_next_cell():
    """If no caller waits for the server when it comes."""
    inside = []
    async with Lab(lambda sio: inside.append(sio)) as lab:
        await lab.join("ann")
        lab.server.run(inside[0].emit("chat message"))
        await until(lambda: lab.server.errors)
        with pytest.raises(BaseExceptionGroup) as raised:
            await lab.quiet()
        assert [type(error) for error in raised.value.exceptions] == [BadArgument]


@pytest.mark.parametrize("text", [["hi"], {"text": "hi"}, 5, None], ids=str)
async def test_message_that_is_no_text_is_drawn_and_judged(text):
    """A reader may send anything to a server of theirs that takes it."""

    def server(sio):
        @sio.on("chat message")
        async def chat_message(sid, what):
            return [what]

    async with Lab(server) as lab:
        ann = await lab.join("ann")
        await ann.send(text)
        assert "sends " in str(lab.diagram()) and lab.diagram().svg
        with pytest.raises(BadArgument, match="which is no offset"):
            await lab.verdict()
