"""What runs a server and what breaks its connections.

A server in the background, network links with faults, and a probe that looks into a running
server. It knows no lab, no notebook and no verdict.
"""

from chatlab.harness.background import BackgroundServer, listening, serve
from chatlab.harness.network import LINK_FAULTS, Link, Mishap, bad_day
from chatlab.harness.probe import REST, Gate, Hold, WatchedServer, watched

__all__ = [
    "LINK_FAULTS",
    "REST",
    "BackgroundServer",
    "Gate",
    "Hold",
    "Link",
    "Mishap",
    "WatchedServer",
    "bad_day",
    "listening",
    "serve",
    "watched",
]
