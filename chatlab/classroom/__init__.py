"""A class on one server: a join code, students' names, and a console for the instructor.

It checks who may connect; the finished server delivers the messages. It must not know the simulated
client, the lab or the course.
"""

from chatlab.classroom.classroom import Classroom
from chatlab.classroom.door import check_code
