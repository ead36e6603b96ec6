"""The decks of slides: every scene is a slide, nothing runs over, no solution is shown."""

import subprocess
import sys
from copy import deepcopy

import nbformat
import pytest
import slides
from documents import ROOT
from nbconvert import SlidesExporter

CHAPTERS = [nbformat.read(path, as_version=4) for path in slides.CHAPTERS]
NAMES = [path.stem for path in slides.CHAPTERS]
each = pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
TALLEST = 1.5
"""A cell may be so many times as long as a slide: it is a slide of its own, and made smaller."""


def kind(cell):
    return cell.metadata.get("slideshow", {}).get("slide_type")


@each
def test_every_cell_says_where_it_belongs(chapter):
    """And the rule says the same: `make notebooks` would change nothing."""
    marked = deepcopy(chapter)
    slides.mark(marked)
    assert [kind(cell) for cell in chapter.cells] == [kind(cell) for cell in marked.cells]


@each
def test_scene_begins_a_slide_and_a_question_one_below_it(chapter):
    """No heading or question stands in the middle of a cell, and a solution is on no slide."""
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            heading = cell.source.startswith("#")
            assert "\n## " not in cell.source.lstrip("#"), cell.id
            assert ("\n**Predict.**" not in cell.source) or heading, cell.id
            assert (kind(cell) == "slide") == heading, cell.id
        if "solution" in cell.metadata.get("tags", []):
            assert kind(cell) == "skip", cell.id


@each
def test_slide_is_not_overfull(chapter):
    """As many cells as fit are on one; a longer one is alone."""
    heights, alone = [], []
    for cell in chapter.cells:
        if kind(cell) == "-":
            heights[-1] += slides._lines(cell)
            alone[-1] = False
        elif kind(cell) != "skip":
            heights.append(slides._lines(cell))
            alone.append(True)
    for height, one in zip(heights, alone, strict=True):
        assert height <= slides.FULL * (TALLEST if one else 1)


@each
def test_deck_has_a_section_for_each_scene(chapter):
    """What JupyterLab's own exporter makes of the chapter has them in order."""
    deck, _ = SlidesExporter().from_notebook_node(chapter)
    scenes = [cell for cell in chapter.cells if kind(cell) == "slide"]
    below = [cell for cell in chapter.cells if kind(cell) == "subslide"]
    assert deck.count("<section>") + deck.count("<section ") == 2 * len(scenes) + len(below)


def test_long_cell_goes_on_below():
    """The control: what does not fit begins another slide, and a full one takes no more."""
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [text("# T"), text("word " * 200), text("word " * 200), code("1"), code("close")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    slides.mark(notebook)
    assert [kind(cell) for cell in cells] == ["slide", "-", "subslide", "-", "skip"]


def test_what_happened_is_not_beside_its_question():
    """A guess closes its slide: the run that answers it is on the next."""
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [text("# T"), text("**Predict.** x?"), code('g = Guess("")'), code("x"), code("close")]
    slides.mark(nbformat.v4.new_notebook(cells=cells))
    assert [kind(cell) for cell in cells] == ["slide", "subslide", "-", "subslide", "skip"]


def test_decks_are_written_without_npm(tmp_path):
    """They say that they need a network, and their links lead to each other."""
    command = [sys.executable, ROOT / ".ci" / "slides.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "npm could not fetch reveal.js: the decks need a network." in done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.html")) == [
        f"{name}.slides.html" for name in NAMES
    ]
    deck = (tmp_path / "01_live_only.slides.html").read_text()
    assert 'href="00_start_here.slides.html"' in deck
    assert "https://unpkg.com/reveal.js" in deck
