"""Run a server, break its connections, look inside it.

It promises a server in the background or as a program, network links with faults, random scenarios,
and a probe inside a running server. It must not know labs, notebooks or verdicts.
"""

from chatlab.harness.addresses import ANY_ADDRESS, shown_host, where
from chatlab.harness.background import BackgroundServer
from chatlab.harness.mishaps import KINDS, LINK_FAULTS, Mishap, bad_day
from chatlab.harness.network import Link
from chatlab.harness.postgres import Postgres, held_up, shared_postgres
from chatlab.harness.probe import REST, Gate, Hold, WatchedServer, register, watched
from chatlab.harness.program import new_loop, run, stop_at_signal
from chatlab.harness.serving import listening, serve
