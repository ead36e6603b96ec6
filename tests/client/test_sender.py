"""What a tab has in its outbox arrives exactly once and in order, whatever happens on its way."""

import asyncio
import contextlib
from functools import partial

import pytest
from support import Forgetful, Hold, Keyless, serving, turns
from transports import every_transport

import chatlab.client.connection
from chatlab.client.outbox import Outbox
from chatlab.client.sender import FIRST_RETRY, LAST_RETRY, rest
from chatlab.client.tab import ChatClient
from chatlab.harness.background import BackgroundServer
from chatlab.history.events import History
from chatlab.lab.lab import Lab
from chatlab.log import LogError, MessageLog
from chatlab.messages import NOT_STORED, PERHAPS_STORED
from chatlab.server.app import chat, create_app


@pytest.fixture
def server(tmp_path):
    with BackgroundServer(partial(create_app, db=tmp_path / "chat.db")) as server:
        yield server
    server.check()


@contextlib.asynccontextmanager
async def closing(tab):
    try:
        yield tab
    finally:
        await tab.close()


def kinds(lab, who):
    return [event.kind for event in lab.history.of(who) if event.kind != "show"]


@every_transport
async def test_posted_messages_are_stored_and_shown(transports):
    """In their order, each at one attempt, and the outbox is empty in the end."""
    async with Lab(chat) as lab:
        ann, bob = await lab.join("ann", "bob", tab=partial(ChatClient, transports=transports))
        texts = [str(number) for number in range(20)]
        for text in texts:
            ann.post(text)
        assert ann.pending == texts
        await lab.quiet()
        assert (ann.pending, ann.messages, bob.messages) == ([], texts, texts)
        assert kinds(lab, "ann").count("retry") == kinds(lab, "ann").count("write") == 19


@every_transport
async def test_messages_that_are_posted_offline_are_sent_later(server, transports):
    """Before the first connection, after a drop, and with a reload in between."""
    async with closing(ChatClient(server.url, transports=transports)) as ann:
        ann.post("one")
        await ann.open()
        await ann.until(lambda: not ann.pending)
        await ann.drop()
        for text in ("two", "three"):
            ann.post(text)
        assert ann.pending == ["two", "three"]
        await ann.reload()
        assert await ann.sees(3) == ["one", "two", "three"]
        await ann.until(lambda: not ann.pending)


async def fault(direction, outbox, transports):
    """Let a message of ann's, or its answer, get lost on the way; return the verdict."""
    tab = partial(ChatClient, outbox=outbox, transports=transports)
    async with Lab(chat) as lab:
        ann, _ = await lab.join("ann", tab=tab), await lab.join("bob")
        ann.post("one")
        await lab.quiet()
        lab.links["ann"].freeze(direction)
        ann.post("two")
        await lab.links["ann"].lose()
        await lab.quiet()
        ann.post("three")
        return (await lab.verdict(promised=True)).counts


@every_transport
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_message_or_answer_that_is_lost_does_no_harm(direction, transports):
    """It is sent again, and stored once."""
    assert not any((await fault(direction, Outbox, transports)).values())


@every_transport
async def test_outbox_that_forgets_loses_what_is_lost_on_the_way(transports):
    """The control: at most once."""
    assert (await fault("up", Forgetful, transports))["lost"] == 2


@every_transport
async def test_outbox_without_keys_duplicates_what_was_not_answered(transports):
    """The control: at least once."""
    assert (await fault("down", Keyless, transports))["duplicated"] == 2


async def test_refused_message_is_reported_and_blocks_nothing():
    """Those before it and behind it are stored."""
    async with Lab(chat) as lab:
        ann = await lab.join("ann")
        for text in ("before", "", "after"):
            ann.post(text)
        await lab.quiet()
        assert ann.messages == ["before", "after"]
        [(text, refusal)] = ann.refused
        assert (text, refusal.name, ann.pending) == ("", "bad text", [])
        assert kinds(lab, "ann").count("refuse") == 1
        assert (await lab.verdict(promised=True)).valid


async def test_restart_and_kill_of_the_server_lose_nothing():
    """What was posted while it was away is sent when it is back."""
    async with Lab(chat, process=True) as lab:
        ann = await lab.join("ann")
        for number, end in enumerate((lab.stop, lab.kill)):
            ann.post(f"before {number}")
            await end()
            ann.post(f"after {number}")
            await lab.start()
        assert (await lab.verdict(promised=True)).valid
        assert ann.messages == ["before 0", "after 0", "before 1", "after 1"]


@pytest.mark.parametrize("name", [NOT_STORED, PERHAPS_STORED])
async def test_message_that_cannot_be_stored_now_is_sent_again(tmp_path, monkeypatch, name):
    """A full disk is no refusal: the messages wait in their order until there is room."""
    failures, append = [2], MessageLog.append

    async def append_at_last(log, text, key):
        if failures[0]:
            failures[0] -= 1
            raise LogError(name, "database or disk is full")
        return await append(log, text, key)

    monkeypatch.setattr(MessageLog, "append", append_at_last)
    history = History()
    async with serving(tmp_path / "chat.db") as served:
        ann = await ChatClient(served.url, record=history.record).open()
        ann.post("one")
        ann.post("two")
        assert await ann.sees(2) == ["one", "two"]
        await ann.close()
    assert [event.kind for event in history].count("retry") == 3  # two of "one", and "two" after it
    assert ann.refused == []


async def test_message_without_an_answer_in_time_is_sent_again(tmp_path, monkeypatch):
    """The connection stands, and the key is the same: it is stored once."""
    monkeypatch.setattr(chatlab.client.connection, "PATIENCE", 0.05)
    thinks, keys = Hold(), []

    def thoughtful(sio, log):
        @sio.on("chat message")
        async def chat_message(sid, text, key):
            keys.append(key)
            await thinks.here()  # the first message alone
            return await log.append(text, key)

    async with serving(tmp_path / "chat.db", thoughtful, async_handlers=True) as served:
        ann = await ChatClient(served.url).open()
        ann.post("one")
        await until(lambda: not ann.pending)
        thinks.released.set()
        await turns()
        assert await served.log.after(0) == [(1, "one")]
        await ann.close()
    assert len(keys) > 1
    assert len(set(keys)) == 1


async def test_pauses_between_attempts_grow_up_to_a_bound(monkeypatch):
    """And chance shortens each of them, by half at most."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("chatlab.client.sender.asyncio.sleep", sleep)
    pause, pauses = FIRST_RETRY, []
    for _ in range(20):
        pauses.append(pause)
        pause = await rest(pause)
    assert pauses[:3] == [0.02, 0.04, 0.08]
    assert pauses[-1] == LAST_RETRY
    assert all(pause / 2 <= time <= pause for pause, time in zip(pauses, slept, strict=True))
    assert len({time / pause for pause, time in zip(pauses, slept, strict=True)}) > 10


async def test_closed_tab_stops_posting_and_keeps_its_messages(server):
    """No task is left; a tab that is opened again sends them."""
    before = asyncio.all_tasks()
    ann = await ChatClient(server.url).open()
    await ann.drop()
    ann.post("one")
    await ann.close()
    await turns()
    assert asyncio.all_tasks() <= before
    assert ann.pending == ["one"]
    async with closing(await ann.open()):
        assert await ann.sees(1) == ["one"]


async def test_error_of_the_server_is_raised_by_the_lab():
    """The message stays, and is not sent to a broken server again and again."""

    def broken(sio):
        @sio.on("chat message")
        async def chat_message(sid, *arguments):
            raise KeyError("a bug")

    async with Lab(broken) as lab:
        ann = await lab.join("ann")
        ann.post("hello")
        with pytest.raises(BaseExceptionGroup, match="errors in the server"):
            await lab.quiet()
        assert (ann.pending, ann.posting) == (["hello"], False)


async def until(condition):
    """Wait until a condition holds that nothing announces."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
