"""The checks of the exercises: they say solved, or why not, and raise nothing."""

import asyncio
import sys

import pytest
from histories import history

from chatlab.course import exercise
from chatlab.course.exercise import (
    Judgement,
    judged,
    should_be_valid,
    should_show,
)
from chatlab.course.ladder import Climb, before_closing
from chatlab.history.checker import check
from chatlab.history.events import History
from chatlab.lab.lab import Lab
from chatlab.messages import CHAT_MESSAGE

LOST = ["join ann", "send ann hello", "acknowledge ann 1 hello"]


def lost():
    """The history of a message that was acknowledged, and that no page shows."""
    return history(*LOST)


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
    """The sentence has the first fault of the first that is not valid; unknown is not solved."""
    assert should_be_valid(check(History())) == "not yet: unknown: nothing was sent"
    valid = check(history(*LOST, "show ann 1 hello"))
    assert should_be_valid(valid, valid) == "solved: valid: every message once and in order"
    assert should_be_valid(valid, check(lost())).startswith("not yet: invalid: 1 ")


def test_picture_is_that_of_the_verdict_that_is_wrong():
    """It is drawn when something is wrong, and only then."""
    assert "joins" in str(should_be_valid(check(lost())).diagram)
    assert should_be_valid(check(history(*LOST, "show ann 1 hello"))).diagram is None


def test_part_of_a_long_history_is_drawn():
    """A picture of a thousand rows shows nothing; one of an empty history neither."""
    long = history(*LOST, *["retry ann hello"] * 100)
    assert "steps are left out" in str(Judgement("not yet", long).diagram)
    assert Judgement("not yet", History()).diagram is None


async def test_error_in_a_check_is_a_reason():
    """Of several at once, the first is named; the scenario is drawn up to there."""

    @judged
    async def check(server):
        async with Lab(server) as lab:
            await lab.join("ann")
            raise ExceptionGroup("both", [ValueError("no such thing"), KeyError()])

    said = await check(echo)
    assert said == "not yet: an error came up, ValueError: no such thing"
    assert "joins" in str(said.diagram)


async def test_check_that_does_not_end_is_ended(monkeypatch):
    """After PATIENCE it says what it waits for.

    Here time is up when the message is sent, however long a busy machine takes to get there.
    """
    deadline, asked = asyncio.timeout(None), []
    monkeypatch.setattr(exercise, "timeout", lambda seconds: asked.append(seconds) or deadline)

    @judged
    async def check():
        async with Lab(lambda sio: None) as lab:
            ann = await lab.join("ann")
            deadline.reschedule(0)
            await ann.send("hello")

    said = await check()
    assert said.startswith('not yet: no answer to the message "hello": has it a handler')
    assert asked == [exercise.PATIENCE]


async def test_of_several_judgements_those_are_shown_that_are_not_solved():
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
    assert [line.partition(":")[0] for line in said.splitlines()] == ["not yet"]
    assert "hello" in str(said.diagram)


@pytest.mark.parametrize(("recorded", "shown"), [(None, 1), (lost(), 2)])
def test_notebook_shows_the_sentence_and_the_picture(recorded, shown, monkeypatch):
    """Two outputs, so that the words of the picture are its own; without a picture, one."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: outputs.append(a[0]))
    Judgement("not yet: look", recorded)._ipython_display_()
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


def test_picture_of_a_judgement_knows_what_is_stored():
    """And so does that of a climb: a message that the disk refused has a mark of its own."""
    happened = history(*LOST, "show ann 1 hello")
    happened.stored = lambda: []
    assert "not in the log" in str(Judgement("not yet", happened).diagram)
    assert "not in the log" in str(
        Climb(4, "why", costs={}, history=before_closing(happened)).diagram()
    )
