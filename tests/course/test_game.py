"""You are the network: the moves are those of the real server, and the search misses none."""

import pytest
from support import ordered, tutorial

from chatlab.course.game import DROP, Game, find_fault


def live_only(sio, log):
    """The server of chapter 02: stored, broadcast, never sent again."""

    @sio.on("chat message")
    async def chat_message(sid, text):
        offset = await log.append(text)
        await sio.emit("chat message", (text, offset))
        return offset


def never_stored(sio, log):
    """A server that shows a message and forgets to store it."""

    @sio.on("chat message")
    async def chat_message(sid, text):
        if log.head < 2:
            await log.append(text)
        await sio.emit("chat message", (text, log.head))


def test_game_begins_with_bob_away():
    """He can come back, or Ann can go on talking."""
    assert Game(tutorial).moves == ["bob reconnects", 'ann sends "three"']


@pytest.mark.parametrize("server", [tutorial, ordered])
def test_usual_order_ends_well(server):
    """Nobody notices anything, as long as nothing comes between."""
    game = Game(server)
    assert game.finish().valid
    assert [event.text for event in game.history.of("bob") if event.kind == "show"] == [
        "one", "two", "three"
    ]  # fmt: skip


def test_moves_can_be_given_by_place_or_by_name():
    """And lead to the same position."""
    one, other = Game(ordered), Game(ordered)
    assert one.play(0, 0) == other.play("bob reconnects", "the server reads the rows after 1")
    assert one.position == other.position


@pytest.mark.parametrize("move", ["bob reloads", 7])
def test_impossible_move_is_an_error(move):
    """And changes nothing."""
    game = Game(tutorial)
    with pytest.raises((ValueError, IndexError)):
        game.play(move)
    assert game.moves == Game(tutorial).moves


@pytest.mark.parametrize("kind", ["lost", "duplicated", "reordered"])
def test_tutorial_server_can_be_made_to_fail(kind):
    """The search finds an order for each fault, and playing it shows the fault."""
    moves, _ = find_fault(tutorial, kind)
    game = Game(tutorial)
    game.play(*moves)
    assert game.over
    assert kind in [fault.kind for fault in game.verdict().faults]


def test_ordered_server_leaves_no_winning_move():
    """Every order was tried: hundreds of positions, and none of them ends in a fault."""
    moves, positions = find_fault(ordered)
    assert moves is None
    assert positions > 500


@pytest.mark.parametrize(("server", "kind"), [(live_only, "lost"), (never_stored, "phantom")])
def test_other_mistakes_are_found_too(server, kind):
    """No catch-up at all; and a message that is shown although it is never stored."""
    moves, _ = find_fault(server, kind)
    assert moves is not None


def test_line_drops_with_what_is_on_it():
    """A packet that has not arrived is gone, and the server is told that Bob is."""
    game = Game(ordered)
    game.play(
        "bob reconnects", "the server reads the rows after 1", 'the server sends "two" to bob'
    )
    assert '"two" arrives at bob' in game.moves
    game.play(DROP)
    assert not any("arrives" in move for move in game.moves)
    assert game.finish().valid
