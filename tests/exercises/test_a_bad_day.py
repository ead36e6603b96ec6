"""The exercise of 08: any moves that show a message twice are right, and no others."""

from collections import deque

import pytest
from answers import Exercise

from chatlab.course.game import Game
from chatlab.exercises import a_bad_day

ONCE = "['one', 'two', 'three'], and no message twice; the verdict is valid"
READ = '"the server reads the rows after 1",'
STORE = "'the server stores \"three\"',"
SEND = "'ann sends \"three\"',"
BACK = '"bob reconnects",'
WRONG = [
    ("", ONCE),
    ('"bob reconnects", \'ann sends "three"\'', ONCE),
    (f"{BACK}{READ}{SEND}{STORE}", ONCE),
    ("0, 0, 1, 1", ONCE),
    (f'{BACK}{SEND}{STORE}{READ}"bob\'s line drops"', "['one', 'two', 'three'], and no message"),
    ("*find_fault(racing, 'reordered').moves", "['one', 'three', 'two'], and no message twice"),
    ("*find_fault(racing, 'lost').moves", "['one', 'three'], and no message twice; the verdict is"),
    (f"{SEND}{READ}", "'the server reads the rows after 1' cannot happen now; what can: ["),
    (f"{BACK}{BACK}", "'bob reconnects' cannot happen now; what can: ["),
    ('"bob connects"', "'bob connects' cannot happen now; what can: ['bob reconnects', 'ann s"),
    ("0, 99", "99 cannot happen now; what can: ["),
    ("-1", "-1 cannot happen now; what can: ["),
    (f"[{BACK}{SEND}]", "TypeError"),
]
"""What stands in the list, and what is said."""
RIGHT = [
    f"{BACK}{SEND}{STORE}{READ}",
    f"{SEND}{BACK}{STORE}{READ}",
    "0, 1, 1, 0",
    "*find_fault(racing, 'duplicated').moves",
]


@pytest.fixture(scope="module")
def exercise():
    return Exercise("08")


@pytest.mark.parametrize(("moves", "said"), WRONG)
async def test_wrong_moves_are_told_why(exercise, moves, said):
    """What Bob's page shows, or which move cannot happen, and what can."""
    judgement = await exercise.check(f"from chatlab import find_fault\nmoves = [{moves}]")
    assert not judgement.solved
    assert said in judgement
    assert "TypeError" in said or "reconnect" in f"{judgement}{judgement.diagram}"


@pytest.mark.parametrize("answer", ["moves = 'bob reconnects'", "moves = {0}", "moves = None"])
async def test_what_is_no_list_is_told_so(exercise, answer):
    """The letters of a text are no moves, and a set has no order."""
    said = await exercise.check(answer)
    assert said.startswith("not yet: `moves` is a ") and said.endswith(", and has to be a list")


@pytest.mark.parametrize("moves", RIGHT)
async def test_right_moves_are_solved(exercise, moves):
    """With a picture of how it came."""
    judgement = await exercise.check(f"from chatlab import find_fault\nmoves = [{moves}]")
    assert judgement.startswith("solved: bob's page shows ['one', ")
    assert judgement.endswith('"three" 2 times')
    assert "again: 3" in str(judgement.diagram)


async def test_solution_is_solved(exercise):
    """The one in the chapter."""
    assert (await exercise.check(exercise.solution)).solved


def test_moves_are_right_if_and_only_if_the_verdict_says_so(exercise):
    """All that the network can do, in each position that there is."""
    racing = exercise.names["racing"]
    found = set()
    for path in positions(racing):
        game = Game(racing)
        game.play(*path)
        twice = game.finish().counts["duplicated"] > 0
        assert a_bad_day.check(racing, path).solved is twice, path
        found.add(twice)
    assert found == {True, False}


def test_no_move_that_cannot_happen_is_right(exercise):
    """Not even after moves that are right."""
    racing = exercise.names["racing"]
    names = {move for path in positions(racing) for move in path}
    for path in positions(racing):
        game = Game(racing)
        for move in names.difference(game.play(*path)):
            said = a_bad_day.check(racing, [*path, move])
            assert said.startswith(f"not yet: {move!r} cannot happen now; what can: [")


def positions(server):
    """Yield moves that lead to each position of the game."""
    seen, paths = set(), deque([()])
    while paths:
        path = paths.popleft()
        game = Game(server)
        game.play(*path)
        if game.position not in seen:
            seen.add(game.position)
            paths.extend((*path, move) for move in game.moves)
            yield path
