"""The exercise of 05: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import EVERY, Exercise

KEY = "self.new_key()"
REMOVE = "self.pending.remove(message)"
INIT = "self.pending = []"
ADD = """

    def add(self, text):
        self.pending.append(OutgoingMessage(text, {}))"""
BEGIN = INIT + ADD.format(KEY)
COUNTED = ADD.format("{}").replace("text):", "text):\n        self.count += 1")
BY_TEXT = "self.keys.setdefault(text, self.new_key())"
REFUSED = "Refused: this client_offset belongs to another text"
WRONG = [
    (KEY, "text", "lost"),
    (KEY, "str(hash(text))", "lost"),
    (KEY, '"my key"', REFUSED),
    (KEY, "str(len(self.pending))", REFUSED),
    (BEGIN, f"{INIT}\n        self.count = 0{COUNTED.format('str(self.count)')}", REFUSED),
    (BEGIN, f"{INIT}\n        self.keys = {{}}{ADD.format(BY_TEXT)}", "lost"),
    (KEY, "None", "duplicated"),
    (KEY, "self.key", "AttributeError: 'MyOutbox' object has no attribute 'key'"),
    (REMOVE, "self.pending.clear()", "lost"),
    (REMOVE, "self.pending.pop()", "lost"),
    (REMOVE, "self.pending = [x for x in self.pending if x.text != message.text]", "lost"),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [(REMOVE, "self.pending.pop(0)"), (REMOVE, "self.pending[:1] = []")]
PUT = f"self.pending.append(OutgoingMessage(text, {KEY}))"
INHERITED = "Outbox has the same method"
EQUIVALENT = {
    " ; def __init__(self): ; self.pending = [] | pass": INHERITED,
    f" ; def add(self, text): ; {PUT} | pass": INHERITED,
    f" ; def answered(self, message): ; {REMOVE} | pass": INHERITED,
}
"""Mutants that are right too, with the reason."""


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_to_05_is_told_why(old, new, said):
    """In the words of the lesson."""
    judgement = await Exercise("05").changed(old, new)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_05_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("05").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


@pytest.mark.slow
async def test_no_mutant_of_the_solution_of_05_is_solved(little_patience):
    """But for those that are as right."""
    assert {name async for name in Exercise("05").accepted(EVERY)} <= set(EQUIVALENT)
