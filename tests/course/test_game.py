"""You are the network: the moves are those of the real server, and the search misses none."""

import asyncio

import pytest
from support import ordered, tutorial

from chatlab.course.game import DROP, Game, find_fault
from chatlab.server.delivery import Delivery


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


def test_game_shows_bobs_page_and_the_moves_below_the_picture():
    """In words where there is no picture, and beside the picture in a notebook."""
    game = Game(tutorial)
    assert repr(game).splitlines()[-4:] == [
        "bob's page: ['one']",
        "what can happen:",
        "0 bob reconnects",
        '1 ann sends "three"',
    ]
    shown = game._repr_mimebundle_()
    assert shown["text/plain"] == repr(game)
    assert shown["text/html"].startswith("<img alt=") and "0 bob reconnects" in shown["text/html"]
    game.finish()
    assert repr(game).endswith("bob's page: ['one', 'two', 'three']\nwhat can happen:\n0 " + DROP)


def sleeps(sio, log):
    """It waits for time, which the game does not have."""

    @sio.on("chat message")
    async def chat_message(sid, text):
        await asyncio.sleep(0)


def delivers(sio, log):
    """It is the finished server's delivery, which needs all of Socket.IO."""
    delivery = Delivery(sio, log)

    @sio.event
    async def connect(sid, environ, auth):
        delivery.attach(sid, auth["serverOffset"])


def trims(sio, log):
    """It looks at a part of the log that the game has not."""

    @sio.event
    async def connect(sid, environ, auth):
        return log.trimmed


def emits(*arguments, **options):
    """A server that emits something else."""

    def server(sio, log):
        @sio.on("chat message")
        async def chat_message(sid, text):
            await sio.emit(*arguments, **options)

    return server


CANNOT = {
    "sleeps": (sleeps, "awaits something else"),
    "delivers": (delivers, "uses sio.manager"),
    "trims": (trims, "uses log.trimmed"),
    "another event": (emits("left", ("ann", 1)), "emits 'left' with ('ann', 1)"),
    "no offset": (emits("chat message", "one"), "emits 'chat message' with 'one'"),
    "options": (emits("chat message", ("one", 1), skip_sid="a"), "{'skip_sid': 'a'}"),
}


@pytest.mark.parametrize(("server", "what"), CANNOT.values(), ids=CANNOT)
def test_server_that_cannot_be_played_is_told_what_can(server, what):
    """One sentence, which names what this server does."""
    with pytest.raises(ValueError, match=r"the game can play a server that awaits log") as refused:
        Game(server)
    assert what in str(refused.value).partition("and nothing else; this one ")[2]


def test_game_of_no_server_is_refused():
    """It was called, say."""
    with pytest.raises(ValueError, match="a game plays the function that registers"):
        Game(None)


def test_handlers_may_be_plain_functions_and_servers_take_the_log_or_not():
    """As python-socketio and a lab have it; a key and a limit may be given to the log."""

    def plain(sio):
        sio.on("connect")(lambda sid, environ, auth: None)

    def keys(sio, log):
        @sio.on("chat message")
        async def chat_message(sid, text, client_offset=None):
            await log.append(text, client_offset)
            return [message.text for message in await log.after(0, 1)]

    assert Game(plain).moves == Game(keys).moves
    game = Game(keys)
    assert [event.offset for event in game.history.of("ann") if event.kind == "acknowledge"] == [
        ["one"],
        ["one"],
    ]


def test_fault_of_a_kind_that_does_not_exist_is_no_proof():
    """A typing error would be found in no order."""
    with pytest.raises(ValueError, match="a kind of fault is lost, duplicated, reordered, phantom"):
        find_fault(ordered, "lots")
