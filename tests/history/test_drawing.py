"""The picture of a diagram: each fault has its own shape, and any text can be drawn."""

import re
from xml.etree import ElementTree

import pytest

from chatlab.history.diagram import Diagram
from chatlab.history.drawing import STYLE
from chatlab.history.events import History
from chatlab.history.words import short

FAULTS = ("lost", "again", "late", "refused")


def test_each_fault_has_a_shape_of_its_own():
    """Without colours the faults still differ: each has its own tip, drawn by its own path."""
    looks = (*FAULTS, "deleted", "live")
    tips = [re.search(rf"\.{look}[ ,].*url\(#(\w+)\)", STYLE)[1] for look in looks]
    shapes = [re.search(rf'id="{tip}".*? d="([^"]+)"', STYLE)[1] for tip in tips]
    assert len(set(shapes)) == len(looks)


@pytest.mark.parametrize(
    "text", ["<b>&\"'</b>]]>", "a\x00b\ud800c\uffff", "two\nlines", "", "😀 family", 42]
)
def test_any_text_gives_a_well_formed_picture(text):
    """Markup is text, and what SVG forbids is replaced."""
    recorded = History()
    recorded.record("join", "ann")
    recorded.record("send", "ann", text)
    picture = ElementTree.fromstring(Diagram(recorded).svg.encode())
    drawn = [element.text or "" for element in picture.iter() if element.tag.endswith("text")]
    assert short(text) in drawn
