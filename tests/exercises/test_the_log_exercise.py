"""The exercise of 02: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import Exercise

QUERY = '"SELECT id, content FROM messages WHERE id > ? ORDER BY id"'
RUN = "database.execute(query, (offset,)).fetchall()"
PASTED = 'f"SELECT id, content FROM messages WHERE id > {offset} ORDER BY id"'
QUOTED = "f\"SELECT id, content FROM messages WHERE id > '{offset}' ORDER BY id\""
NO_VALUE = "database.execute(query).fetchall()"
BY_CONTENT, NO_ORDER = QUERY.replace("BY id", "BY content"), QUERY.replace(" ORDER BY id", "")
BOTH, ALL = f"query = {QUERY}\n    return {RUN}", QUERY.replace(" WHERE id > ?", "")
WRONG = [
    (QUERY, NO_ORDER, "not oldest first"),
    (QUERY, BY_CONTENT, "not oldest first"),
    (QUERY, QUERY.replace("BY id", "BY id DESC"), "not oldest first"),
    (QUERY, QUERY.replace("> ?", ">= ?"), "for offset 1 it returns [(1, '37 coffees')"),
    (QUERY, QUERY.replace("> ?", "!= ?"), "and gets it again"),
    (QUERY, QUERY.replace("id, content", "*"), "(2, None, '74 coffees')"),
    (QUERY, QUERY.replace("BY id", "BY id LIMIT 100"), "the row (118, "),
    (RUN, RUN.replace("fetchall()", "fetchmany(2)"), "is missing"),
    (RUN, RUN.replace(".fetchall()", ""), "it returns no list of rows, but a Cursor"),
    (
        RUN,
        "database.execute('SELECT id, content FROM messages ORDER BY id').fetchall()[offset:]",
        "is",
    ),
    (
        f"query = {QUERY}\n    return {RUN}",
        f"query = {PASTED}\n    return {NO_VALUE}",
        "a part of the",
    ),
    (
        f"query = {QUERY}\n    return {RUN}",
        f"query = {QUOTED}\n    return {NO_VALUE}",
        "a part of the",
    ),
    (RUN, NO_VALUE, "ProgrammingError: Incorrect number of"),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [
    (RUN, "list(database.execute(query, (offset,)))"),
    ("(offset,)", "[int(offset)]"),
    ("(query, (offset,))", "(query.replace('?', ':o'), {'o': offset})"),
]
LINE = "query = 'SELECT id, content FROM messages WHERE id > ? ORDER BY id{}'"
EQUIVALENT = {f"{LINE.format('')} | {LINE.format(' ')}": "SQL ignores a space"}
"""Mutants that are right too, with the reason."""


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_to_02_is_told_why(old, new, said):
    """In the words of the lesson."""
    judgement = await Exercise("02").changed(old, new)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_to_02_is_solved(old, new):
    """The control: there is no picture of it."""
    judgement = await Exercise("02").changed(old, new)
    assert judgement.solved
    assert judgement.diagram is None


async def test_no_mutant_of_the_solution_of_02_is_solved(little_patience):
    """But for those that are as right."""
    assert {name async for name in Exercise("02").accepted()} == set(EQUIVALENT)
