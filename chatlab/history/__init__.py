"""What happened in a lab: the recorded events, a verdict on them, and a picture of them.

Pure: everything here follows from the list of events alone. It knows no clock, no network, no
database and no notebook.
"""

from chatlab.history.checker import Verdict, Wrong, check, check_kind
from chatlab.history.diagram import Diagram
from chatlab.history.events import CONNECTS, SERVER, Event, History, Kind
from chatlab.history.figure import Figure
from chatlab.history.step import Arrival, Step
