"""The pictures of the README: they are there, they have words, and the diagram is today's."""

import importlib.util
import re
import struct
from xml.etree import ElementTree

import pytest
from documents import ROOT, pictures

MAKE_PICTURES = ROOT / ".ci" / "make_pictures.py"
README = (ROOT / "README.md").read_text()
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def command():
    """What `make pictures` runs."""
    spec = importlib.util.spec_from_file_location("make_pictures", MAKE_PICTURES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_diagram_is_what_the_command_draws_today(command):
    """Who changes chapter 03 or the drawing makes the pictures again."""
    assert command.DIAGRAM.read_text() == await command.draw_diagram() + "\n"


def test_diagram_says_what_the_readme_says(command):
    """The words of the README are those of the picture itself, which says what is in it."""
    [words] = [words for words, source in pictures(README) if source == "docs/diagram.svg"]
    title = ElementTree.parse(command.DIAGRAM).find("{http://www.w3.org/2000/svg}title").text
    assert words == title


def test_page_is_a_picture_of_the_size_of_the_command(command):
    """Another Chromium, or other fonts, draw other bytes: so these are not compared."""
    head = command.PAGE.read_bytes()[:24]
    assert head.startswith(PNG)
    size = tuple(side * command.SCALE for side in command.SIZE.values())
    assert struct.unpack(">II", head[16:]) == size


def test_every_picture_is_made_and_shown(command):
    """The README shows what the command makes and nothing else, and nothing else lies there."""
    made = sorted(str(path.relative_to(ROOT)) for path in (command.DIAGRAM, command.PAGE))
    assert sorted(source for _, source in pictures(README)) == made
    assert sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.[ps][nv]g")) == made
    assert re.search(
        r"^pictures: .*\n\t.*make_pictures\.py$", (ROOT / "Makefile").read_text(), re.M
    )
