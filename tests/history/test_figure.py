"""A figure in a notebook: an image, and the same in words."""

import re
from base64 import b64decode
from html import unescape
from xml.etree import ElementTree

import pytest

from chatlab.course.bars import Bars
from chatlab.history.diagram import Diagram
from chatlab.history.events import Event, History

TEXT = '"><script>'
FIGURES = [
    Diagram(History([Event("join", "ann"), Event("send", "ann", TEXT)])),
    Bars(TEXT, {"a": 1}),
]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_notebook_gets_an_image_and_a_table(figure):
    """The image is the picture, its alternative text is safe, and the plain text is the table."""
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    found = re.fullmatch(
        '<img alt="([^"<>]*)" src="data:image/svg\\+xml;base64,([^"]*)">', bundle["text/html"]
    )
    assert unescape(found[1]) == figure.summary
    assert b64decode(found[2]).decode() == figure.svg
    assert bundle["text/plain"] == str(figure) == repr(figure)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_picture_says_in_words_what_it_shows(figure):
    """Its title is the summary, and its description is the table."""
    picture = ElementTree.fromstring(figure.svg)
    assert picture.findtext("{*}title") == figure.summary
    assert picture.findtext("{*}desc") == str(figure)
