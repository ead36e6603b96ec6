"""Picture, table and verdict of one history: what one says, the others say.

Seeded histories in which messages meet every fate; then the same with lies, each of which is found.
"""

import re
from dataclasses import replace
from html import unescape
from random import Random

import pytest
from test_diagram import NAMES, World, spread

from chatlab.history import check
from chatlab.history.checker import Fault
from chatlab.history.diagram import Diagram
from chatlab.history.events import Event
from chatlab.history.step import ARRIVE
from chatlab.history.words import GETS
from chatlab.messages import Message

SEEDS = range(400)
LENGTH = 14
MARKS = ("lost", "deleted", "unanswered", "not in the log", "refused", "held up")
NAMED = ("again", "late", "catch-up")
KINDS = ("lost", "duplicated", "reordered", "sent in turn", "phantom", "missing")
"""The kinds of faults; "sent in turn" is what is reordered in the log, of one sender."""
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
    "post",
    "post",
    "repeat",
    "store twice",
    "overtake",
    "close",
    "join",
)


class FullWorld(World):
    """A world in which the log deletes messages, the disk refuses some, and answers get lost.

    Some texts are said again, by the same person or by another one: those are other messages. With
    `servers`, each connection is to one of them, by chance.
    """

    def __init__(self, seed, servers=1):
        super().__init__(numbered=True)
        self.random, self.trimmed = Random(seed), 0
        self.said = []
        """Texts that were sent and answered: people say them again."""
        self.posted = {name: [] for name in NAMES}
        """The texts in the outbox of each tab that has no connection."""
        self.sent_in = {}
        """For each message the event that sent it."""
        for name in NAMES[:3]:
            self.act("join", name, 2)
        own = {
            "gap": self.tell_gap,
            "post": self.post,
            "repeat": self.repeat,
            "store twice": self.store_twice,
            "overtake": self.overtake,
        }
        for _ in range(LENGTH):
            kind, who = self.random.choice(ACTS), self.random.choice(NAMES[:3])
            if kind in own:
                own[kind](who)
            else:
                self.act(kind, who, self.random.randrange(4))
                self.empty_outbox(who)
        if servers > 1:
            spread(self, servers, self.random)
        recorded = self.heard(self.random)
        stored = [Message(offset, text) for _, text, offset in self.log[self.trimmed :]]
        recorded.stored = lambda: stored
        self.history = recorded
        self.verdict = check(recorded, stored, trimmed=self.trimmed)
        self.diagram = Diagram(recorded).whole()

    def new_text(self):
        """Return a text: one that was said before, now and then."""
        if self.said and self.random.random() < 0.3:
            return self.random.choice(self.said)
        return super().new_text()

    def add(self, event, *lines, causes=()):
        """Keep what is said again in mind: what is under way, or was lost, is not.

        Nobody says a text again before the answer, and before everybody has it who gets it.
        """
        if event.kind in ("write", "send", "retry"):
            causes = [number for number, old in enumerate(self.events) if old.text == event.text]
        super().add(event, *lines, causes=causes)
        if event.kind in ("write", "send"):
            self.said = [text for text in self.said if text != event.text]
        elif event.kind == "acknowledge":
            self.said.append(event.text)

    def begin(self, who, text, kind="send"):
        """Let someone send a text; return what the log would hold."""
        self.add(Event(kind, who, text), "action", who)
        row = len(self.events) - 1, text, len(self.log) + 1
        self.sent_in[Message(row[2], text)] = row[0]
        return row

    def end(self, who, row, tabs):
        """Let a message be answered, and shown by some tabs."""
        answer = Event("acknowledge", who, *row[1:])
        self.add(answer, (who, "answer"), causes=range(row[0], len(self.events)))
        for tab in sorted(tabs):
            self.show(tab, *row)

    def send(self, who, luck):
        """Beside what may become of a message in any world: stored and no more, or shown only."""
        fate = self.random.choice(["as ever", "as ever", "stored only", "shown only"])
        if fate == "as ever":
            sent = len(self.events)
            super().send(who, luck)
            self.sent_in[Message(len(self.log) if luck < 2 else None, self.events[sent].text)] = (
                sent
            )
        elif fate == "stored only":
            self.log.append(self.begin(who, self.new_text()))
        else:
            row = self.begin(who, super().new_text())
            self.end(who, row, self.up)
            self.said.remove(row[1])

    def tell_gap(self, who):
        """Let a tab come back after the log has deleted all messages but the newest."""
        if who in self.joined - self.up and len(self.log) > 1:
            self.trimmed = len(self.log) - 1
            self.add(Event("reconnect", who), "action", who)
            self.up.add(who)
            self.add(Event("gap", who, None, self.trimmed), "action", who)
            self.show(who, *self.log[-1])
            self.empty_outbox(who)

    def post(self, who):
        """Let a tab without a connection put a message into its outbox."""
        if who in self.joined - self.up:
            text = self.new_text()
            self.add(Event("write", who, text), "action", who)
            self.posted[who].append(text)

    def empty_outbox(self, who):
        """Let a tab send what it has written, once it has a connection."""
        if who not in self.joined:
            self.posted[who].clear()
        while who in self.up and self.posted[who]:
            row = self.begin(who, self.posted[who].pop(0), "retry")
            self.log.append(row)
            self.end(who, row, self.up)

    def repeat(self, who):
        """Let an answer get lost, after another tab has shown the message."""
        others = self.up - {who}
        if who in self.up and others:
            row = self.lose_answer(who, others)
            self.add(Event("retry", who, row[1]), "action", who)
            self.end(who, row, {who})

    def store_twice(self, who):
        """Let an answer get lost, and the message be stored again: the outbox has no keys."""
        if who in self.up:
            row = self.lose_answer(who, self.random.choice([self.up, self.up - {who}]))
            if self.random.random() < 0.5:
                self.show(who, *row)
            again = self.begin(who, row[1], "retry")
            self.log.append(again)
            self.end(who, again, self.up)

    def lose_answer(self, who, tabs):
        row = self.begin(who, self.new_text())
        self.log.append(row)
        for tab in sorted(tabs):
            self.show(tab, *row)
        for kind in ("drop", "reconnect"):
            self.add(Event(kind, who), "action", who)
        return row

    def overtake(self, who):
        """Let a message be held up, and another one overtake it: of anybody."""
        if who in self.up:
            slow = self.begin(who, super().new_text())
            other = self.random.choice(sorted(self.up))
            fast = self.begin(other, super().new_text())
            self.log.append(fast)
            self.end(other, fast, self.up)
            slow = slow[0], slow[1], len(self.log) + 1
            self.sent_in[Message(slow[2], slow[1])] = slow[0]
            self.log.append(slow)
            self.end(who, slow, self.up)

    @property
    def overtaken(self):
        """The messages in the log that were sent before one with a smaller offset."""
        sent = [self.sent_in[Message(offset, text)] for _, text, offset in self.log]
        return {
            Message(offset, text)
            for (_, text, offset), before in zip(self.log, sent, strict=True)
            if any(after > before for after in sent[: offset - 1])
        }

    def loaded_after(self, who, message):
        """Whether the page of a tab was loaded after this message was sent, or has never been."""
        loads = [
            number
            for number, event in enumerate(self.events)
            if event.who == who and event.kind in ("join", "reload")
        ]
        return max(loads) > self.sent_in[message]


def every(diagram, how):
    """The tab and the message of each arrival of a kind."""
    return [
        (who, Message(one.offset, one.text))
        for step in diagram.steps
        for who, ones in step.arrivals.items()
        for one in ones
        if one.how == how
    ]


def arrivals(diagram, how):
    return set(every(diagram, how))


def faults(verdict, kind):
    """The client and the message of all faults of a kind."""
    in_turn = kind == "sent in turn"
    return {
        (fault.who, fault.message)
        for fault in verdict.faults
        if fault.kind == ("reordered" if in_turn else kind)
        and (kind != "reordered" or fault.evidence[0].kind == "show")
        and (not in_turn or fault.evidence[0].kind == "acknowledge")
    }


def out_of_turn(diagram, history):
    """What the picture says of one sender's messages: those that arrive after one sent later."""
    found, newest = set(), {}
    answered = {(e.who, e.text) for e in history if e.kind == "acknowledge"}
    texts = [event.text for event in history if event.kind in ("write", "send")]
    arrived = {
        (step.actions[0].who, step.actions[0].text): step.offset
        for step in diagram.steps
        if step.brings and step.fate == "arrived"
    }
    for step in diagram.steps:
        [(who, text)] = {(event.who, event.text) for event in step.actions[:1]}
        offset = arrived.get((who, text))
        first = step.actions[0].kind == "send" and offset and (who, text) in answered
        if first and texts.count(text) == 1:
            if offset < newest.get(who, offset):
                found.add((who, Message(offset, text)))
            newest[who] = max(newest.get(who, offset), offset)
    return found


def summed_up(summary, how):
    """How many messages the sentence says that tabs get in some way."""
    before, after = map(re.escape, GETS[how].split("{}"))
    said = re.findall(f"[;:] [a-z]+ {before}([^;]*){after}(?=[;.])", summary)
    return sum(
        int(some.split()[0]) if some.endswith("messages") else some.count('"') // 2 for some in said
    )


def contradictions(world, svg, table):
    """Say where the picture, the table, the sentence, the steps and the verdict differ."""
    diagram, verdict, found = world.diagram, world.verdict, []

    def same(what, *values):
        found.extend([f"{what}: {values}"] if any(v != values[0] for v in values) else [])

    happened = [event.kind for event in world.history]
    words = [unescape(text) for text in re.findall("<text[^>]*>([^<]*)</text>", svg)]
    for mark in MARKS:
        same(mark, words.count(mark), len(re.findall(rf"\({mark}\)|; {mark}", table)))
    same("refused", words.count("refused"), happened.count("refuse"))
    writes = sum(word.startswith("writes ") for word in words)
    same("waits", writes, table.count("(waits)"), happened.count("write"))
    for mark in NAMED:
        drawn = [word.partition(": ")[2] for word in words if word.startswith(f"{mark}: ")]
        said = re.findall(rf"{mark}: ((?:\d+, )*\d+)", table)
        same(mark, sorted(drawn), sorted(", ".join(said).split(", ") if said else []))
    summary = diagram.summary
    for how in GETS:
        same(f"{how} in the sentence", summed_up(summary, how), len(every(diagram, how)))
    told = "is told of a gap"
    same("gaps", words.count(told), table.count(told), verdict.gaps)
    same("again", arrivals(diagram, "again"), faults(verdict, "duplicated"))
    same("late", arrivals(diagram, "late"), faults(verdict, "reordered"))
    same("in turn", out_of_turn(diagram, world.history), faults(verdict, "sent in turn"))
    held = {step.actions[0].text for step in diagram.steps if step.fate == "held up"}
    arrive = {step.actions[0].text for step in diagram.steps if step.actions[0].kind == ARRIVE}
    same("held up", held, arrive, {message.text for message in world.overtaken})
    absent = {
        (step.actions[0].who, Message(step.offset, step.actions[0].text))
        for step in diagram.steps
        if not step.stored
    }
    not_stored = {message for _, message in absent}
    shown = arrivals(diagram, "live") | arrivals(diagram, "catch-up")
    same("phantom", {one for one in shown if one[1] in not_stored}, faults(verdict, "phantom"))
    same("missing", absent, faults(verdict, "missing"))
    there = world.up & world.joined
    lost = {
        one for one in arrivals(diagram, "lost") if one[0] in there and one[1] not in not_stored
    }
    judged = {
        (who, message)
        for who, message in faults(verdict, "lost")
        if who in there and not world.loaded_after(who, message)
    }
    same("lost", {one for one in lost if not world.loaded_after(*one)}, judged)
    deleted = arrivals(diagram, "deleted") & faults(verdict, "lost")
    same("deleted", {one for one in deleted if not world.loaded_after(*one)}, set())
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
    for mark in (*MARKS, *NAMED, "(waits)", "is told of a gap"):
        assert tables.count(mark) > 5, mark
    for kind in KINDS:
        assert sum(bool(faults(world.verdict, kind)) for world in worlds) > 5, kind


def test_equal_texts_happen(worlds):
    """The control: of one sender, of two, and of one message that is stored twice."""
    one = two = twice = 0
    for world in worlds:
        senders = {}
        for event in world.history:
            if event.kind in ("write", "send"):
                senders.setdefault(event.text, []).append(event.who)
        one += any(len(who) > len(set(who)) for who in senders.values())
        two += any(len(set(who)) > 1 for who in senders.values())
        texts = [text for _, text, _ in world.log]
        twice += any(texts.count(text) > len(senders[text]) for text in texts)
    assert min(one, two, twice) > 20


def change(how, other):
    """A lie about the arrivals of a kind."""

    def lie(diagram):
        ones = [one for step in diagram.steps for ones in step.arrivals.values() for one in ones]
        for one in ones:
            one.how = other if one.how == how else one.how

    return lie


def change_fate(fate, other):
    """A lie about what became of the messages of a kind."""

    def lie(diagram):
        for step in diagram.steps:
            step.fate = other if step.fate == fate else step.fate

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
    "a message in time is a duplicate": change("catch-up", "again"),
    "a late message is in time": change("late", "catch-up"),
    "a refused message is lost": change_fate("refused", "lost"),
    "a lost message is refused": change_fate("lost", "refused"),
    "a message that waits is lost": change_fate("waits", "lost"),
    "a message that is held up waits": change_fate("held up", "waits"),
    "a message that is held up is lost": change_fate("held up", "lost"),
    "everything is stored": hide_not_stored,
    "nobody is told of a gap": hide_gap,
}


@pytest.mark.parametrize("lie", LIES)
def test_lie_of_picture_and_table_is_found(lie):
    """They agree with each other, and not with the verdict, nor with what happened."""
    found = 0
    for seed in SEEDS[:150]:
        world = FullWorld(seed)
        LIES[lie](world.diagram)
        found += bool(contradictions(world, world.diagram.svg, str(world.diagram)))
    assert found > 5


@pytest.mark.parametrize(
    "word",
    ["lost", "deleted", "not in the log", "unanswered", "refused", "held up", "is told of a gap"],
)
def test_lie_of_the_picture_alone_is_found(worlds, word):
    """Another word in one place."""
    drawn = [world for world in worlds if f">{word}<" in world.diagram.svg]
    assert len(drawn) > 5
    for world in drawn[:50]:
        svg = world.diagram.svg.replace(f">{word}<", ">fine<", 1)
        assert contradictions(world, svg, str(world.diagram))


@pytest.mark.parametrize(
    ("word", "lie"),
    [
        ("(lost)", "shows it"),
        ("(lost)", "(refused)"),
        ("(deleted)", "(lost)"),
        ("; (unanswered)", ""),
        ("; not in the log", ""),
        ("(refused)", "(lost)"),
        ("(waits)", "(lost)"),
        ("(held up)", "(lost)"),
        ("again: ", "catch-up: "),
        ("late: ", "catch-up: "),
        ("catch-up: ", "late: "),
        ("is told of a gap", "reconnects"),
    ],
)
def test_lie_of_the_table_alone_is_found(worlds, word, lie):
    """Other words in one place."""
    written = [world for world in worlds if word in str(world.diagram)]
    assert len(written) > 5
    for world in written[:50]:
        assert contradictions(world, world.diagram.svg, str(world.diagram).replace(word, lie, 1))


def seen(world, who, message):
    """Whether the picture can show that a tab misses this message."""
    return who in world.up and not world.loaded_after(who, message)


@pytest.mark.parametrize("kind", KINDS)
def test_verdict_that_keeps_a_fault_to_itself_is_found(worlds, kind):
    """The first one of those that a picture can show."""
    found = 0
    for world in worlds:
        wrong = sorted(faults(world.verdict, kind))
        for one in [one for one in wrong if kind != "lost" or seen(world, *one)][:1]:
            others = [fault for fault in world.verdict.faults if (fault.who, fault.message) != one]
            assert contradictions_with(world, others)
            found += 1
    assert found > 5


@pytest.mark.parametrize("kind", ["lost", "duplicated", "reordered", "phantom", "missing"])
def test_verdict_that_accuses_without_a_reason_is_found(worlds, kind):
    """Of a message that a tab shows, in its place and once."""
    found = 0
    for world in worlds:
        wrong = {fault.message for fault in world.verdict.faults}
        for show in [event for event in world.history if event.kind == "show"][:1]:
            message = Message(show.offset, show.text)
            if message not in wrong and seen(world, show.who, message):
                lie = Fault(kind, show.who, message, (show, show))
                assert contradictions_with(world, [*world.verdict.faults, lie])
                found += 1
    assert found > 5


def contradictions_with(world, faults):
    """Say where the picture and the table differ from a verdict with other faults."""
    honest, world.verdict = world.verdict, replace(world.verdict, faults=tuple(faults))
    found = contradictions(world, world.diagram.svg, str(world.diagram))
    world.verdict = honest
    return found


@pytest.mark.parametrize("how", GETS)
def test_sentence_that_lies_alone_is_found(worlds, monkeypatch, how):
    """It leaves out what it says of one tab."""
    said = [world for world in worlds if every(world.diagram, how)]
    assert len(said) > 5
    summary, before = Diagram.summary.fget, re.escape(GETS[how].split("{}")[0])
    lie = property(lambda self: re.sub(f"; [a-z]+ {before}[^;.]*", "", summary(self), count=1))
    monkeypatch.setattr(Diagram, "summary", lie)
    for world in said[:30]:
        assert contradictions(world, world.diagram.svg, str(world.diagram))
