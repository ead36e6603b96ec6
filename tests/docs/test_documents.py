"""The texts beside the code: links lead somewhere, and they agree with the chapters."""

import re

import pytest
from documents import (
    ROOT,
    broken_links,
    glossary,
    misplaced_headings,
    nameless_pictures,
    new_words,
    prose,
    torn_tables,
)

NOTEBOOKS = ROOT / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("*.ipynb"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
INSTRUCTORS = NOTEBOOKS / "INSTRUCTORS.md"
WORDS = glossary(prose(NOTEBOOKS / "GLOSSARY.md"))
INTRODUCED = {path.name: new_words(prose(path)) for path in CHAPTERS}


def section(title):
    """What the notes for instructors say of a chapter; nothing if they leave it out."""
    parts = re.split("^## ", prose(INSTRUCTORS), flags=re.MULTILINE)
    return "".join(part for part in parts if part.startswith(f"{title}\n"))


def title(path):
    return re.match("# (.*)", prose(path))[1]


def rows(text):
    """The lines of a table below its head, each a list of its cells."""
    lines = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)[2:]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def cells(text):
    """The numbers of the cells that a text names: "2-5" and "9"."""
    return [int(number) for number in re.findall(r"\d+", text)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_link_of_a_document_leads_somewhere(path):
    """To a file of the project, to a heading that is in it, or to an https address."""
    assert list(broken_links(prose(path), path)) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_document_can_be_read_aloud(path):
    """It has one title, its headings skip no level, its tables heads, and its pictures words."""
    assert list(misplaced_headings(prose(path))) == []
    assert torn_tables(prose(path)) == []
    assert list(nameless_pictures(prose(path))) == []


@pytest.mark.parametrize(
    "target",
    [
        "missing.md",
        "../notebooks",
        "../../outside.md",
        "GLOSSARY.md#no-such-heading",
        "#no-such-heading",
        "01_live_only.ipynb#No-such-heading",
        "http://example.org",
        "https://nowhere",
        "ftp://example.org/x",
    ],
)
def test_broken_link_is_found(target):
    """The control: a planted link to no file, to no heading, or to no https address is seen."""
    assert len(list(broken_links(f"See [there]({target}).", INSTRUCTORS))) == 1


@pytest.mark.parametrize(
    "target",
    [
        "../README.md",
        "GLOSSARY.md",
        "GLOSSARY.md#glossary",
        "#before-you-begin",
        "#00--start-here",
        "01_live_only.ipynb#See-it",
        "https://socket.io/docs/v4/#x",
    ],
)
def test_link_that_leads_somewhere_is_not_found(target):
    """The control of the control: what may be written is not."""
    assert list(broken_links(f"See [there]({target}).", INSTRUCTORS)) == []


def test_picture_that_is_not_there_is_found():
    """The control: a picture in HTML is followed as a link is."""
    assert len(list(broken_links('<img alt="x" src="docs/none.png">', ROOT / "README.md"))) == 1
    assert list(broken_links('<img alt="x" src="docs/page.png">', ROOT / "README.md")) == []


@pytest.mark.parametrize("faulty", ["No title.", "# A\n# B", "# A\n### C", "## B\n# A"])
def test_misplaced_heading_is_found(faulty):
    """The control: no title, two of them, a level that is skipped, and a title that comes late."""
    assert list(misplaced_headings(faulty)) != []


def test_torn_table_is_found():
    """The control: rows behind a line of text have lost their head, and others have not."""
    head = "| word | meaning |\n| --- | --- |\n"
    assert torn_tables(f"{head}| log | x |\n\n{head}| sid | y |\n") == []
    assert torn_tables(f"{head}\n[Back](x.md)\n| log | x |\n| sid | y |\n") == ["| log | x |"]


def test_every_folder_is_in_the_table_of_the_readme():
    """The table names each folder of the package once, and none that is not there."""
    table = re.search(r"^\| where \|.*?\n\n", (ROOT / "README.md").read_text(), re.M | re.DOTALL)
    named = [name for where, _ in rows(table[0]) for name in re.findall(r"`(\w+)/`", where)]
    folders = [path.parent.name for path in ROOT.glob("chatlab/*/__init__.py")]
    assert sorted(named) == sorted(folders)


def test_every_new_word_is_in_the_glossary_once():
    """No word of a chapter is missing there, none is there twice, and none is from nowhere."""
    introduced = {word for words in INTRODUCED.values() for word in words}
    assert all(INTRODUCED.values())
    assert sorted(word for word, _, _ in WORDS) == sorted(introduced)


def test_glossary_is_in_the_order_of_the_alphabet():
    """A reader finds a word where it is looked for."""
    words = [word for word, _, _ in WORDS]
    assert words == sorted(words, key=lambda word: re.sub(r"\W", " ", word))


def test_glossary_says_each_word_in_one_sentence():
    """It begins with a capital and ends with its only full stop."""
    wrong = [word for word, meaning, _ in WORDS if not re.fullmatch(r"[A-Z][^.!?]*\.", meaning)]
    assert wrong == []


def test_word_of_the_glossary_leads_to_the_first_chapter_that_has_it():
    """Later chapters may repeat it, for those who begin there."""
    first = {}
    for name, words in INTRODUCED.items():
        first |= {word: name for word in words if word not in first}
    assert {word: target for word, _, target in WORDS} == first


def test_new_words_are_read_in_every_form():
    """The control: italic, bold and code, after a head with or without the link."""
    assert new_words("**New words.** *Log*: x. *`auth`*, **Race**: y.") == ["log", "auth", "race"]
    assert new_words("**New words** ([glossary](G.md)). *To go*: x.\n\n*Not this.*") == ["to go"]


@pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
def test_notes_for_instructors_agree_with_the_chapter(path):
    """Its link and minutes, a row for each question in it, and cells that are there, in order."""
    notes, chapter = section(title(path)), prose(path)
    assert f"]({path.name})" in notes
    [minutes] = re.findall(r"About (\d+) minutes", chapter)
    assert f"Minutes: {minutes}. To get across: " in notes
    assert "\nOn stage: " in notes
    asked = [ask for _, _, ask, _ in rows(notes) if ask]
    assert len(asked) == chapter.count("**Predict.**")
    named = [number for numbers, *_ in rows(notes) for number in cells(numbers)]
    assert named == sorted(set(named))
    assert named[-1] <= path.read_text().count('"cell_type": "code"')


@pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
def test_answer_in_the_notes_is_the_one_of_the_chapter(path):
    """The letters that the notes give are those that the chapter gives, in its order."""
    after_questions = re.split(r"\*\*Predict\.\*\*", prose(path))[1:]
    right = [
        re.findall(r"\*\*\(([a-d])\)\*\*", part.partition("**Observe.**")[2].partition("\n\n")[0])
        for part in after_questions
    ]
    said = [re.findall(r"\*\*\(([a-d])\)\*\*", ask) for _, _, ask, _ in rows(section(title(path)))]
    assert [letters for letters in said if letters] == [letters for letters in right if letters]
