"""The exercise of 90: wrong answers, right ones, and the mutants; nobody waits five seconds."""

import queue
import threading

import pytest
from answers import Exercise

from chatlab.exercises import event_loops

HAND_OVER = "asyncio.run_coroutine_threadsafe(coroutine, loop)"
RESULT = f"{HAND_OVER}.result(5)"
TOO_LATE = "for a coroutine that does not end, it waits much longer than five seconds"
NO_RESULT = "it returns a value of type NoneType, and the coroutine has returned 42"
TRY = f"try:\n        return {RESULT}\n    except {{}}:\n        return None"
POLL = (
    f"future = {HAND_OVER}\n    while not future.done():\n        {{}}\n    return future.result()"
)
QUEUE = f"""answers = queue.Queue()
    {HAND_OVER}.add_done_callback(answers.put)
    try:
        return answers.get(timeout={{}}).result()
    except queue.Empty:
        raise TimeoutError from None"""
CONDITION = f"""over = threading.Condition()
    def tell(future):
        with over:
            over.notify()
    future = {HAND_OVER}
    with over:
        future.add_done_callback(tell)
        if not over.wait_for(future.done, 5):
            raise TimeoutError
    return future.result()"""
WRONG = [
    (f"return {RESULT}", f"return {HAND_OVER}", "it returns a value of type Future, and the corou"),
    (f"return {RESULT}", RESULT, NO_RESULT),
    ("result(5)", "result", "it returns a value of type method, and the coroutine has returned 42"),
    ("result(5)", "result()", TOO_LATE),
    ("result(5)", "result(timeout=5000)", TOO_LATE),
    ("result(5)", "result(6)", "it gives up after 6 seconds, and five were asked for"),
    ("result(5)", "result(0.5)", "it gives up after 0.5 seconds, and five were asked for"),
    ("result(5)", "exception(5)", NO_RESULT),
    (f"return {RESULT}", QUEUE.format(6), "it gives up after 6 seconds, and five were asked for"),
    (f"return {RESULT}", QUEUE.format(None), TOO_LATE),
    (RESULT, f"{RESULT} or 0", "of type int, and the coroutine has returned None"),
    (f"return {RESULT}", TRY.format("TimeoutError"), "without a result it returns None, and Time"),
    (f"return {RESULT}", TRY.format("Exception"), "the coroutine raised an error, and nobody is"),
    (RESULT, "asyncio.run(coroutine)", "cannot be called from a running event loop, in the line"),
    (RESULT, "loop.run_until_complete(coroutine)", "This event loop is already running, in the"),
    (RESULT, "loop.create_task(coroutine)", "it returns a value of type Task, and the coroutine"),
    ("coroutine, loop", "coroutine", "missing 1 required positional argument: 'loop', in the line"),
    ("coroutine, loop", "loop, coroutine", "TypeError: A coroutine object is required, in the"),
    ("coroutine, loop", "coroutine, asyncio.get_running_loop()", "does the coroutine not run on"),
    (RESULT, "ThreadPoolExecutor().submit(asyncio.run, coroutine).result(5)", "run on `loop`"),
    ("def bridge", "async def bridge", "it has to be a plain function, not an `async` one"),
    (f"return {RESULT}", "coroutine.close()\n    return 42", "the coroutine did not run on `loop`"),
    (
        f"return {RESULT}",
        f"got = {RESULT}\n    loop.call_soon_threadsafe(loop.stop)\n    return got",
        "it stops the loop, which others still need",
    ),
    (
        f"return {RESULT}",
        f"got = {RESULT}\n    loop.call_soon_threadsafe(loop.stop)\n"
        "    while not loop.is_closed():\n        pass\n    return got",
        "it stops the loop, which others still need",
    ),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [
    ("result(5)", "result(timeout=5)"),
    (
        "run_coroutine_threadsafe(coroutine, loop)",
        "run_coroutine_threadsafe(loop=loop, coro=coroutine)",
    ),
    (RESULT, "asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, 5), loop).result()"),
    (
        f"return {RESULT}",
        f"future = {HAND_OVER}\n    wait([future], 5)\n    return future.result(0)",
    ),
    (
        f"return {RESULT}",
        f"future, done = {HAND_OVER}, threading.Event()\n"
        "    future.add_done_callback(lambda future: done.set())\n"
        "    if not done.wait(5):\n        raise TimeoutError\n    return future.result()",
    ),
    (f"return {RESULT}", QUEUE.format(5)),
    (f"return {RESULT}", CONDITION),
]
EQUIVALENT = {}
"""Mutants that are right too, with the reason."""


@pytest.fixture
def exercise():
    """The exercise; what answers may use besides what the chapter imports is imported."""
    made = Exercise("90")
    made.run("import queue\nfrom concurrent.futures import ThreadPoolExecutor, wait")
    return made


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_is_told_why(exercise, old, new, said):
    """In the words of the lesson, or with the error and its line; no thread is left."""
    judgement = await exercise.changed(old, new)
    assert judgement.startswith("not yet: ")
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_is_solved(exercise, old, new):
    """However it waits: with a future, a timeout of asyncio, an event, a queue or a condition."""
    assert (await exercise.changed(old, new)).solved


async def test_answer_that_asks_again_and_again_without_end_is_ended(exercise, monkeypatch):
    """It does not wait, so no clock can go on for it; the coroutine ends after some time."""
    monkeypatch.setattr(event_loops, "PATIENCE", 0.2)
    said = await exercise.changed(f"return {RESULT}", POLL)
    assert said == f"not yet: {TOO_LATE}"


async def test_check_leaves_nothing_behind(exercise):
    """Not its threads, and not its way of waiting, nor its clocks."""
    before, wait = set(threading.enumerate()), threading.Condition.wait
    clocks = queue.time, threading._time
    assert (await exercise.changed("", "")).solved
    assert set(threading.enumerate()) <= before
    assert threading.Condition.wait is wait
    assert (queue.time, threading._time) == clocks


async def test_no_mutant_of_the_solution_is_solved():
    """But for those that are as right."""
    assert {name async for name in Exercise("90").accepted()} == set(EQUIVALENT)


@pytest.mark.parametrize("turns", range(1, 5))
async def test_result_is_not_missed(exercise, turns, monkeypatch):
    """However few turns the loop has between the end of the coroutine and that of the time."""
    monkeypatch.setattr(event_loops, "TURNS", turns)
    assert (await exercise.changed("", "")).solved
