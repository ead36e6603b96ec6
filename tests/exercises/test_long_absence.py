"""The exercise of 07: wrong answers, right ones, and the mutants of the solution."""

import pytest
from answers import Exercise

KNOWN = "known = max(ends.values()) if epoch is None else ends.get(epoch, 0)"
RESET = 'if offset > known:\n        return "reset"'
LAST = 'return "gap" if offset < trimmed else "continued"'
ONE_BY_ONE = f"{RESET}\n    {LAST}"
WRONG = [
    (f"{ONE_BY_ONE}", f"{LAST.replace('continued', 'reset')}", "has just lost its line: 'contin"),
    (
        ONE_BY_ONE,
        f'if offset < trimmed:\n        return "gap"\n    {RESET}\n    return "continued"',
        "has seen a message from monday, and this log has none: 'reset' is right",
    ),
    (
        "offset < trimmed",
        "offset <= trimmed",
        "seen just those messages that are gone: 'contin",
    ),
    ("offset < trimmed", "offset < trimmed - 1", "has missed one message that is gone: 'gap'"),
    ("offset < trimmed", "offset == 0", "has missed one message that is gone: 'gap' is right"),
    ("offset < trimmed", "not offset or offset < trimmed", "has seen nothing, and nothing is gone"),
    (
        "offset < trimmed",
        "epoch and offset < trimmed",
        ", None, ends={'monday': 0, 'saturday': 62, 'sunday': 77}, trimmed=29) says 'continued'",
    ),
    (
        "offset < trimmed",
        "epoch is None and offset < trimmed",
        "decide(0, 'sunday', ends={'monday': 0, 'saturday': 62, 'sunday': 77}, trimmed=29) says",
    ),
    ("offset < trimmed", "trimmed", "The tab has just lost its line: 'continued' is right"),
    ("offset > known", "offset >= known", "The tab has just lost its line: 'continued' is right"),
    ("offset > known", "epoch not in ends", "The tab is ahead of the log: 'reset' is right"),
    ("offset > known", "epoch != list(ends)[-1]", "was away while the server restarted: 'contin"),
    (KNOWN, "known = max(ends.values())", "has seen more than this log has from saturday: 'reset'"),
    (KNOWN, "known = ends.get(epoch, 0)", "knows no epoch, and has seen all: 'continued' is right"),
    (
        KNOWN,
        "known = offset if epoch is None else ends.get(epoch, 0)",
        "knows no epoch, and is ahead of the log: 'reset' is right",
    ),
    (KNOWN, KNOWN.replace("0", "-1"), "another log, of which it has seen nothing: 'gap' is right"),
    ("offset > known", "offset > known or epoch not in [*ends, None]", "of which it has seen noth"),
    (KNOWN, "known = ends[epoch]", "an error came up, KeyError: 'friday', in the line `known = en"),
    (
        KNOWN,
        "known = ends.get(epoch) or max(ends.values())",
        "has seen a message from monday, and this log has none: 'reset' is right",
    ),
    (
        KNOWN,
        "known = ends.get(epoch, 0) if epoch else trimmed",
        "knows no epoch, and has seen all: 'continued' is right",
    ),
    ('"gap"', '"Gap"', "says 'Gap'. The tab has seen nothing, and the beginning is gone: 'gap' is"),
    (LAST, LAST.removeprefix("return "), "says None. The tab has just lost its line"),
]
"""A piece of the solution, what stands there instead, and what is said."""
RIGHT = [
    (KNOWN, "known = ends.get(epoch, 0) if epoch else max(ends.values())"),
    (KNOWN, "known = {**ends, None: ends[list(ends)[-1]]}.get(epoch, 0)"),
    (LAST, 'return "continued" if trimmed <= offset else "gap"'),
    ("offset > known", "offset > known or (offset and epoch not in [*ends, None])"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
async def test_wrong_answer_is_told_why(old, new, said):
    """What was asked, what the tab has lived through, and what is right for it."""
    judgement = await Exercise("07").changed(old, new)
    assert not judgement.solved
    assert said in judgement


@pytest.mark.parametrize(("old", "new"), [("", ""), *RIGHT])
async def test_right_answer_is_solved(old, new):
    """The control."""
    assert (await Exercise("07").changed(old, new)).solved


async def test_no_mutant_of_the_solution_is_solved():
    """Each is wrong about one of the tabs."""
    assert [name async for name in Exercise("07").accepted()] == []
