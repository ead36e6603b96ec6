"""Write blank copies of the chapters for students: `make blank`, or name a folder for them.

A copy has no outputs and no solutions. It runs to its end, and its check says what is not solved
yet. A link to a chapter leads to the blank copy; all other links lead to the same files as before.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("*.ipynb"))


def blank(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Return a chapter as it will be in the folder: without outputs and solutions."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [
        cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", [])
    ]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    moved_links(notebook, folder)
    return notebook


def moved_links(
    notebook: nbformat.NotebookNode, folder: Path, chapters_are: str = ".ipynb"
) -> None:
    """Change the links to files so that they are right in `folder`, which has all chapters."""

    def moved(link: re.Match[str]) -> str:
        place = (NOTEBOOKS / link[1]).resolve()
        if place in CHAPTERS:
            return f"]({place.stem}{chapters_are}"
        return f"]({Path(os.path.relpath(place, folder)).as_posix()}"

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(([^):#]+)(?=[)#])", moved, cell.source)


def main() -> None:
    folder = Path(*sys.argv[1:2] or [ROOT / "blank"]).resolve()
    if folder == NOTEBOOKS:
        sys.exit("The folder of the chapters is no place for blank copies: name another one.")
    folder.mkdir(parents=True, exist_ok=True)
    for path in CHAPTERS:
        nbformat.write(blank(path, folder), folder / path.name)
    print(f"{len(CHAPTERS)} blank chapters are in {folder}")


if __name__ == "__main__":
    main()
