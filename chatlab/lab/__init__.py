"""The lab of the notebooks: a server, the tabs of its users, what happened, and a live view of it.

Only the course, the notebooks and the tests use it.
"""

from chatlab.lab.lab import Lab, labs_opened
from chatlab.lab.studied_server import Pause

__all__ = [
    "Lab",
    "Pause",
    "labs_opened",
]
