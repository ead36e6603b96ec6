"""The texts beside the code: they agree with the chapters."""

import re

import pytest
from documents import ROOT, glossary, new_words, prose

NOTEBOOKS = ROOT / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("*.ipynb"))
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
