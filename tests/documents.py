"""Markdown as the tests read it: the prose of a document, its headings, links and new words."""

import json
import re
from html import unescape
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
HTTPS = re.compile(r"https://[\w-]+(\.[\w-]+)+(:\d+)?(/\S*)?")


def prose(path):
    """The text of a document without its code: of a notebook, the Markdown cells."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def programs(path):
    """The complete files in a document: their names, from the first line, and what is in them."""
    blocks = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", path.read_text(), re.M | re.DOTALL)
    return dict(blocks)


def headings(text):
    """The headings of a text, in order: the marks of each, and its words."""
    return re.findall("^(#+) (.*)", text, re.MULTILINE)


def misplaced_headings(text):
    """A sentence for every heading that a reader who hears them one by one stumbles over."""
    depths = [len(marks) for marks, _ in headings(text)]
    if depths[:1] != [1] or depths.count(1) != 1:
        yield "there is not exactly one title, at the top"
    for before, after in pairwise(depths):
        if after > before + 1:
            yield f"a heading of level {after} follows one of level {before}"


def all_links(text):
    """The links in a text: what they say, and where they lead. What stands in code is no link."""
    text = re.sub("`[^`\n]*`", lambda code: code[0].replace("](", ""), text)
    return [*re.findall(r"\[([^\]]*)\]\(([^)\s]*)\)", text), *pictures(text)]


def pictures(text):
    """The pictures that a text shows as HTML: their words, and where they lie."""
    tags = re.findall(r"<img\b[^>]*>", text, re.IGNORECASE)
    attributes = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in tags]
    return [(unescape(of.get("alt", "")), of.get("src", "")) for of in attributes]


def links(text):
    """The links that lead to a file of the project."""
    return [(words, target) for words, target in all_links(text) if not is_elsewhere(target)]


def is_elsewhere(target):
    """Whether a link leads into the same document, or out into the world."""
    return re.match(r"#|[a-z]+:", target)


def anchors(path):
    """What a link can name behind a file: its headings, as GitHub or, in a notebook, JupyterLab."""
    words = [re.sub(r"\]\([^)]*\)|[\[`*]", "", title) for _, title in headings(prose(path))]
    if path.suffix != ".ipynb":
        words = [re.sub(r"[^\w\- ]", "", title).lower() for title in words]
    return [title.replace(" ", "-") for title in words]


def broken_links(text, path):
    """A sentence for every link in a text of the document at a path that leads nowhere.

    Addresses out in the world are judged by their form alone.
    """
    for _, target in all_links(text):
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        if re.match("[a-z]+:", target):
            if not HTTPS.fullmatch(target):
                yield f"{target} is no https address"
        elif not (place.is_relative_to(ROOT) and place.is_file()):
            yield f"{target} is not there"
        elif anchor and anchor not in anchors(place):
            yield f"{target} names no heading"


def torn_tables(text):
    """The first row of every table that has no head: it is shown as a line full of bars."""
    blocks = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return [
        rows.partition("\n")[0]
        for rows in blocks
        if not re.match(r".*\n\|( ?-+ ?\|)+$", rows, re.M)
    ]


def nameless_pictures(text):
    """A sentence for every picture or frame in Markdown or HTML that has no words."""
    for tag, attribute in (("img", "alt"), ("iframe", "title")):
        for found in re.findall(rf"<{tag}\b[^>]*>", text, re.IGNORECASE):
            if not re.search(rf"""\s{attribute}=(?:"[^"]*[^"\s]|'[^']*[^'\s])""", found):
                yield f"{found[:40]} has no {attribute}"
    if re.search(r"!\[\s*\]\(", text):
        yield "an image has no words"


def new_words(text):
    """The words that a chapter introduces, in the paragraph that says so, in lower case."""
    paragraphs = re.findall(r"^\*\*New words\b.*?\*\*(.*)", text, re.MULTILINE)
    found = re.findall(r"\*+([^*]+)\*+", "\n".join(paragraphs))
    return [word.strip("`").lower() for word in found]


def glossary(text):
    """The lines of the glossary: each word in lower case, its meaning, and where it leads."""
    rows = re.findall(r"^\| \*\*(.*?)\*\*.*? \| (.*?) \| \[.*?\]\((.*?)\) \|$", text, re.MULTILINE)
    return [(word.strip("`").lower(), meaning, target) for word, meaning, target in rows]
