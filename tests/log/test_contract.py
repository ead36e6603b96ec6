"""The contract that every log keeps: one suite for all of them."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import kinds
import pytest
from kinds import PostgresKind, SqliteKind, places
from support import turns

from chatlab.log import LogError
from chatlab.messages import NOT_STORED, Message, Refused

KINDS = [SqliteKind, PostgresKind]
"""The kinds of log that keep the contract. Their `make` takes (path, keep=..., on_commit=...)."""


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def make(kind):
    return kind.make


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chat.db"


@pytest.fixture
def life(kind):
    """Let a server live in an epoch of its own."""

    async def life(path, *texts):
        epoch = await kinds.life(kind.make, path, *texts)
        await kind.restore(path)
        return epoch

    return life


async def outcomes(make, path, *positions):
    """Return only the outcomes of `places`."""
    return [place.outcome for place in await places(make, path, *positions)]


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


async def read_beside_a_transaction(kind, log):
    """Read while a batch is between BEGIN and COMMIT, and after it.

    Raises AssertionError if the log shows a message too early, or if `newer` wakes too early.
    """
    async with asyncio.timeout(20):
        async with kind.held(log, "4") as held:
            writing = [asyncio.ensure_future(log.append(str(n), f"key {n}")) for n in range(5)]
            waiting = asyncio.ensure_future(log.newer(0))
            await held.wait()
            await turns()
            assert await log.after(0) == [] and await log.find("key 0") is None
            assert log.head == 0
            assert not waiting.done() and not any(task.done() for task in writing)
        await waiting
        assert await log.after(0) == [Message(n + 1, str(n)) for n in range(5)]
        assert log.head == 5
        assert await asyncio.gather(*writing) == [1, 2, 3, 4, 5]


async def append_beside_refused(kind, log, announced):
    """Append texts of which the database refuses two; `announced` collects what on_commit gets.

    Raises AssertionError if a refused message leaves a trace, or harms another one.
    """
    texts = ("a", "bad", "b", "bad", "c")
    results = await asyncio.gather(
        *(log.append(text, f"key {n}") for n, text in enumerate(texts)), return_exceptions=True
    )
    assert [result for result in results if isinstance(result, int)] == [1, 2, 3]
    assert isinstance(results[1], LogError) and isinstance(results[3], LogError)
    assert log.head == 3 and await log.find("key 1") is None
    assert await log.append("good", "key 1") == 4
    stored = [Message(n + 1, text) for n, text in enumerate(("a", "b", "c", "good"))]
    assert await log.after(0) == stored == announced


async def test_reader_sees_nothing_of_an_open_transaction_and_then_all_of_it(kind, path):
    """A reader that comes between BEGIN and COMMIT sees no message, and `newer` does not wake."""
    async with kind.make(path) as log:
        await read_beside_a_transaction(kind, log)


@pytest.mark.parametrize("moment", ["insert", "commit"])
async def test_message_that_the_database_refuses_fails_alone(kind, path, moment):
    """Its sender gets the database's error, it takes no offset, and the others are stored."""
    announced = []
    async with kind.make(path, on_commit=announced.extend) as log:
        await kind.refuse(log, "bad", moment)
        await append_beside_refused(kind, log, announced)


async def test_batch_that_the_database_refuses_is_not_announced(kind, path):
    """Nothing of it is visible, `newer` goes on waiting, and the next offset is 1."""
    announced = []
    async with kind.make(path, on_commit=announced.append) as log:
        await kind.refuse(log, "bad", "commit")
        waiting = asyncio.ensure_future(log.newer(0))
        for _ in range(2):
            with pytest.raises(LogError):
                await log.append("bad")
        assert not waiting.done() and announced == [] == await log.after(0)
        assert await log.append("good") == 1
        await waiting


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


async def test_repeated_key_gets_the_first_offset(make, path):
    """A retry stores nothing and takes no number, in the same batch or later."""
    async with make(path) as log:
        assert await asyncio.gather(log.append("a", "k1"), log.append("a", "k1")) == [1, 1]
        assert await log.append("b", "k2") == 2
        assert await log.append("a", "k1") == 1
        assert await log.append("c") == 3
        assert await log.after(0) == [(1, "a"), (2, "b"), (3, "c")]


async def test_bad_text_is_refused_before_it_is_stored(make, path):
    """The log checks the text, and a refused text takes no offset."""
    async with make(path) as log:
        for text in ("", 42, "\ud800"):
            with pytest.raises(Refused):
                await log.append(text)
        assert await log.after(0) == []
        assert await log.append("a") == 1


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
    """A log that breaks the contract in one way.

    "order": an even offset becomes visible one turn of the loop later than the next one. "offset":
    `append` returns an offset and stores nothing. "visible": readers see a message before its
    transaction is committed. "wakes": `newer` returns before the messages are visible. "burns": a
    message that is refused takes an offset.
    """

    def __init__(self, fault):
        self.fault, self.last, self.stored, self.announced = fault, 0, [], []
        self.hold, self.committed = None, asyncio.Event()

    @property
    def head(self):
        return max((message.offset for message in self.stored), default=0)

    async def append(self, text, key=None):
        self.last += 1
        message = Message(self.last, text)
        if self.fault == "offset":
            return message.offset
        if text == "bad":
            self.last -= self.fault != "burns"
            raise LogError(NOT_STORED, "not this text")
        if self.fault == "visible":
            self.stored.append(message)
        if self.hold:
            await self.hold(text)
        for _ in range(3 if self.fault == "order" and message.offset % 2 == 0 else 1):
            await asyncio.sleep(0)
        if self.fault != "visible":
            self.stored.append(message)
        self.announced.append(message)
        self.committed.set()
        return message.offset

    async def newer(self, offset):
        if self.hold and self.fault != "wakes":
            await self.committed.wait()
        await asyncio.sleep(0)  # the reader asks again

    async def after(self, offset):
        return sorted(message for message in self.stored if message.offset > offset)

    async def find(self, key):
        return None

    @asynccontextmanager
    async def held(self, log, text):
        reached, released = asyncio.Event(), asyncio.Event()

        async def hold(appended):
            if appended == text:
                reached.set()
            await released.wait()

        self.hold = hold
        try:
            yield reached
        finally:
            released.set()


async def test_log_that_shows_offsets_out_of_order_fails():
    """A control: the check of the suite notices the gap."""
    with pytest.raises(AssertionError):
        await read_without_gaps(NaiveLog("order"), 10)


async def test_log_that_gives_an_offset_before_its_commit_fails():
    """A control: the check of the suite notices that the message is not there."""
    with pytest.raises(AssertionError):
        await stored_when_known(NaiveLog("offset"))


@pytest.mark.parametrize("fault", ["visible", "wakes"])
async def test_log_that_shows_or_wakes_before_the_commit_fails(fault):
    """A control: the check notices it. It accepts the same log without a fault."""
    sound, faulty = NaiveLog(None), NaiveLog(fault)
    await read_beside_a_transaction(sound, sound)
    with pytest.raises(AssertionError):
        await read_beside_a_transaction(faulty, faulty)


async def test_log_in_which_a_refused_message_takes_an_offset_fails():
    """A control: the check notices the hole. It accepts the same log without a fault."""
    sound, faulty = NaiveLog(None), NaiveLog("burns")
    await append_beside_refused(sound, sound, sound.announced)
    with pytest.raises(AssertionError):
        await append_beside_refused(faulty, faulty, faulty.announced)


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


async def test_batch_is_announced_before_its_sender_gets_the_offset(make, path):
    """on_commit is called with a message before its sender gets the offset."""
    order = []
    async with make(path, on_commit=lambda batch: order.append("commit")) as log:
        await log.append("a")
        order.append("sender")
    assert order == ["commit", "sender"]


async def test_message_is_found_by_its_key(make, path):
    """`find` returns the message of a key, and None for a key that was never used."""
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
    """Batch by batch, and after a restart. The place of a client that missed some says "gap"."""
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


async def test_offset_of_an_earlier_epoch_is_valid_up_to_where_that_epoch_came(make, life, path):
    """A greater offset never existed, so the client starts again."""
    first = await life(path, "1", "2")
    second = await life(path, "3")
    assert first != second
    found = await places(make, path, (2, first), (3, first), (3, second), (0, first), (4, second))
    assert found == [
        (2, "continued"), (0, "reset"), (3, "continued"), (0, "continued"), (0, "reset"),
    ]  # fmt: skip


async def test_epoch_without_a_message_is_known_too(make, life, path):
    """A client may have connected in it, with an offset from before."""
    await life(path, "1", "2")
    quiet = await life(path)
    await life(path, "3")
    found = await places(make, path, (2, quiet), (3, quiet))
    assert found == [(2, "continued"), (0, "reset")]


async def test_unknown_epoch_is_reset(make, life, path, tmp_path):
    """Also in a longer log. Only a client without a message goes on: it has nothing to forget."""
    other = await life(tmp_path / "other.db", "a", "b")
    await life(path, "1", "2", "3")
    found = await outcomes(make, path, (2, other), (0, other), (3, "made up"), (3, ""))
    assert found == ["reset", "continued", "reset", "reset"]


async def test_epoch_of_now_is_valid_up_to_the_head(make, path):
    """A client cannot be ahead of the log."""
    async with make(path) as log:
        await log.begin_epoch()
        await log.append("1")
        assert log.place(1, log.epoch) == (1, "continued")
        assert log.place(2, log.epoch) == (0, "reset")


async def test_client_behind_the_deleted_messages_of_its_epoch_has_a_gap(make, path):
    """It goes on after them; a client whose offset is not valid starts there too."""
    async with make(path, keep=2) as log:
        await log.begin_epoch()
        for text in "abcde":
            await log.append(text)
        assert log.place(1, log.epoch) == (3, "gap")
        assert log.place(3, log.epoch) == (3, "continued")
        assert log.place(1, "made up") == (3, "reset")


async def test_client_without_an_epoch_is_believed_unless_it_is_ahead(make, life, path):
    """The page of the tutorial knows no epoch."""
    await life(path, "1", "2")
    found = await places(make, path, (0, None), (2, None), (3, None))
    assert found == [(0, "continued"), (2, "continued"), (0, "reset")]


async def test_empty_log_continues_only_from_0(make, path):
    """A client with any other offset has it from another log."""
    assert await places(make, path, (0, None), (1, None)) == [(0, "continued"), (0, "reset")]


async def test_opening_a_log_begins_no_epoch(make, path):
    """A lab reads the log of a running server: that changes nothing for the server's clients."""
    async with make(path) as log:
        await log.begin_epoch()
        await log.append("1")
        async with make(path) as other:
            assert [message.text for message in await other.after(0)] == ["1"]
        await log.append("2")
        epoch = log.epoch
    assert await places(make, path, (2, epoch)) == [(2, "continued")]


class OneEpochLog(SqliteKind.make):
    """A log that breaks the contract: all its epochs have the same name."""

    async def begin_epoch(self):
        self.epoch = "the only one"


async def test_log_that_does_not_tell_epochs_apart_fails(path):
    """A control: the check of the suite notices it."""
    with pytest.raises(AssertionError):
        await test_offset_of_an_earlier_epoch_is_valid_up_to_where_that_epoch_came(
            OneEpochLog, partial(kinds.life, OneEpochLog), path
        )
