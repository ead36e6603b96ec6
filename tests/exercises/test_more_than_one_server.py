"""The exercise of 10: wrong answers, right ones, and the mutants of the solution."""

import textwrap

import pytest
from answers import EVERY, Exercise

APPEND = textwrap.indent(
    textwrap.dedent(
        """\
        async with self.db.transaction():
            offset = await self.db.fetchval("UPDATE head SET last = last + 1 RETURNING last")
            await self.db.execute("INSERT INTO messages VALUES ($1, $2)", offset, text)
        return offset
        """
    ),
    " " * 8,
)
PLACE = """\
        await self.after(self.head)
        return "continued" if offset <= self.head else "reset"\
"""
NUMBERED = "INSERT INTO messages (content) VALUES ($1) RETURNING id"
NEXT = "INSERT INTO messages SELECT coalesce(max(id), 0) + 1, $1 FROM messages RETURNING id"
BY_SEQUENCE = f'await self.db.fetchval("{NUMBERED}", text)'
BY_MAXIMUM = f'await self.db.fetchval("{NEXT}", text)'
LOST, HOLE = "(1, 'first') is lost: its server had not committed", "have a hole: [1, 3, 4]"
AHEAD = "a tab that has 4 is told 'reset'"


def body(lines):
    """Return a method's body, indented as it stands in the class."""
    return textwrap.indent(textwrap.dedent(lines), " " * 8)


def locked(lock, append):
    """Return an `append` that stores while it has a lock."""
    return body(
        f"""
        async with self.db.transaction():
            await self.db.execute("{lock}")
            return {append}
        """
    )


WRONG = [
    (APPEND, f"        return {BY_SEQUENCE}\n", LOST),
    (APPEND, f"        return {BY_SEQUENCE}\n", HOLE),
    (APPEND, f"        return {BY_MAXIMUM}\n", "choose the same offset: duplicate key"),
    (APPEND, locked("LOCK TABLE messages IN EXCLUSIVE MODE", BY_SEQUENCE), HOLE),
    ("async with self.db.transaction():", "if True:", LOST),
    ("UPDATE head SET last = last + 1 RETURNING last", "SELECT last + 1 FROM head", "same offset"),
    (
        "UPDATE head SET last = last + 1 RETURNING last",
        "SELECT count(*) + 1 FROM messages",
        "choose the same offset",
    ),
    ("return offset\n", "return self.head + 1\n", "give the offsets [1, 1]"),
    ("return offset\n", "pass\n", "give the offsets [None, None]"),
    ("ORDER BY id", "ORDER BY stored", "clocks are no order"),
    ("ORDER BY id", "ORDER BY content DESC", "the reader got"),
    ("id > $1", "id >= $1", "gives"),
    (PLACE, '        return "continued" if offset <= self.head else "reset"', AHEAD),
    (PLACE, '        return "reset"', "a tab that has 0 is told 'reset'"),
    (
        PLACE,
        '        return "continued"',
        "told 'continued' of a database which has no",
    ),
    (
        'else "reset"',
        'else "gap"',
        "told 'gap' of a database which has no message",
    ),
    ("offset <= self.head", "offset < self.head", "a tab that has 0 is told 'reset'"),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [
    (APPEND, locked("SELECT pg_advisory_xact_lock(1)", BY_MAXIMUM)),
    (APPEND, locked("LOCK TABLE messages IN EXCLUSIVE MODE", BY_MAXIMUM)),
    (APPEND, locked("SELECT last FROM head FOR UPDATE", BY_MAXIMUM)),
    (
        APPEND,
        body(
            f"""
            await self.db.execute("SELECT pg_advisory_lock(1)")
            try:
                return {BY_MAXIMUM}
            finally:
                await self.db.execute("SELECT pg_advisory_unlock(1)")
            """
        ),
    ),
    (
        APPEND,
        body(
            f"""
            import asyncpg
            while True:
                try:
                    return {BY_MAXIMUM}
                except asyncpg.UniqueViolationError:
                    pass
            """
        ),
    ),
    (
        APPEND,
        body(
            """
            return await self.db.fetchval(
                "WITH next AS (UPDATE head SET last = last + 1 RETURNING last) "
                "INSERT INTO messages SELECT last, $1 FROM next RETURNING id", text)
            """
        ),
    ),
    (
        PLACE,
        body(
            """
            newest = await self.db.fetchval("SELECT last FROM head")
            return "continued" if offset <= newest else "reset"
            """
        ),
    ),
    (
        PLACE,
        body(
            """
            if offset > self.head:
                await self.after(self.head)
            return "continued" if offset <= self.head else "reset"
            """
        ),
    ),
]
SQL = (
    """query = 'SELECT id, content FROM messages WHERE id > $1 ORDER BY id{}'""",
    """await self.db.execute('INSERT INTO messages VALUES ($1, $2){}', offset, text)""",
    """offset = await self.db.fetchval('UPDATE head SET last = last + 1 RETURNING last{}')""",
)
EQUIVALENT = {f"{line.format('')} | {line.format(' ')}": "SQL ignores a space" for line in SQL}
"""Mutants that are right too, with the reason."""


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_to_10_is_told_why(old, new, said):
    """In the words of the lesson."""
    judgement = await Exercise("10").changed(old, new)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_10_is_solved(old, new):
    """The control: whatever lock it takes, and however it asks for the newest offset."""
    judgement = await Exercise("10").changed(old, new)
    assert judgement.solved, judgement


async def test_stub_of_10_is_told_of_all_three_faults():
    """It is what most programs do first."""
    exercise = Exercise("10")
    judgement = await exercise.check(exercise.stub)
    assert all(words in judgement for words in (LOST, HOLE, AHEAD))


@pytest.mark.slow
async def test_no_mutant_of_the_solution_of_10_is_solved(little_patience):
    """But for those that are as right."""
    assert {name async for name in Exercise("10").accepted(EVERY)} <= set(EQUIVALENT)
