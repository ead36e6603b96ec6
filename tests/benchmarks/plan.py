"""What is measured, on which servers, and what is to be reached."""

from collections import namedtuple

COMPARED = ("node", "plain", "finished")
WITH_CEILING = ("null", *COMPARED)
ALL = ("null", "tutorial", *COMPARED)
"""null does nothing, and shows the load's own ceiling. tutorial is the Node server without the
pragmas that make it as durable as the others."""

Step = namedtuple("Step", "title servers rows load figures")
"""A load for servers whose log has so many rows, and what is to be reached in which unit."""
Ratio = namedtuple("Ratio", "least")
"""How many times as good as the Node server the finished one is to be."""
Limit = namedtuple("Limit", "most")
"""What a figure of the finished server may be at most, whatever the others do."""


def better(unit, one, other):
    """Return how many times as good as another a figure is: per second more is, else less."""
    return one / other if unit.endswith("/s") else other / one


def _ingest(senders, figures, in_flight=1):
    title = f"ingest, {senders} sender{'s' * (senders > 1)}"
    title += f", {in_flight} under way each" * (in_flight > 1)
    load = {"do": "ingest", "senders": senders, "seconds": 1, "in_flight": in_flight}
    return Step(title, ALL, 0, load, figures)


def _tail(senders, readers):
    title = f"ingest, {senders} senders, {readers} more read"
    load = {"do": "ingest", "senders": senders, "seconds": 2, "readers": readers}
    return Step(title, COMPARED, 0, load, {"ms": None, "ms at p99": Ratio(1)})


def _fan_out(clients, messages, target=None):
    load = {"do": "fan_out", "clients": clients, "messages": messages, "in_flight": 20}
    return Step(f"fan-out, {clients:,} clients", WITH_CEILING, 0, load, {"events/s": target})


def _all(clients, times, figures):
    title = f"catch-up, 10,000 rows, {clients} client{'s' * (clients > 1)}"
    load = {"do": "catch_up", "clients": clients, "offset": 0, "missed": 10_000, "times": times}
    return Step(title, WITH_CEILING, 10_000, load, figures)


def _few(rows):
    load = {"do": "catch_up", "clients": 1, "offset": rows - 10, "missed": 10, "times": 30}
    return Step(f"catch-up, 10 missed of {rows:,}", COMPARED, rows, load, {"ms": None})


PLAN = [
    _ingest(1, {"messages/s": None, "ms": Ratio(0.9)}),
    _ingest(10, {"messages/s": Ratio(2)}),
    _ingest(10, {"messages/s": None}, in_flight=20),
    _ingest(100, {"messages/s": Ratio(2)}),
    _tail(10, 200),
    _fan_out(10, 2000),
    _fan_out(100, 500, Ratio(1.5)),
    _fan_out(1000, 100, Ratio(1.5)),
    _all(1, 3, {"rows/s": Ratio(1.5)}),
    _all(20, 1, {"rows/s": Ratio(1.5), "MB at most": Ratio(8)}),
    _few(1_000),
    _few(1_000_000),
    Step(
        "drop to caught up, 100 missed",
        COMPARED,
        1_000,
        {"do": "returns", "offset": 900, "missed": 100, "times": 30},
        {"ms": None},
    ),
    Step(
        "an idle connection of 1,000",
        COMPARED,
        1_000,
        {"do": "idle", "clients": 1_000, "offset": 1_000},
        {"kB": Ratio(1)},
    ),
]
STORM = Step(
    "storm",
    COMPARED,
    1_000,
    {"do": "storm", "clients": 1_000, "behind": 1_000, "rate": 100},
    {
        "s": None,
        "slowest / median": Limit(3),
        "clients not in order": Limit(0),
        "messages unanswered": Limit(0),
        "MB at most": Limit(500),
    },
)
"""It comes last, and once: it takes as long as everything else in a round."""
