"""02 · The log: the query for the rows after an offset.

Properties: a list of the rows `(id, content)` with a greater id, whatever the offset; oldest first,
and not by their content; the value is no part of the query's text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from chatlab.course import judged

Missed = Callable[[sqlite3.Connection, int], list[tuple[int, str]]]

ROWS = [(number, f"{number * 37 % 101} coffees") for number in range(200) if number % 7]
"""Their texts are in no order, and some ids are missing."""
HOSTILE = ("0 OR 1", "0' OR '1", '0" OR "1')
"""What a client may send in the place of an offset. As a value it is greater than each number."""


@judged
def check(missed: Missed) -> str:
    """Ask for what is missed after several offsets, and after one that is no number."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE messages (id INTEGER, client_offset TEXT, content TEXT)")
        database.executemany("INSERT INTO messages VALUES (?, NULL, ?)", reversed(ROWS))
        for offset in (1, 0, 6, 7, 90, 198, 199, 200):
            if why := _fault(offset, missed(database, offset)):
                return f"not yet: {why}"
        for offset in HOSTILE:
            if _becomes_sql(missed, database, offset):
                return (
                    f"not yet: the value becomes a part of the query: the offset {offset!r}, which "
                    "is no number, gives rows or an error of SQL"
                )
    return "solved: after each offset, the rows that come later, oldest first"


def _fault(offset: int, rows: list[tuple[int, str]]) -> str:
    right = sorted(row for row in ROWS if row[0] > offset)
    if rows == right:
        return ""
    if not isinstance(rows, list) or not all(isinstance(row, tuple) for row in rows):
        return f"it returns no list of rows, but a {type(rows).__name__}: {rows!r}"
    seen = [row for row in rows if row in ROWS and row[0] <= offset]
    lost = [row for row in right if row not in rows]
    if seen:
        why = f"the client has seen {seen[0]}, and gets it again"
    elif lost:
        why = f"the row {lost[0]} is missing"
    else:
        why = "these are the right rows, and not oldest first"
    return f"for offset {offset} it returns {_few(rows)}: {why}"


def _few(rows: list[tuple[int, str]]) -> str:
    return str(rows) if len(rows) < 4 else f"{str(rows[:3])[:-1]}, ... {len(rows) - 3} more]"


def _becomes_sql(missed: Missed, database: sqlite3.Connection, offset: str) -> bool:
    try:
        return bool(missed(database, offset))
    except sqlite3.Error:
        return True
    except (ValueError, TypeError):  # it takes numbers only
        return False
