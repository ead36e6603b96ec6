"""Markdown as the tests read it: the prose of a document and its new words."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def prose(path):
    """The text of a document without its code: of a notebook, the Markdown cells."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def new_words(text):
    """The words that a chapter introduces, in the paragraph that says so, in lower case."""
    paragraphs = re.findall(r"^\*\*New words\b.*?\*\*(.*)", text, re.MULTILINE)
    found = re.findall(r"\*+([^*]+)\*+", "\n".join(paragraphs))
    return [word.strip("`").lower() for word in found]


def glossary(text):
    """The lines of the glossary: each word in lower case, its meaning, and where it leads."""
    rows = re.findall(r"^\| \*\*(.*?)\*\*.*? \| (.*?) \| \[.*?\]\((.*?)\) \|$", text, re.MULTILINE)
    return [(word.strip("`").lower(), meaning, target) for word, meaning, target in rows]
