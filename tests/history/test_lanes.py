"""Several servers: each has a lane of its own, in the picture, in the table and in the sentence."""

import re

import pytest
from histories import history
from test_consistency import FullWorld, contradictions

from chatlab.history.diagram import Diagram
from chatlab.history.drawing import LANE, LEFT
from chatlab.history.events import CONNECTS

SEEDS = range(150)
AT_A_MARK = ("offset", "passes it on", "gets")
"""How the words of a server begin where it has a message."""
EVERYWHERE = [
    "join ann server 0",
    "join bob server 1",
    "send ann hello",
    "acknowledge ann 1 hello",
    "show ann 1 hello",
    "show bob 1 hello",
]
"""A message that goes through server 0, and is on a page at server 1 too."""


def lines(diagram, look):
    """The lanes between which lines of a look go: where each begins, and where it ends."""
    found = re.findall(rf'<line class="{look}" x1="(\d+)" y1="\d+" x2="(\d+)"', diagram.svg)
    return [tuple(lane_at(diagram, int(x)) for x in ends) for ends in found]


def lane_at(diagram, x):
    return diagram.lanes[round((x - LEFT) / LANE)]


def marks(diagram):
    """The lanes of the marks at which messages are at a server, from the top to the bottom."""
    found = re.findall(
        r'<rect class="(?:passage|missing)" x="(\d+)" y="(\d+)" width="(\d+)"', diagram.svg
    )
    return [lane_at(diagram, int(x) + int(wide) // 2) for x, _, wide in found]


def cells(diagram):
    """The rows of the table, each with a cell for each lane."""
    head, *rows = str(diagram).splitlines()
    begins = [re.search(rf"(?<=  ){lane}(?=  |$)", head).start() for lane in diagram.lanes]
    ends = [*begins[1:], None]
    parts = [slice(*ends) for ends in zip(begins, ends, strict=True)]
    return [
        dict(zip(diagram.lanes, (row[part].strip() for part in parts), strict=True)) for row in rows
    ]


def test_message_goes_through_the_server_of_its_sender_and_those_of_the_others():
    """From the sender to its server, from there to the other one, and from each to its tabs."""
    diagram = Diagram(history(*EVERYWHERE))
    assert diagram.lanes == ["ann", "server 0", "server 1", "bob"]
    assert str(diagram).splitlines() == [
        "   ann                      server 0  server 1      bob",
        "1  joins (server 0)",
        "2                                                   joins (server 1)",
        '3  sends "hello"; shows it  offset 1  passes it on  shows it',
    ]
    assert sorted(lines(diagram, "live")) == [
        ("ann", "server 0"),
        ("server 0", "ann"),
        ("server 0", "server 1"),
        ("server 1", "bob"),
    ]
    assert marks(diagram) == ["server 0", "server 1"]
    assert diagram.summary == "Space-time diagram of ann, bob and 2 servers: 1 message sent."


def test_message_that_nobody_shows_at_another_server_does_not_come_to_it():
    """It is lost for the tab that is there, and caught up on from the server of that tab."""
    lost = Diagram(history(*EVERYWHERE[:-1]))
    assert lines(lost, "lost") == [("server 1", "bob")]
    assert marks(lost) == ["server 0"]
    assert cells(lost)[2]["server 1"] == ""
    later = Diagram(history(*EVERYWHERE[:-1], "reconnect bob server 1", "show bob 1 hello"))
    assert lines(later, "catch-up") == [("server 1", "bob")]
    assert marks(later) == ["server 0"]


def test_tab_that_moves_sends_through_its_new_server():
    """And gets its messages from there."""
    moved = ["drop ann", "reconnect ann server 1", "send ann two", "acknowledge ann 2 two"]
    diagram = Diagram(history(*EVERYWHERE, *moved, "show ann 2 two", "show bob 2 two"))
    assert cells(diagram)[-1] == {
        "ann": 'sends "two"; shows it',
        "server 0": "",
        "server 1": "offset 2",
        "bob": "shows it",
    }
    assert lines(diagram, "live")[-3:] == [
        ("ann", "server 1"),
        ("server 1", "ann"),
        ("server 1", "bob"),
    ]


def test_message_that_is_held_up_arrives_at_the_server_to_which_it_was_sent():
    """Although its sender is at another one by then."""
    overtaken = [
        "send ann slow",
        "drop ann",
        "reconnect ann server 1",
        "send bob fast",
        "acknowledge bob 2 fast",
        "show bob 2 fast",
        "show bob 3 slow",
    ]
    diagram = Diagram(history(*EVERYWHERE, *overtaken))
    assert cells(diagram)[3]["ann"] == 'sends "slow" (held up)'
    assert cells(diagram)[-1]["server 0"] == 'gets "slow"; offset 3'


def test_server_that_ends_interrupts_its_own_line():
    """Its words are beside its lane, and the sentence has its name."""
    diagram = Diagram(history(*EVERYWHERE, "kill server server 1", "start server server 1"))
    assert [row["server 1"] for row in cells(diagram)[-2:]] == ["is killed", "starts"]
    assert lines(diagram, "down") == [("server 1", "server 1")]
    assert "server 1 is killed once" in diagram.summary


def test_tab_that_comes_to_another_server_at_its_second_attempt_is_drawn_there():
    """Nothing is said of the first one, as with one server."""
    attempts = ["drop ann", "reconnect ann server 0", "reconnect ann server 1"]
    diagram = Diagram(history(*EVERYWHERE, *attempts))
    assert cells(diagram)[-1]["ann"] == "reconnects (server 1)"
    assert "reconnects (server 0)" not in diagram.svg


def test_servers_stand_in_the_order_of_their_numbers():
    """A server to which nobody has connected, and that has not ended, has no lane."""
    joins = [f"join {name} server {number}" for name, number in [("ann", 10), ("bob", 2)]]
    assert Diagram(history(*joins)).lanes == ["ann", "server 2", "server 10", "bob"]
    assert Diagram(history("kill server")).lanes == ["server"]


@pytest.fixture(scope="module")
def worlds():
    return [FullWorld(seed, servers=3) for seed in SEEDS]


def test_several_servers_change_nothing_of_what_is_said_of_messages(worlds):
    """Picture, table, sentence and verdict agree as they do with one server."""
    for world in worlds:
        assert contradictions(world, world.diagram.svg, str(world.diagram)) == []


def shows(cell, offset):
    """Whether a tab shows a message in a step: at once, or again, or late."""
    listed = ", ".join(re.findall(r": ((?:\d+(?:, )?)+)", cell))
    return "shows it" in cell or offset in listed.split(", ")


def wrong_lanes(world, table):
    """Say which messages are in the lane of a server through which they did not go."""
    at, sent, found = {}, [], []
    for event in world.history:
        if event.kind in CONNECTS:
            at[event.who] = event.text
        elif event.kind in ("write", "send", "retry"):
            sent.append(dict(at))
    for step, row in zip(world.diagram.steps, table, strict=True):
        if not step.is_send:
            continue
        servers = sent.pop(0)
        first = servers[step.actions[0].who]
        offset = re.search(r"offset (\d+)", row[first])
        shown = {servers[who] for who in servers if offset and shows(row.get(who, ""), offset[1])}
        right = {first, *shown} if step.fate in ("arrived", "known") else set()
        there = {lane for lane in world.diagram.servers if row[lane].startswith(AT_A_MARK)}
        found += [(row, right)] if there != right else []
    return found


def test_picture_and_table_have_each_message_in_the_lanes_of_its_servers(worlds):
    """That of its sender, and those of the tabs that show it then."""
    crossed = 0
    for world in worlds:
        table = cells(world.diagram)
        assert wrong_lanes(world, table) == []
        said = [
            lane
            for row in table
            for lane in world.diagram.servers
            if row[lane].startswith(AT_A_MARK)
        ]
        assert sorted(said) == sorted(marks(world.diagram))
        crossed += str(world.diagram).count("passes it on")
    assert crossed > 50


def test_message_in_another_lane_is_found(worlds):
    """The control: what one server is said to have had, another one had."""
    found = 0
    for world in worlds:
        for step in world.diagram.steps:
            step.server = "server 0"
        found += bool(wrong_lanes(world, cells(world.diagram)))
    assert found > 50
