"""The blank copies of the chapters: they run to their end, and show no solution."""

import subprocess
import sys

import nbformat
import pytest
from documents import ROOT, all_links, is_elsewhere, prose

CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in CHAPTERS]
FEW, THE_OTHERS = NAMES[1:3], NAMES[:1] + NAMES[3:]


def write_blank(folder):
    """Run the command with a folder."""
    command = [sys.executable, ROOT / ".ci" / "blank.py", folder]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The folder of the copies, as they are handed out."""
    folder = tmp_path_factory.mktemp("course") / "blank"
    done = write_blank(folder)
    assert done.returncode == 0, done.stderr  # a kernel that is shut down may say a last word
    assert done.stdout == f"{len(CHAPTERS)} blank chapters are in {folder}\n"
    return folder


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("path", CHAPTERS, ids=NAMES)
def test_copy_has_no_output_and_no_solution(path, copies):
    """What is left is the chapter, cell by cell, and the exercise is as it was set."""
    chapter = nbformat.read(path, as_version=4)
    copy = nbformat.read(copies / path.name, as_version=4)
    solutions = tagged(chapter, "solution")
    assert solutions
    assert [cell.id for cell in copy.cells] == [
        cell.id for cell in chapter.cells if cell not in solutions
    ]
    sources = [cell.source for cell in copy.cells]
    assert not {cell.source for cell in solutions} & set(sources)
    assert tagged(copy, "exercise")[0].source == tagged(chapter, "exercise")[0].source
    code = [cell for cell in copy.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []


@pytest.mark.parametrize("path", CHAPTERS, ids=NAMES)
def test_link_of_a_copy_leads_somewhere(path, copies):
    """To a blank chapter beside it, or to the file that the chapter itself leads to."""
    before, after = (
        [target for _, target in all_links(prose(p))] for p in (path, copies / path.name)
    )
    assert len(after) == len(before)
    for target, moved in zip(before, after, strict=True):
        file = moved.partition("#")[0]
        if is_elsewhere(moved):
            assert moved == target
        elif file.endswith(".ipynb"):
            assert (copies / file).is_file()
        else:
            assert (copies / file).resolve() == (path.parent / target).resolve()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("names", [FEW, pytest.param(THE_OTHERS, marks=pytest.mark.slow)])
def test_copies_run_to_their_end_and_say_what_is_left(copies, names):
    """Nobody has answered anything: each check says `not yet`, no guess is there, nothing fails.

    It finds a cell that needs an answer or a solution that a copy does not have.
    """
    paths = [copies / f"{name}.ipynb" for name in names]
    command = [sys.executable, ROOT / ".ci" / "run_notebooks.py", *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # a kernel that is shut down may say a last word
    for path in paths:
        outputs, source = outputs_of(path), path.read_text()
        assert any("not yet: " in text for text in outputs), path.name
        assert [text for text in outputs if "solved" in text and "not yet: " not in text] == []
        guesses = [text for text in outputs if text.startswith("no guess yet; ")]
        assert len(guesses) == source.count(".beside("), path.name


def outputs_of(path):
    """The texts that the cells of a copy show."""
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    shown = [output for cell in code for output in cell.outputs]
    return [output.get("text") or output["data"]["text/plain"] for output in shown]


def test_chapters_are_not_overwritten():
    """The folder of the chapters is refused, in a sentence."""
    before = CHAPTERS[0].read_bytes()
    done = write_blank(ROOT / "notebooks")
    assert done.returncode == 1
    assert done.stderr.startswith("The folder of the chapters is no place for blank copies")
    assert CHAPTERS[0].read_bytes() == before
