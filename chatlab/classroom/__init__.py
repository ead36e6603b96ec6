"""A class on one server: a join code, names, and a console for the instructor.

It puts a door in front of the finished server and changes nothing of how that delivers messages.
"""

from chatlab.classroom.classroom import Classroom
from chatlab.classroom.roster import check_code

__all__ = [
    "Classroom",
    "check_code",
]
