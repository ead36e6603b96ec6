"""The texts beside the code: they agree with the chapters."""

import re

from documents import ROOT, glossary, new_words, prose

NOTEBOOKS = ROOT / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("*.ipynb"))
WORDS = glossary(prose(NOTEBOOKS / "GLOSSARY.md"))
INTRODUCED = {path.name: new_words(prose(path)) for path in CHAPTERS}


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
