"""08 · A bad day: moves in the game with which a server shows Bob a message twice.

Properties: each move can happen at the moment when it is played, and in the end Bob's page shows a
message twice. All moves that do this are right, whatever else goes wrong, and no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from chatlab.course import Game, Judgement, judged
from chatlab.history import Diagram


@judged
def check(server: Callable[..., None], moves: list[int | str]) -> Judgement:
    """Play the moves, and what is left after them. The picture is shown in any case."""
    if not isinstance(moves, list | tuple):
        return Judgement(f"not yet: `moves` is a {type(moves).__name__}, and has to be a list")
    game = Game(server)
    try:
        game.play(*moves)
    except ValueError as impossible:
        return Judgement(f"not yet: {impossible}", game.history)
    verdict = game.finish()
    said = Judgement(_said(game, str(verdict).splitlines()[0]))
    said.diagram = Diagram(game.history)
    return said


def _said(game: Game, verdict: str) -> str:
    shown = [event.text for event in game.history.of("bob") if event.kind == "show"]
    page = f"bob's page shows {shown}"
    for text, times in Counter(shown).items():
        if times > 1:
            return f'solved: {page}, "{text}" {times} times'
    return f"not yet: {page}, and no message twice; the verdict is {verdict}"
