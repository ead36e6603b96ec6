"""Group commit: who is written together."""

import asyncio

import pytest

from chatlab.log import group_commit
from chatlab.log.group_commit import MAX_BATCH, Batches


async def test_batch_is_what_came_while_the_last_was_written():
    """The first goes alone, the others together, and no batch is too large."""
    written, may_write = [], asyncio.Event()

    async def write(batch):
        written.append(batch)
        await may_write.wait()

    batches = Batches(write)
    batches.put(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for number in range(1, MAX_BATCH + 3):
        batches.put(number)
    may_write.set()
    await batches.close()
    assert [len(batch) for batch in written] == [1, MAX_BATCH, 2]
    assert [number for batch in written for number in batch] == list(range(MAX_BATCH + 3))


@pytest.mark.parametrize(("turns", "size"), [(group_commit.TURNS, 10), (0, 5)])
async def test_senders_that_are_answered_join_those_that_wait(monkeypatch, turns, size):
    """Two groups become one; without turns for it they would alternate for ever."""
    monkeypatch.setattr(group_commit, "TURNS", turns)
    monkeypatch.setattr(group_commit, "clock", lambda: 0)
    sizes, begun = [], asyncio.Event()

    async def write(batch):
        sizes.append(len(batch))
        begun.set()
        for _ in range(5):
            await asyncio.sleep(0)
        for answer in batch:
            answer.set_result(None)

    async def send():
        for _ in range(10):
            answer = asyncio.get_running_loop().create_future()
            batches.put(answer)
            await answer

    batches = Batches(write)
    async with asyncio.TaskGroup() as senders:
        for number in range(10):
            senders.create_task(send())
            if number == 4:
                await begun.wait()
    await batches.close()
    assert sizes[0] == 5
    assert sizes[5] == size


@pytest.mark.parametrize(("watched", "most"), [(True, 5), (False, group_commit.TURNS + 2)])
async def test_who_comes_unasked_waits_no_longer_than_a_write(monkeypatch, watched, most):
    """One item comes in each turn, and a write takes two: batches must not grow by waiting."""
    turns, sizes = 0, []
    monkeypatch.setattr(group_commit, "clock", lambda: turns if watched else 0)

    async def write(batch):
        sizes.append(len(batch))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    batches = Batches(write)
    for turns in range(1000):
        batches.put(turns)
        await asyncio.sleep(0)
    await batches.close()
    assert max(sizes) == most
    assert sum(sizes) == 1000
