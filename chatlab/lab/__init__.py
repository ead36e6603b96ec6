"""The lab of the notebooks: a server, the tabs of its users, what happened, and a live view of it.

It promises that a cell can start, disturb, watch and judge a server with one line for each, and
that a closed lab leaves nothing behind. Only the course, the notebooks and the tests use it. It
must not know which chapter it is used in.
"""

from chatlab.lab.lab import Lab, lab_of
from chatlab.lab.opened import labs_opened
from chatlab.lab.studied_server import Pause
