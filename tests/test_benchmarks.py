"""The benchmarks work: every load measures something, and the report says what was found."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import cluster
import load
import pytest
import report
import servers
from plan import PLAN, STORM

from chatlab.harness import Postgres

ROWS = 30
LOADS = {
    "ingest": {"senders": 2, "seconds": 0.1},
    "fan_out": {"clients": 3, "messages": 8, "in_flight": 2},
    "catch_up": {"clients": 2, "offset": 0, "missed": ROWS},
    "returns": {"offset": ROWS - 5, "missed": 5, "times": 2},
    "idle": {"clients": 3, "offset": ROWS},
    "storm": {"clients": 5, "behind": ROWS, "rate": 50},
}
FRESH = {"ingest", "fan_out"}
"""The loads for an empty log."""
KEY = ("ingest, 10 senders", "messages/s")
MEMORY = ("catch-up, 10,000 rows, 20 clients", "MB at most")
VERDICTS = ["reached", "NOT REACHED", "not measured"]
FIGURES = {
    KEY: {"node": [10, 10, 20], "plain": [5, 5, 5], "finished": [60, 50, 140]},
    MEMORY: {"node": [400], "plain": [100], "finished": [100]},
    ("storm", "slowest / median"): {"finished": [2]},
}


def measured(name, do, db):
    """Put a small load on a server, in a process of its own; return the figures."""
    servers.make_log(db, 0 if do in FRESH else ROWS)
    with servers.running(name, db) as server:
        asked = json.dumps({"do": do} | LOADS[do] | server._asdict())
        command = [sys.executable, load.__file__, asked]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("do", LOADS)
def test_load_on_the_finished_server_measures(tmp_path, do):
    """Every unit that the plan wants of a load is there; in the storm everybody is in order."""
    figures = measured("finished", do, tmp_path / "chat.db")
    wanted = [step.figures for step in (*PLAN, STORM) if step.load["do"] == do]
    assert set().union(*wanted) <= set(figures)
    assert figures.get("clients not in order", 0) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "null"])
@pytest.mark.parametrize("do", ["ingest", "fan_out", "catch_up"])
def test_load_on_the_other_servers_measures(tmp_path, name, do):
    """The server of chapter 03, and the one that shows the ceiling of the load, take it as well."""
    figures = measured(name, do, tmp_path / "chat.db")
    assert all(figure > 0 for figure in figures.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SQLite", "2 servers"])
def test_load_on_several_servers_measures(name):
    """Their senders and readers are spread over them, and one of SQLite takes the same load."""
    server, count = cluster.CASES[name]
    loads = {"do": "ingest"} | LOADS["ingest"], {"do": "fan_out"} | LOADS["fan_out"]
    with Postgres() as database:
        figures = [cluster.measure(asked, server, count, database) for asked in loads]
        if count > 1:
            crosses = {"do": "crosses", "times": 8}
            crossing = cluster.measure(crosses, server, count, database)
            assert crossing["ms"] > crossing["ms more"]
    assert all(figure > 0 for units in figures for figure in units.values())


def test_load_that_fails_is_a_sentence():
    """The comparison names it, and goes on with the others."""
    with Postgres() as database, pytest.raises(RuntimeError, match=r"no_load"):
        cluster.measure({"do": "no_load"}, "shared", 1, database)


SEVERAL = {(title, name): [100, 200] for title in cluster.LOADS for name in cluster.CASES} | {
    ("10 senders: messages/s", "PostgreSQL"): [95, 180],
    ("fan-out to 300 clients: events/s", "2 servers"): [120, 240],
    ("1 sender: ms", "Node"): [50, 50],
}


def test_table_of_several_servers_has_ratios_and_targets():
    """A line for each load; ours beside as many of Node's; which targets are reached."""
    table = cluster.table(SEVERAL, cluster.CASES).splitlines()
    assert table[2] == "| 1 sender: ms | 150 | 150 | 150 | 150 | 50 | 150 | 150 |"
    assert "| 1 sender: ms | 0.38 (0.25 to 0.5) |" in cluster.beside_node(SEVERAL)
    reached, missed, added = cluster.verdicts(SEVERAL).split("\n")[1:]
    assert (reached.split()[0], missed.split()[:2]) == ("reached", ["NOT", "REACHED"])
    assert added.startswith("NOT REACHED")


def test_comparison_is_made_round_by_round():
    """More a second is better, and less memory is: each is a ratio above one."""
    assert report.ratios(FIGURES, KEY) == [6, 5, 7]
    assert report.ratios(FIGURES, MEMORY) == [4]
    assert report.ratios(FIGURES, KEY, "plain") == [0.5, 0.5, 0.25]


def test_table_has_a_line_for_each_figure():
    """The medians of all servers, a dash for what was not measured, and the ratio's spread."""
    [line] = [line for line in report.table(FIGURES).splitlines() if line.startswith(KEY[0])]
    assert line.removeprefix(": ".join(KEY)).split() == [
        *("-", "-", "10", "5", "60"),  # null, tutorial, node, plain, finished
        *("6.00", "(5.00", "to", "7.00)"),
    ]


def test_target_that_is_missed_is_told():
    """No target is left out, whether it was reached, missed or not measured."""
    lines = report.verdicts(FIGURES).split("\n")
    told = {start: [line for line in lines if line.startswith(start)] for start in VERDICTS}
    assert [line for line in told["reached"] if KEY[0] in line]
    assert [line for line in told["NOT REACHED"] if MEMORY[0] in line]
    targets = [goal for step in (*PLAN, STORM) for goal in step.figures.values() if goal]
    assert sum(map(len, told.values())) == len(targets)


def test_picture_is_an_svg_with_a_dot_for_each_round():
    """And a larger one for the median, for each of the two servers that are compared with Node."""
    picture = ElementTree.fromstring(report.picture(FIGURES))
    dots = [part for part in picture if part.tag.endswith("circle")]
    assert len(dots) == 2 * (3 + 1) + 2 * (1 + 1)
