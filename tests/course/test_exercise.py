"""The checks of the exercises: they say solved, or why not, and raise nothing."""

import sys

import pytest

from chatlab.course.exercise import (
    Judgement,
    judged,
    should_be_valid,
    should_go_wrong,
    should_show,
)
from chatlab.history.checker import check
from chatlab.history.events import History
from chatlab.lab.lab import Lab
from chatlab.messages import CHAT_MESSAGE


def echo(sio):
    """Send a text back to the tab that it came from."""

    @sio.on(CHAT_MESSAGE)
    async def chat_message(sid, text):
        await sio.emit(CHAT_MESSAGE, text, to=sid)


async def test_check_of_an_exercise_says_solved_or_why_not():
    """The sentence names the tab and what its page shows."""
    async with Lab(echo) as lab:
        ann = await lab.join("ann")
        assert should_show(ann) == "solved: ann's page shows nothing"
        await ann.send("hello")
        await lab.quiet()
        assert should_show(ann, "hello") == "solved: ann's page shows ['hello']"
        assert should_show(ann, "HELLO").startswith("not yet: ann's page shows ['hello']")


def test_verdicts_of_an_exercise_say_solved_or_why_not():
    """The first one that is not valid is told, with its first fault; a doubt is not solved."""
    history = History()
    assert should_be_valid(check(history)) == "not yet: unknown: nothing was sent"
    history.record("join", "ann")
    history.record("send", "ann", "hello")
    history.record("acknowledge", "ann", "hello", 1)
    lost = check(history)
    history.record("show", "ann", "hello", 1)
    valid = check(history)
    assert should_be_valid(valid, valid) == "solved: valid: every message once and in order"
    assert should_be_valid(valid, lost).startswith("not yet: invalid: 1 ")


def lost():
    """The history of a message that was acknowledged, and that nobody sees."""
    history = History()
    history.record("join", "ann")
    history.record("send", "ann", "hello")
    history.record("acknowledge", "ann", "hello", 1)
    return history


def test_exercise_in_breaking_says_whether_it_is_broken():
    """The fault that was asked for solves it, and no other does."""
    verdict = check(lost())
    assert should_go_wrong(verdict, "missing") == "solved: invalid: 1 missing"
    assert should_go_wrong(verdict, "duplicated").startswith("not yet: invalid: ")


def test_picture_is_that_of_the_verdict_that_is_wrong():
    """It is drawn when something is wrong, and only then."""
    assert "joins" in str(should_be_valid(check(lost())).diagram)
    history = lost()
    history.record("show", "ann", "hello", 1)
    assert should_be_valid(check(history)).diagram is None


def test_history_that_is_too_long_is_not_drawn():
    """A picture of a thousand rows shows nothing; one of an empty history neither."""
    history = lost()
    for _ in range(100):
        history.record("retry", "ann", "hello")
    assert Judgement("not yet", history).diagram is None
    assert Judgement("not yet", History()).diagram is None


async def test_error_in_a_check_is_a_reason():
    """Of several at once, the first is told; the evening is drawn up to there."""

    @judged
    async def check(server):
        async with Lab(server) as lab:
            await lab.join("ann")
            raise ExceptionGroup("both", [ValueError("no such thing"), KeyError()])

    said = await check(echo)
    assert said == "not yet: an error came up, ValueError: no such thing"
    assert "joins" in str(said.diagram)


async def test_check_that_does_not_end_is_ended(monkeypatch):
    """After some patience it says what it waits for."""
    monkeypatch.setattr("chatlab.course.exercise.PATIENCE", 0.2)

    @judged
    async def check():
        async with Lab(lambda sio: None) as lab:
            ann = await lab.join("ann")
            await ann.send("hello")

    said = await check()
    assert said.startswith('not yet: no answer to the message "hello": has it a handler')


async def test_several_judgements_are_told_one_by_one():
    """They are solved when all are; the picture is that of the first that is not."""

    @judged
    async def check(*shown):
        async with Lab(echo) as lab:
            ann = await lab.join("ann")
            await ann.send("hello")
            await lab.quiet()
            return [should_show(ann, text) for text in shown]

    assert (await check("hello", "hello")).solved
    said = await check("hello", "HELLO")
    assert not said.solved
    assert [line.partition(":")[0] for line in said.splitlines()] == ["solved", "not yet"]
    assert "hello" in str(said.diagram)


@pytest.mark.parametrize(("history", "shown"), [(None, 1), (lost(), 2)])
def test_notebook_shows_the_sentence_and_the_picture(history, shown, monkeypatch):
    """Two outputs, so that the words of the picture are its own; without a picture, one."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: outputs.append(a[0]))
    Judgement("not yet: look", history)._ipython_display_()
    assert outputs[0] == {"text/plain": "not yet: look"}
    assert len(outputs) == shown


def test_exercise_that_ends_the_program_is_not_solved():
    """`exit()` in a cell is an error like any other."""
    said = judged(lambda attempt: attempt())(sys.exit)
    assert not said.solved and "SystemExit" in said


def test_text_that_says_not_yet_is_no_verdict():
    """A page may show anything."""
    assert Judgement("solved: bob's page shows ['not yet']").solved
    assert not Judgement("solved: the first\nnot yet: the second").solved
