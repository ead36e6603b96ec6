"""What a class is shown: the address and the code, in words and as a picture to scan."""

import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import segno

from chatlab.classroom.invitation import NO_QR, Invitation

SHOWN = Invitation("http://192.0.2.7:3000", "K7PQ2M")
LINK = "http://192.0.2.7:3000/#code=K7PQ2M"
COLOURS = re.compile("\033\\[38;5;231;48;5;16m([ ▄▀█]+)\033\\[0m")
QUIET = 4
"""Modules of empty space around a QR code, as its standard (ISO/IEC 18004) wants it."""


class Images(HTMLParser):
    """The attributes of all images in a text."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.found.append(dict(attributes))


def modules(picture):
    """Return the dark (1) and light (0) modules of a QR code that a terminal shows."""
    rows = []
    for line in picture.split("\n"):
        halves = COLOURS.fullmatch(line)[1]
        rows += [[half in " ▄" for half in halves], [half in " ▀" for half in halves]]
    return [list(map(int, row)) for row in rows]


def test_terminal_draws_the_qr_code_of_the_link():
    """Every module is there, with the empty space around it, black on white on any screen.

    A line has two rows of modules, so the last row of the last line is behind the empty space.
    """
    expected = [list(row) for row in segno.make_qr(LINK).matrix_iter(border=QUIET)]
    drawn = modules(SHOWN.terminal())
    assert drawn[: len(expected)] == expected
    assert len(drawn) == len(expected) + 1
    assert len(SHOWN.terminal().split("\n")) < 24  # a small terminal


def test_other_link_is_drawn_in_another_way():
    """The control: the code is in the picture."""
    assert Invitation(SHOWN.url, "K7PQ2N").terminal() != SHOWN.terminal()


def test_notebook_shows_a_picture_and_the_code_as_text():
    """It needs no script, so an untrusted notebook shows it; and the words say the same."""
    shown = SHOWN._repr_mimebundle_()
    [image] = Images(shown["text/html"]).found
    assert image["alt"] == f"QR code: the address {LINK}"
    svg = unquote(image["src"].removeprefix("data:image/svg+xml;charset=utf-8,"))
    assert re.search(r"<svg[^>]* width='\d{3}'", svg)
    assert "stroke='#000'" in svg and "fill='#fff'" in svg
    assert "K7PQ2M" in re.sub("<img[^>]*>", "", shown["text/html"])
    assert shown["text/plain"] == "Join at http://192.0.2.7:3000 with the code K7PQ2M"


def test_without_segno_the_words_are_enough(monkeypatch):
    """The picture is replaced by how to get it."""
    monkeypatch.setitem(sys.modules, "segno", None)
    assert SHOWN.terminal() == NO_QR
    html = SHOWN._repr_mimebundle_()["text/html"]
    assert Images(html).found == []
    assert "chatlab[class]" in html
    assert "K7PQ2M" in html
