"""Picture, table and verdict of one history: what one says, the others say.

Seeded histories in which messages meet every fate; then the same with lies, each of which is found.
"""

import re
from html import unescape
from random import Random

import pytest
from test_diagram import NAMES, World

from chatlab.history import check
from chatlab.history.diagram import Diagram
from chatlab.history.events import Event
from chatlab.messages import Message

SEEDS = range(300)
LENGTH = 14
MARKS = ("lost", "deleted", "unanswered", "not in the log", "refused")
NAMED = ("again", "late", "catch-up")
ACTS = (
    "send",
    "send",
    "send",
    "drop",
    "drop",
    "reconnect",
    "reload",
    "gap",
    "gap",
    "gap",
    "repeat",
    "close",
    "join",
)


class FullWorld(World):
    """A world in which the log deletes messages, the disk refuses some, and answers get lost."""

    def __init__(self, seed):
        super().__init__(numbered=True)
        self.random, self.trimmed = Random(seed), 0
        for name in NAMES[:3]:
            self.act("join", name, 2)
        for _ in range(LENGTH):
            kind, who = self.random.choice(ACTS), self.random.choice(NAMES[:3])
            if kind == "gap":
                self.tell_gap(who)
            elif kind == "repeat":
                self.repeat(who)
            else:
                self.act(kind, who, self.random.randrange(4))
        recorded = self.heard(self.random)
        stored = [Message(offset, text) for _, text, offset in self.log[self.trimmed :]]
        recorded.stored = lambda: stored
        self.history = recorded
        self.verdict = check(recorded, stored, trimmed=self.trimmed)
        self.diagram = Diagram(recorded).whole()

    def send(self, who, luck):
        """Beside what may become of a message in any world: stored and no more, or shown only."""
        fate = self.random.choice(["as ever", "as ever", "stored only", "shown only"])
        if fate == "as ever":
            super().send(who, luck)
            return
        text, offset = f"message {len(self.events)}", len(self.log) + 1
        self.add(Event("send", who, text), "action", who)
        row = len(self.events) - 1, text, offset
        if fate == "stored only":
            self.log.append(row)
            return
        self.add(Event("acknowledge", who, text, offset), (who, "answer"), causes=[row[0]])
        for tab in sorted(self.up):
            self.show(tab, *row)

    def tell_gap(self, who):
        """Let a tab come back after the log has deleted all messages but the newest."""
        if who in self.joined - self.up and len(self.log) > 1:
            self.trimmed = len(self.log) - 1
            self.add(Event("reconnect", who), "action", who)
            self.up.add(who)
            self.add(Event("gap", who, None, self.trimmed), "action", who)
            self.show(who, *self.log[-1])

    def repeat(self, who):
        """Let an answer get lost, after another tab has shown the message."""
        others = sorted(self.up - {who})
        if who not in self.up or not others:
            return
        text, offset = f"message {len(self.events)}", len(self.log) + 1
        self.add(Event("send", who, text), "action", who)
        row = len(self.events) - 1, text, offset
        self.log.append(row)
        for tab in others:
            self.show(tab, *row)
        for kind in ("drop", "reconnect"):
            self.add(Event(kind, who), "action", who)
        self.add(Event("retry", who, text), "action", who, causes=range(row[0], len(self.events)))
        causes = [len(self.events) - 1]
        self.add(Event("acknowledge", who, text, offset), (who, "answer"), causes=causes)
        self.show(who, *row)


def arrivals(diagram, how):
    """The tab and the message of all arrivals of a kind."""
    return {
        (who, Message(one.offset, one.text))
        for step in diagram.steps
        for who, ones in step.arrivals.items()
        for one in ones
        if one.how == how
    }


def faults(verdict, kind):
    return {(fault.who, fault.message) for fault in verdict.faults if fault.kind == kind}


def loaded_after(history, who, message):
    """Whether the page of a tab was loaded after this message was sent, or has never been."""
    events = list(history)
    sent = events.index(next(e for e in events if e.kind == "send" and e.text == message.text))
    loads = [n for n, e in enumerate(events) if e.who == who and e.kind in ("join", "reload")]
    return max(loads) > sent


def contradictions(world, svg, table):
    """Say where the picture, the table, the steps and the verdict differ."""
    diagram, verdict, found = world.diagram, world.verdict, []

    def same(what, *values):
        found.extend([f"{what}: {values}"] if any(v != values[0] for v in values) else [])

    words = [unescape(text) for text in re.findall("<text[^>]*>([^<]*)</text>", svg)]
    for mark in MARKS:
        same(mark, words.count(mark), len(re.findall(rf"\({mark}\)|; {mark}", table)))
    for mark in NAMED:
        drawn = [word.partition(": ")[2] for word in words if word.startswith(f"{mark}: ")]
        said = re.findall(rf"{mark}: ((?:\d+, )*\d+)", table)
        same(mark, sorted(drawn), sorted(", ".join(said).split(", ") if said else []))
    told = "is told of a gap"
    same("gaps", words.count(told), table.count(told), verdict.gaps)
    same("again", arrivals(diagram, "again"), faults(verdict, "duplicated"))
    same("late", arrivals(diagram, "late"), faults(verdict, "reordered"))
    shown = {message for how in ("live", "catch-up") for _, message in arrivals(diagram, how)}
    not_stored = {
        Message(step.offset, step.actions[0].text) for step in diagram.steps if not step.stored
    }
    same("not stored", not_stored & shown, {message for _, message in faults(verdict, "phantom")})
    there = world.up & world.joined
    lost = {
        one for one in arrivals(diagram, "lost") if one[0] in there and one[1] not in not_stored
    }
    judged = {
        (who, message)
        for who, message in faults(verdict, "lost")
        if who in there and not loaded_after(world.history, who, message)
    }
    same("lost", {one for one in lost if not loaded_after(world.history, *one)}, judged)
    same("deleted", arrivals(diagram, "deleted") & faults(verdict, "lost"), set())
    return found


@pytest.fixture(scope="module")
def worlds():
    return [FullWorld(seed) for seed in SEEDS]


def test_picture_table_and_verdict_say_the_same(worlds):
    """Of every message, whatever becomes of it."""
    found = {
        seed: said
        for seed, world in enumerate(worlds)
        if (said := contradictions(world, world.diagram.svg, str(world.diagram)))
    }
    assert found == {}


def test_every_fate_happens(worlds):
    """The control: none of these is only said of nothing."""
    tables = "\n".join(str(world.diagram) for world in worlds)
    for mark in (*MARKS, *NAMED, "is told of a gap"):
        assert tables.count(mark) > 5, mark


def change(how, other):
    """A lie about the arrivals of a kind."""

    def lie(diagram):
        ones = [one for step in diagram.steps for ones in step.arrivals.values() for one in ones]
        for one in ones:
            one.how = other if one.how == how else one.how

    return lie


def hide_not_stored(diagram):
    for step in diagram.steps:
        step.stored = True


def hide_gap(diagram):
    diagram.steps[:] = [step for step in diagram.steps if step.actions[0].kind != "gap"]
    diagram.whole()


LIES = {
    "a lost message is shown": change("lost", "live"),
    "a lost message is deleted": change("lost", "deleted"),
    "a deleted message is lost": change("deleted", "lost"),
    "a duplicate is no duplicate": change("again", "catch-up"),
    "a late message is in time": change("late", "catch-up"),
    "everything is stored": hide_not_stored,
    "nobody is told of a gap": hide_gap,
}


@pytest.mark.parametrize("lie", LIES)
def test_lie_of_picture_and_table_is_found(lie):
    """They agree with each other, and not with the verdict."""
    found = 0
    for seed in SEEDS:
        world = FullWorld(seed)
        LIES[lie](world.diagram)
        found += bool(contradictions(world, world.diagram.svg, str(world.diagram)))
    assert found > 5


@pytest.mark.parametrize("word", ["lost", "deleted", "not in the log", "unanswered"])
def test_lie_of_the_picture_alone_is_found(worlds, word):
    """Another word in one place."""
    drawn = [world for world in worlds if f">{word}<" in world.diagram.svg]
    assert len(drawn) > 5
    for world in drawn:
        svg = world.diagram.svg.replace(f">{word}<", ">fine<", 1)
        assert contradictions(world, svg, str(world.diagram))
