"""Mistakes in a cell: each is one sentence, and a right cell is none."""

import asyncio
import gc
import inspect
import warnings

import pytest

from chatlab.mistakes import BadArgument, BadMoment, NotAwaited, awaited, expect, is_count


@awaited
class Bell:
    """Something with a coroutine that is forgotten easily."""

    async def ring(self, times=1):
        await asyncio.sleep(0)
        return ["ding"] * times

    async def _own(self):
        """Nobody else calls it."""


@pytest.mark.parametrize("mistake", [BadArgument, BadMoment, NotAwaited])
def test_notebook_shows_the_sentence_alone(mistake):
    """No traceback: IPython asks the error itself what to show."""
    assert mistake("write it so")._render_traceback_() == ["write it so"]


def test_value_that_does_not_fit_is_named_with_the_rule():
    """And one that fits is let through."""
    expect(True, "a bell has one sound", "dong")
    with pytest.raises(BadArgument, match=r"^a bell has one sound, not 'dong'$"):
        expect(False, "a bell has one sound", "dong")


@pytest.mark.parametrize(
    ("value", "least", "fits"), [(0, 0, True), (0, 1, False), (True, 0, False), (1.0, 0, False)]
)
def test_number_of_things_is_whole(value, least, fits):
    """`True` is an int for Python, and no number of things."""
    assert is_count(value, least) == fits


async def test_call_that_is_awaited_is_like_any_other():
    """Directly, in a task, with others, in time; and what is private is left alone."""
    bell = Bell()
    assert await bell.ring(2) == ["ding"] * 2
    assert await asyncio.create_task(bell.ring()) == ["ding"]
    assert await asyncio.gather(bell.ring(), bell.ring()) == [["ding"]] * 2
    assert await asyncio.wait_for(bell.ring(), 1) == ["ding"]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bell.ring())
    assert "write `await`" not in repr(task)
    own = bell._own()
    assert inspect.iscoroutine(own)
    await own


USES = {
    "an attribute": lambda call: call.messages,
    "two names": lambda call: [*call],
    "a place": lambda call: call[0],
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_use_of_a_call_that_is_not_awaited_names_the_await(use):
    """At once, where Python would only say that a coroutine has no such attribute."""
    call = Bell().ring()
    with pytest.raises(NotAwaited, match="write `await` before the call of `ring`, and brackets"):
        use(call)
    assert not hasattr(call, "messages")
    call.close()


def test_call_that_a_cell_ends_with_shows_the_sentence():
    """A notebook shows its repr, and asks it for pictures that it does not have."""
    call = Bell().ring()
    assert repr(call) == "nothing has happened yet: write `await` before the call of `ring`"
    assert not hasattr(call, "_repr_html_")
    call.close()
    assert "coroutine object" in repr(call)


def test_call_that_is_dropped_is_an_error_where_somebody_listens():
    """Else it is a warning that names the line; Python itself says nothing more."""
    heard = []
    ring = awaited(Bell.ring.__wrapped__, heard.append)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ring(Bell())
        gc.collect()
        assert (len(heard), said) == (1, [])
        assert "before the call of `ring`" in str(heard[0])
        Bell().ring()
        gc.collect()
    [warning] = said
    assert (
        str(warning.message) == "nothing has happened yet: write `await` before the call of `ring`"
    )
    assert warning.filename == __file__


async def test_call_that_is_awaited_or_cancelled_is_no_error():
    """Not even a task that is cancelled before it begins."""
    heard = []
    ring = awaited(Bell.ring.__wrapped__, heard.append)
    await ring(Bell())
    task = asyncio.create_task(ring(Bell()))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gc.collect()
    assert heard == []


async def test_method_of_a_coroutine_that_was_meant_for_its_result_says_so():
    """A coroutine has a `send` of its own, and so has a tab."""
    with pytest.raises(NotAwaited, match="write `await` before the call of `ring`"):
        Bell().ring().send("hello")
