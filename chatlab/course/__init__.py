"""What only the course needs: guesses, checks of exercises, the game, the ladders, bar charts.

The notebooks and the checks of their exercises use it; nothing else in the package imports it.
"""

from chatlab.course.bars import Bars
from chatlab.course.exercise import Judgement, judged, should_be_valid, should_show
from chatlab.course.game import Game, find_fault
from chatlab.course.guess import Guess
from chatlab.course.ladder import Climb, climb
from chatlab.course.rungs import RUNGS, RUNGS_OF_TWO, Rung
