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
    (
        BEGIN,
        BEGIN.replace("append(", "insert(0, "),
        "and it should show ['hello', 'hello', 'how are you?', 'hello', ",
    ),
    (KEY, "self.key", "AttributeError: 'MyOutbox' object has no attribute 'key'"),
    (REMOVE, "self.pending.clear()", "lost"),
    (REMOVE, "self.pending.pop()", "lost"),
    (REMOVE, "self.pending = [x for x in self.pending if x.text != message.text]", "lost"),
]
"""A piece of the solution, what stands there instead, and what is said."""
AGAIN, TIME = "another tab, or a reload, may make them again", "__import__('time')."
RANDOM = "__import__('random')."
WRONG_KEYS = [
    ("str(next(numbers))", AGAIN),
    ('f"{next(numbers):030}"', AGAIN),
    (f"str({TIME}time())", AGAIN),
    (f"str({TIME}time_ns())", AGAIN),
    ('f"{id(self)}-{next(numbers)}"', AGAIN),
    (f"str({RANDOM}randint(0, 10**12))", AGAIN),
    (f"str({TIME}time_ns()) + str({RANDOM}randint(0, 1000))", AGAIN),
    ("self.once + str(len(self.pending))", "two messages have the same key"),
    ("__import__('uuid').uuid4()", "a key is a text, and not a UUID: UUID("),
    ("self.new_key", "a key is a text, and not a method: <bound method"),
]
"""A key that another tab may make again, or that is none, and what is said."""
ONCE = f"{INIT}\n        self.once = self.new_key()"
NUMBERS = "numbers = __import__('itertools').count()"
RIGHT = [(REMOVE, "self.pending.pop(0)"), (REMOVE, "self.pending[:1] = []")]
RIGHT_KEYS = [
    "__import__('secrets').token_hex(8)",
    "str(__import__('uuid').uuid4())",
    'f"{self.once}-{next(numbers)}"',
]
"""Long random numbers, with or without a number behind them."""
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


def with_key(exercise, key):
    """Return the solution with another key. There are numbers, and a text that a tab makes once."""
    return f"{NUMBERS}\n{exercise.solution.replace(KEY, key).replace(INIT, ONCE)}"


@pytest.mark.parametrize(("key", "said"), WRONG_KEYS)
async def test_wrong_key_of_05_is_told_why(key, said):
    """At once, or after the accidents: no lab waits for the answer to a message without a text."""
    exercise = Exercise("05")
    judgement = await exercise.check(with_key(exercise, key))
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize("key", RIGHT_KEYS)
async def test_right_key_of_05_is_solved(key):
    """The control: a key is not compared with the one of the solution."""
    exercise = Exercise("05")
    assert (await exercise.check(with_key(exercise, key))).solved


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
