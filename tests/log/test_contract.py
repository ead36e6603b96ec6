"""The contract that every log keeps: one suite for all of them."""

import asyncio

import pytest

from chatlab.log import MessageLog
from chatlab.messages import Message, Refused

LOGS = [MessageLog]
"""The logs that keep the contract. Each is made with (path, keep=..., on_commit=...)."""


@pytest.fixture(params=LOGS)
def make(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chat.db"


async def read_without_gaps(log, appends):
    """Append concurrently while a reader follows; raise AssertionError if it sees a gap."""
    writing = [asyncio.ensure_future(log.append(str(n))) for n in range(appends)]
    cursor = 0
    async with asyncio.timeout(10):
        while cursor < appends:
            await log.newer(cursor)
            seen = [message.offset for message in await log.after(cursor)]
            assert seen == list(range(cursor + 1, cursor + 1 + len(seen)))
            cursor = max(seen, default=cursor)
        assert sorted(await asyncio.gather(*writing)) == list(range(1, appends + 1))


async def stored_when_known(log):
    """Raise AssertionError if an offset is given before its message can be read."""
    offset = await log.append("a")
    assert Message(offset, "a") in await log.after(offset - 1)


async def test_reader_sees_no_gap_while_commits_go_on(make, path):
    """A reader that follows concurrent senders sees 1, 2, 3."""
    async with make(path) as log:
        await read_without_gaps(log, 300)


async def test_message_is_there_when_its_offset_is(make, path):
    """`append` returns after the commit."""
    async with make(path) as log:
        await stored_when_known(log)


async def test_key_of_a_stored_message_gives_its_first_offset(make, path):
    """With the same text; with another one it is refused by name, and no number is used."""
    async with make(path) as log:
        assert await asyncio.gather(log.append("a", "k"), log.append("a", "k")) == [1, 1]
        with pytest.raises(Refused) as refusal:
            await log.append("b", "k")
        assert refusal.value.name == "client_offset used"
        assert await log.append("c") == 2


async def test_newer_waits_for_a_greater_offset(make, path):
    """It returns at once if there is one, and otherwise after the next commit."""
    async with make(path) as log:
        await log.append("a")
        await log.newer(0)
        waiting = asyncio.ensure_future(log.newer(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        await log.append("b")
        await waiting


class NaiveLog:
    """A log that breaks the contract: it shows its messages in the order in which they commit.

    An even offset commits one turn of the loop later than its successor.
    """

    def __init__(self, early=False):
        self.early, self.last, self.stored = early, 0, []

    async def append(self, text):
        self.last += 1
        message = Message(self.last, text)
        if self.early:  # the offset is given, and nothing is stored
            return message.offset
        for _ in range(3 if message.offset % 2 == 0 else 1):
            await asyncio.sleep(0)
        self.stored.append(message)
        return message.offset

    async def newer(self, offset):
        await asyncio.sleep(0)  # the reader asks again

    async def after(self, offset):
        return sorted(message for message in self.stored if message.offset > offset)


async def test_log_that_shows_offsets_out_of_order_fails():
    """A control: the check of the suite notices the gap."""
    with pytest.raises(AssertionError):
        await read_without_gaps(NaiveLog(), 10)


async def test_log_that_gives_an_offset_before_its_commit_fails():
    """A control: the check of the suite notices that the message is not there."""
    with pytest.raises(AssertionError):
        await stored_when_known(NaiveLog(early=True))


async def test_after_gives_the_greater_offsets(make, path):
    """After 1 come 2 and 3; after the newest comes nothing; a limit cuts at the end."""
    async with make(path) as log:
        for text in "abc":
            await log.append(text)
        assert await log.after(1) == [Message(2, "b"), Message(3, "c")]
        assert await log.after(1, limit=1) == [Message(2, "b")]
        assert await log.after(3) == []


async def test_many_senders_share_a_transaction(make, path):
    """A hundred messages that wait together are committed in a few batches, in order."""
    batches = []
    async with make(path, on_commit=batches.append) as log:
        offsets = await asyncio.gather(*(log.append(str(n)) for n in range(100)))
    assert offsets == list(range(1, 101))
    assert len(batches) <= 2
    assert [message for batch in batches for message in batch] == [
        Message(n + 1, str(n)) for n in range(100)
    ]


async def test_batch_is_announced_before_its_sender_hears(make, path):
    """Who follows on_commit knows a message before its sender knows its offset."""
    heard = []
    async with make(path, on_commit=lambda batch: heard.append("commit")) as log:
        await log.append("a")
        heard.append("sender")
    assert heard == ["commit", "sender"]


async def test_message_is_found_by_its_key(make, path):
    """What is stored under a key; nothing under one that nobody has used."""
    async with make(path) as log:
        await log.append("one")
        await log.append("two", "key")
        assert await log.find("key") == Message(2, "two")
        assert await log.find("other key") is None


async def test_key_with_another_text_is_refused_alone(make, path):
    """Only the message with the wrong key fails; those beside it are stored, at once."""
    batches = []
    async with make(path, on_commit=batches.append) as log:
        await log.append("a", "k1")
        results = await asyncio.gather(
            log.append("b"), log.append("other", "k1"), log.append("c"), return_exceptions=True
        )
        assert results[0] == 2
        assert results[1].name == "client_offset used"
        assert results[2] == 3
    assert batches == [[Message(1, "a")], [Message(2, "b"), Message(3, "c")]]


async def test_sender_that_stops_waiting_disturbs_nobody(make, path):
    """Its message is stored all the same, and the next one too."""
    async with make(path) as log:
        first = asyncio.ensure_future(log.append("a"))
        await asyncio.sleep(0)
        first.cancel()
        assert await log.append("b") == 2


async def test_log_keeps_the_newest_messages(make, path):
    """Batch by batch, and after a restart; who asks for what is gone is told so."""
    async with make(path, keep=3) as log:
        await log.begin_epoch()
        for number in range(1, 6):
            await log.append(str(number), f"key {number}")
        assert await log.after(0) == [(3, "3"), (4, "4"), (5, "5")]
        assert (log.trimmed, log.head) == (2, 5)
        await asyncio.gather(*(log.append(str(number)) for number in range(6, 16)))
        assert [offset for offset, _ in await log.after(0)] == [13, 14, 15]
        assert log.place(11) == (12, "gap") and log.place(12) == (12, "continued")
        assert log.place(16) == (12, "reset")
        assert await log.append("1", "key 1") == 16  # its key is gone too
    async with make(path, keep=3) as log:
        assert (log.trimmed, log.head) == (13, 16)
