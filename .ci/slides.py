"""Make a deck of slides of each chapter: `make slides`, or name a folder for them.

The metadata of a cell say where it belongs in the deck (`slideshow.slide_type`). `mark` has the
rule, and `make notebooks` uses it. npm fetches the script that shows the slides, reveal.js, so that
the decks need no network; without npm, they load it from its CDN.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from base64 import b64decode
from math import ceil
from pathlib import Path

import nbformat
from blank import CHAPTERS, ROOT, moved_links

SCRIPTS = ("reveal.js@4.6.1", "requirejs@2.3.7", "jquery@3.7.1")
FULL = 20
"""Lines of text that fit on a slide."""
WIDTH = 95
"""Characters in a line of text."""
LINE = 24
"""The height of a line of text, in pixels of a picture."""
HEIGHT, PICTURE = 760, 540
"""The heights of a slide and of the highest picture on it, in pixels."""
STYLE = f"""<style>
.reveal .jp-OutputArea img {{ max-height: {PICTURE}px; width: auto; max-width: 100%; }}
.reveal pre {{ font-size: 15px !important; }}
</style>
"""


def mark(notebook: nbformat.NotebookNode) -> None:
    """Give every cell its place: a scene is a slide, and continues on subslides when it is full."""
    used, last = 0.0, notebook.cells[-1]
    for cell in notebook.cells:
        kind = _kind(cell, cell is last)
        if kind != "skip":
            needed = _lines(cell)
            if kind == "-" and used + needed > FULL:
                kind = "subslide"
            used = needed + (used if kind == "-" else 0)
            if "Guess(" in cell.source:  # do not show the answer on the slide of the question
                used = FULL
        cell.metadata.slideshow = {"slide_type": kind}


def _kind(cell: nbformat.NotebookNode, is_last: bool) -> str:
    """Return where a cell belongs if there is space: "-" is the slide of the cell before it."""
    if (is_last and cell.cell_type == "code") or "solution" in cell.metadata.get("tags", []):
        return "skip"
    if cell.cell_type == "code":
        return "-"
    if cell.source.startswith("#"):
        return "slide"
    return "subslide" if cell.source.startswith("**Predict.**") else "-"


def _lines(cell: nbformat.NotebookNode) -> float:
    """Estimate the height of a cell, in lines of text."""
    if cell.cell_type == "markdown":
        text = re.sub(r"\]\([^)]*\)|(?s:</summary>.*?</details>)", "", cell.source)
        rows = [row for row in text.splitlines() if row]
        return sum(1.6 + ceil(len(row) / WIDTH) - 1 for row in rows) + 1.5 * text.startswith("#")
    height = 1.2 + 0.9 * len(cell.source.splitlines())
    return height + sum(map(_lines_of_output, cell.outputs))


def _lines_of_output(output: nbformat.NotebookNode) -> float:
    data = output.get("data", {})
    picture = re.search(r"svg\+xml;base64,([^\"]*)", data.get("text/html", ""))
    if picture:
        svg = b64decode(picture[1]).decode()
        return min(int(re.search(r'height="(\d+)"', svg)[1]), PICTURE) / LINE + 1
    text = output.get("text") or data.get("text/plain", "")
    return 0.6 + 0.9 * len(text.splitlines())


def main() -> None:
    from nbconvert import SlidesExporter

    folder = Path(*sys.argv[1:2] or [ROOT / "slides"]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    exporter = SlidesExporter(**fetch(folder), reveal_height=str(HEIGHT))
    for path in CHAPTERS:
        notebook = nbformat.read(path, as_version=4)
        moved_links(notebook, folder, ".slides.html")
        deck, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
        (folder / f"{path.stem}.slides.html").write_text(
            deck.replace("</head>", f"{STYLE}</head>", 1)
        )
    print(f"{len(CHAPTERS)} decks are in {folder}")


def fetch(folder: Path) -> dict[str, str]:
    """Fetch the scripts into `folder`; return nbconvert's options for them, {} without npm."""
    npm = shutil.which("npm")
    options = ("--prefix", folder, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts")
    if npm is None or subprocess.run([npm, "install", *options, *SCRIPTS]).returncode:
        print("npm could not fetch reveal.js: the decks need a network.", file=sys.stderr)
        return {}
    return {
        "reveal_url_prefix": "node_modules/reveal.js",
        "require_js_url": "node_modules/requirejs/require.js",
        "jquery_url": "node_modules/jquery/dist/jquery.min.js",
    }


if __name__ == "__main__":
    main()
