"""The chapters: each keeps the rules of the course, and runs in every way a learner runs it."""

import json
import re
import subprocess
import sys
from base64 import b64decode
from contextlib import closing, contextmanager
from copy import deepcopy
from html import unescape
from itertools import pairwise
from statistics import median
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import nbformat
import pytest
import run_notebooks
from documents import ROOT, broken_links, headings, links, misplaced_headings, nameless_pictures
from nbformat.v4 import output_from_msg
from support import Kernel

NOTEBOOKS = ROOT / "notebooks"
RUN_NOTEBOOKS = ROOT / ".ci" / "run_notebooks.py"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
OFF_THE_MAIN_LINE = "90"
"""The first number of the chapters that no other chapter needs."""
PATIENCE = 60
"""Seconds after which a kernel that does not answer is an error."""

LIVE = "nbval-ignore-output"
TAGS = {"server", "guess", "exercise", "solution", LIVE}
WORDS, WORDS_A_CELL = (900, 1400), (40, 65)
LINES, LINES_IN_THE_MIDDLE, LINES_OF_A_SERVER = 8, 3, 20
PREDICT = "**Predict.**"
EMPTY_GUESS = re.compile(r'guess_(?P<number>\d+) = Guess\(""(, "(?P<options>[a-z]+)")?\)  # .*')
NOT_THE_SAME_EVERYWHERE = {
    "a port or an address": r"localhost|\d+\.\d+\.\d+\.\d+|\w:\d{2,5}\b",
    "a time": r"\b\d{1,2}:\d{2}\b|\b\d{4}-\d{2}-\d{2}\b|\b\d+(\.\d+)? ?(ns|us|µs|ms|s|seconds?)\b",
    "a session id": r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Z])(?=[\w-]*[a-z])[\w-]{20}(?![\w-])",
    "a token": r"(?i)token|\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b",
    "a path": r"(?<![\w<.])/\w[\w.-]*/\w|\b[A-Z]:\\|~/",
    "a memory address": r"0x[0-9a-f]{6,}",
}


class Chapter:
    """A notebook and its name, and the parts of it that the rules are about."""

    def __init__(self, path, notebook=None):
        self.name = path.name
        self.notebook = notebook or nbformat.read(path, as_version=4)

    @property
    def cells(self):
        return self.notebook.cells

    @property
    def code(self):
        return [cell for cell in self.cells if cell.cell_type == "code"]

    @property
    def prose(self):
        return [cell.source for cell in self.cells if cell.cell_type == "markdown"]

    @property
    def headings(self):
        return headings("\n".join(self.prose))

    @property
    def title(self):
        return self.headings[0][1] if self.headings else ""

    def tagged(self, tag):
        return [cell for cell in self.code if tag in tags(cell)]


CHAPTERS = [Chapter(path) for path in PATHS]
TITLES = {chapter.name: chapter.title for chapter in CHAPTERS}
NAMES = [path.stem for path in PATHS]


def tags(cell):
    return cell.metadata.get("tags", [])


def texts(output):
    """All that a reader is told by an output, one text a piece; a picture by the words in it."""
    yield output.get("text", "")
    for kind, content in output.get("data", {}).items():
        yield re.sub(r"data:[^\"]*", "", content) if kind.startswith("text/") else str(content)
        for image in pictures(content):
            yield from (text for text in image.itertext() if "{" not in text)


def pictures(html):
    """The SVG pictures that are embedded in a text."""
    found = re.findall(r"data:image/svg\+xml;base64,([^\"]*)", str(html))
    return [ElementTree.fromstring(b64decode(image)) for image in found]


# The rules. Each returns a sentence for every fault that it finds in a chapter.


def file_is_named_after_its_title(chapter):
    words = re.sub(r"\W+", "_", chapter.title.lower())
    if chapter.name != f"{words}.ipynb":
        yield f"the title {chapter.title!r} belongs to another file name"


def headings_are_in_order(chapter):
    yield from misplaced_headings("\n".join(chapter.prose))


def links_lead_to_the_neighbours(chapter, names=tuple(TITLES)):
    head, tail = links(chapter.prose[0]), links(chapter.prose[-1])
    main = [name for name in names if name < OFF_THE_MAIN_LINE]
    if chapter.name not in main:
        return
    place = main.index(chapter.name)
    for neighbour in main[max(place - 1, 0) : place] + main[place + 1 : place + 2]:
        if neighbour not in [target for _, target in head]:
            yield f"the beginning has no link to {neighbour}"
    for neighbour in main[place + 1 : place + 2]:
        if neighbour not in [target for _, target in tail]:
            yield f"the end has no link to {neighbour}"


def links_lead_somewhere(chapter):
    text = "\n".join(chapter.prose)
    yield from broken_links(text, NOTEBOOKS / chapter.name)
    for words, target in links(text):
        if words != TITLES.get(target.partition("#")[0], words):
            yield f"{target} is called {words!r}"


def glossary_is_linked(chapter):
    if "GLOSSARY.md" not in [target for _, target in links("\n".join(chapter.prose))]:
        yield "there is no link to the glossary"


def cells_have_been_run_in_order(chapter):
    counts = [cell.execution_count for cell in chapter.code]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the execution counts are {counts}"


def outputs_are_the_same_everywhere(chapter):
    for cell in chapter.code:
        for output in cell.outputs:
            for text in texts(output):
                for what, pattern in NOT_THE_SAME_EVERYWHERE.items():
                    if found := re.search(pattern, text):
                        yield f"{cell.id} shows {what}: {found[0]!r}"


def outputs_are_no_errors(chapter):
    for cell in chapter.code:
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"{cell.id} shows an error"


def live_outputs_are_not_stored(chapter):
    for cell in chapter.tagged(LIVE):
        if cell.outputs:
            yield f"{cell.id} is live, and its output is stored"


def pictures_say_in_words_what_they_show(chapter):
    for cell in chapter.code:
        for output in cell.outputs:
            data = output.get("data", {})
            images = re.findall("<img[^>]*>", data.get("text/html", ""))
            for kind in data:
                if kind.startswith("image/"):
                    yield f"{cell.id} shows an {kind} without words"
            for tag, image in zip(images, pictures(data.get("text/html")), strict=True):
                alt = re.search('alt="([^"]+)"', tag)
                title, description = (image.findtext(f"{{*}}{name}") for name in ("title", "desc"))
                if not alt or unescape(alt[1]) != title:
                    yield f"{cell.id} has a picture whose alternative text is not its title"
                if data.get("text/plain") != description:
                    yield f"{cell.id} has a picture whose table says something else"


def pictures_and_frames_have_names(chapter):
    shown = [
        output.data["text/html"]
        for cell in chapter.code
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    for text in chapter.prose + shown:
        yield from nameless_pictures(text)


def cells_can_be_laid_beside_a_translation(chapter):
    """Ids begin with the chapter's number, each once; a paragraph is one line of the cell."""
    ids = [cell.id for cell in chapter.cells]
    for id in ids:
        if ids.count(id) > 1 or not re.fullmatch(chapter.name[:2] + r"-\d\d(-\w+)?", id):
            yield f"{id} is no id of its own"
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            for above, below in pairwise(cell.source.split("\n")):
                if re.match(r"[^\W_]", above) and re.match(r"[^\W\d_]", below):
                    yield f"{cell.id} breaks a paragraph before {below!r}"
        if cell.get("attachments"):
            yield f"{cell.id} has a picture that no code has made"


def tags_are_known(chapter):
    for cell in chapter.cells:
        for tag in set(tags(cell)) - TAGS:
            yield f"{cell.id} has the unknown tag {tag}"


def exercise_has_a_check_and_a_folded_solution(chapter):
    exercises, solutions = chapter.tagged("exercise"), chapter.tagged("solution")
    if not exercises or not solutions:
        yield "there is no exercise, or no solution"
        return
    between = chapter.code.index(exercises[0]), chapter.code.index(solutions[-1])
    verdicts = [
        output.data["text/plain"]
        for cell in chapter.code[slice(*between)]
        for output in cell.outputs
        if "data" in output
    ]
    if not any("not yet" in verdict for verdict in verdicts):
        yield "the check does not say `not yet` to the stub"
    for cell in solutions:
        said = "".join(text for output in cell.outputs for text in texts(output))
        if "solved" not in said or "not yet" in said:
            yield f"{cell.id} does not solve the exercise"
        if not cell.metadata.get("jupyter", {}).get("source_hidden"):
            yield f"{cell.id} is a solution, and is not folded away"


def last_cell_closes_the_lab(chapter):
    for name in set(re.findall(r"^(\w+) = await Lab\(", sources(chapter), re.MULTILINE)):
        if f"await {name}.close()" not in chapter.code[-1].source:
            yield f"{name} is not closed at the end"


def guesses_are_asked_for_and_checked(chapter):
    """Below each question is a cell for the guess, which is empty; later it meets what happened."""
    asked, checked = list(questions(chapter)), sources(chapter)
    cells = [cell for cell in chapter.tagged("guess") if "Guess(" in cell.source]
    below = [after for before, after in pairwise(chapter.cells) if PREDICT in before.source]
    if cells != below or len(cells) != len(asked):
        yield "there is not one cell for a guess below each question"
        return
    for number, (cell, text) in enumerate(zip(cells, asked, strict=True), 1):
        found = EMPTY_GUESS.fullmatch(cell.source)
        if not found or found["number"] != str(number) or cell.outputs:
            yield f"{cell.id} is not an empty guess, number {number}"
        elif set(re.findall(r"\*\*\(([a-z])\)\*\*", text[0])) != set(found["options"] or "abc"):
            yield f"{cell.id} has other letters than its question"
        if checked.count(f"guess_{number}.beside(") != 1:
            yield f"guess {number} is not shown once beside what happened"


def checks_say_the_letter_of_the_chapter(chapter):
    """What the cell shows, and what the paragraph that follows says of it, is the same letter."""
    for number, (_, observed) in enumerate(questions(chapter), 1):
        [said] = re.findall(r"\*\*\(([a-z])\)\*\*", observed.partition("\n\n")[0]) or "?"
        for cell in chapter.code:
            if f"guess_{number}.beside(" in cell.source:
                shown = cell.outputs[-1].data["text/plain"] if cell.outputs else ""
                if not shown.startswith(f"no guess yet; it is ({said}):"):
                    yield f"{cell.id} shows another letter than ({said})"


def questions(chapter):
    """The text of each question, and the first that is observed after it."""
    for part in "\n\n".join(chapter.prose).split(PREDICT)[1:]:
        question, _, observed = part.partition("**Observe.**")
        yield question, observed


def steps(chapter):
    """The cells of code that a reader has to follow: a guess is an answer to the text above it."""
    return [cell for cell in chapter.code if "guess" not in tags(cell)]


def prose_has_the_right_measure(chapter):
    words = len(" ".join(chapter.prose).split())
    if not WORDS[0] <= words <= WORDS[1]:
        yield f"{words} words of prose"
    if not WORDS_A_CELL[0] <= words / len(steps(chapter)) <= WORDS_A_CELL[1]:
        yield f"{words / len(steps(chapter)):.0f} words for a code cell"


def cells_have_the_right_measure(chapter):
    lines = {cell.id: len(re.findall(r"\S.*", cell.source)) for cell in chapter.code}
    if median(lines.values()) > LINES_IN_THE_MIDDLE:
        yield f"a code cell has {median(lines.values())} lines in the middle"
    for cell in chapter.code:
        long = {"server", "exercise", "solution"} & set(tags(cell)) or "def check(" in cell.source
        if lines[cell.id] > (LINES_OF_A_SERVER if long else LINES):
            yield f"{cell.id} has {lines[cell.id]} lines"


def sources(chapter):
    return "\n".join(cell.source for cell in chapter.code)


# For every rule, changes that it must find, made to a chapter that keeps it.


def retitle(chapter):
    chapter.cells[0].source = chapter.cells[0].source.replace(" · ", " · Not ", 1)


def add_prose(text):
    def plant(chapter):
        chapter.cells.append(nbformat.v4.new_markdown_cell(text))

    return plant


def add_output(**content):
    def plant(chapter):
        chapter.code[0].outputs.append(nbformat.v4.new_output(**content))

    return plant


def show_html(html):
    return add_output(output_type="display_data", data={"text/html": html})


def say(text):
    return add_output(output_type="stream", text=text)


def unlink(chapter):
    for cell in chapter.cells:
        cell.source = re.sub(r"\]\([^)]*\)", "]", cell.source)


def relink(chapter):
    for cell in chapter.cells:
        cell.source = cell.source.replace("](", "](0")


def rename_links(chapter):
    for cell in chapter.cells:
        cell.source = cell.source.replace("](", " and more](")


def change_prose(old, new):
    def plant(chapter):
        for cell in chapter.cells:
            cell.source = cell.source.replace(old, new)

    return plant


def forget_a_run(chapter):
    chapter.code[1].execution_count = None


def store_a_live_output(chapter):
    chapter.code[0].outputs = [nbformat.v4.new_output("stream", text="live")]
    chapter.code[0].metadata.tags = [LIVE]


def change_outputs(old, new):
    def plant(chapter):
        for cell in chapter.code:
            for output in cell.outputs:
                for kind, content in output.get("data", {}).items():
                    output.data[kind] = re.sub(old, new, content)

    return plant


def repeat_an_id(chapter):
    chapter.cells[1].id = chapter.cells[0].id


def break_a_paragraph(chapter):
    chapter.cells[0].source += "\n\nThis goes\non below."


def attach_a_picture(chapter):
    chapter.cells[0].attachments = {"bob.png": {}}


def tag_oddly(chapter):
    chapter.cells[0].metadata.tags = ["skip"]


def solve(chapter):
    for cell in chapter.code:
        for output in cell.outputs:
            if "data" in output:
                output.data["text/plain"] = output.data["text/plain"].replace("not yet", "solved")


def fail(chapter):
    chapter.tagged("solution")[0].outputs = []


def unfold(chapter):
    del chapter.tagged("solution")[0].metadata["jupyter"]


def drop_the_exercise(chapter):
    chapter.cells[:] = [cell for cell in chapter.cells if "exercise" not in tags(cell)]


def answer_a_guess(chapter):
    chapter.tagged("guess")[0].source = 'guess_1 = Guess("c")  # a, b or c'


def ask_without_a_guess(chapter):
    chapter.cells.append(nbformat.v4.new_markdown_cell(PREDICT))


def change_the_letters(chapter):
    chapter.tagged("guess")[0].source = 'guess_1 = Guess("", "ab")  # a or b'


def check_no_guess(chapter):
    for cell in chapter.code:
        cell.source = cell.source.replace("guess_1.beside(", "print(")


def leave_open(chapter):
    chapter.code[-1].source = ""


def add_code(lines, times=1):
    def plant(chapter):
        chapter.cells.extend(nbformat.v4.new_code_cell("\n".join("x" * lines)) for _ in [1] * times)

    return plant


SENTENCE = "Nothing new is said here. "
FAULTS = [
    (file_is_named_after_its_title, retitle),
    (headings_are_in_order, add_prose("# Another title")),
    (headings_are_in_order, add_prose("#### A deep heading")),
    (links_lead_to_the_neighbours, unlink),
    (links_lead_to_the_neighbours, add_prose("The end, without a link.")),
    (links_lead_somewhere, relink),
    (links_lead_somewhere, rename_links),
    (links_lead_somewhere, add_prose("[Below](#no-such-heading)")),
    (links_lead_somewhere, add_prose("[Unsafe](http://example.org)")),
    (glossary_is_linked, unlink),
    (cells_have_been_run_in_order, forget_a_run),
    (cells_have_been_run_in_order, add_code(1)),
    (outputs_are_the_same_everywhere, say("served on http://localhost:3000")),
    (outputs_are_the_same_everywhere, say("127.0.0.1 connects")),
    (outputs_are_the_same_everywhere, say("chat.example:41234")),
    (outputs_are_the_same_everywhere, say("it is 12:34")),
    (outputs_are_the_same_everywhere, say("2001-02-03")),
    (outputs_are_the_same_everywhere, say("done in 0.25 s")),
    (outputs_are_the_same_everywhere, say("the tab aB3dE6gH9jK2mN5pQ8sT")),
    (outputs_are_the_same_everywhere, say("?token=a")),
    (outputs_are_the_same_everywhere, say("01234567-89ab-cdef-0123-456789abcdef")),
    (outputs_are_the_same_everywhere, say("in " + "/".join(("", "tmp", "chat.db")))),
    (outputs_are_the_same_everywhere, say("<object at 0x7f0123456789>")),
    (outputs_are_no_errors, add_output(output_type="error", ename="ValueError", evalue="no")),
    (outputs_are_no_errors, add_output(output_type="stream", name="stderr", text="a warning")),
    (live_outputs_are_not_stored, store_a_live_output),
    (pictures_say_in_words_what_they_show, change_outputs('alt="[^"]+"', 'alt=""')),
    (pictures_say_in_words_what_they_show, change_outputs("Space-time", "Another")),
    (pictures_say_in_words_what_they_show, change_outputs("joins", "leaves")),
    (
        pictures_say_in_words_what_they_show,
        add_output(output_type="display_data", data={"image/png": "AAAA"}),
    ),
    (pictures_and_frames_have_names, change_outputs('alt="[^"]+"', 'alt=""')),
    (pictures_and_frames_have_names, add_prose("![](picture.png)")),
    (pictures_and_frames_have_names, add_prose('<img src="picture.png">')),
    (pictures_and_frames_have_names, show_html('<iframe src="page.html"></iframe>')),
    (cells_can_be_laid_beside_a_translation, repeat_an_id),
    (cells_can_be_laid_beside_a_translation, add_prose("A cell with an id made by chance.")),
    (cells_can_be_laid_beside_a_translation, break_a_paragraph),
    (cells_can_be_laid_beside_a_translation, attach_a_picture),
    (tags_are_known, tag_oddly),
    (exercise_has_a_check_and_a_folded_solution, drop_the_exercise),
    (exercise_has_a_check_and_a_folded_solution, solve),
    (exercise_has_a_check_and_a_folded_solution, fail),
    (exercise_has_a_check_and_a_folded_solution, unfold),
    (guesses_are_asked_for_and_checked, answer_a_guess),
    (guesses_are_asked_for_and_checked, ask_without_a_guess),
    (guesses_are_asked_for_and_checked, change_the_letters),
    (guesses_are_asked_for_and_checked, check_no_guess),
    (checks_say_the_letter_of_the_chapter, change_outputs(r"it is \(c\)", "it is (a)")),
    (checks_say_the_letter_of_the_chapter, change_prose("**(c)**.", "**(a)**.")),
    (last_cell_closes_the_lab, leave_open),
    (prose_has_the_right_measure, add_prose(SENTENCE * 100)),
    (prose_has_the_right_measure, add_code(1, times=10)),
    (cells_have_the_right_measure, add_code(LINES + 1)),
    (cells_have_the_right_measure, add_code(LINES_IN_THE_MIDDLE + 1, times=30)),
]
RULES = list(dict.fromkeys(rule for rule, _ in FAULTS))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_chapter_keeps_the_rule(rule, chapter):
    """No rule finds a fault."""
    assert list(rule(chapter)) == []


@pytest.mark.parametrize(("rule", "plant"), FAULTS, ids=lambda function: function.__name__)
def test_planted_fault_is_found(rule, plant):
    """The control: a chapter that keeps the rule breaks it when a fault is put in."""
    path = NOTEBOOKS / "01_live_only.ipynb"
    chapter = Chapter(path, deepcopy(Chapter(path).notebook))
    assert list(rule(chapter)) == []
    plant(chapter)
    assert list(rule(chapter)) != []


def test_neighbours_are_the_next_chapters_that_there_are():
    """A number may be left out on the main line, and chapters beside it are nobody's neighbours."""
    [chapter] = [chapter for chapter in CHAPTERS if chapter.name.startswith("01")]
    here = chapter.name
    [(_, before), (_, after)] = links(chapter.prose[0])
    assert not list(links_lead_to_the_neighbours(chapter, [before, here, after, "90_x.ipynb"]))
    assert list(links_lead_to_the_neighbours(chapter, [before, here, "01_x.ipynb", after]))


def test_readme_lists_every_chapter_in_order():
    """The chapters have their titles."""
    found = links((ROOT / "README.md").read_text())
    listed = [(target, words) for words, target in found if target.endswith(".ipynb")]
    assert listed == [(f"notebooks/{name}", title) for name, title in TITLES.items()]


# Running the chapters, in a fresh kernel each. Each way finds a fault that the others cannot:
# - cell by cell, with nbval (the notebooks themselves are tests): an output that is not the stored;
# - all cells queued at once: a cell that needs the loop to turn between two cells, and work that a
#   chapter leaves behind;
# - with slow tabs: a cell that shows what it has not waited for;
# - each cell twice: a cell that takes its own names or servers for new;
# - made again, as `make notebooks` does: what differs from run to run in the file itself. Two are
#   enough, because all are stored again with the same outputs, and the first ways compare outputs.
# `make test` runs the first two on every chapter, and the next two where most can go wrong.

COLLECT = nbformat.v4.new_code_cell("import gc\n_ = gc.collect()")
"""A cell that shows complaints about what was left behind: Python has them when it cleans up."""


@contextmanager
def fresh_kernel():
    """A kernel like the one that JupyterLab starts; what it logs is not ours to judge."""
    with TemporaryDirectory() as folder, closing(Kernel(folder, NOTEBOOKS)) as kernel:
        yield kernel.client


def run(client, cells):
    """Queue all cells at once, as Run All does; return how each ended, and its outputs."""
    sent = {client.execute(cell.source): number for number, cell in enumerate(cells)}
    ended, outputs, busy = {}, [[] for _ in cells], set(sent)
    while len(ended) < len(cells):
        reply = client.get_shell_msg(timeout=PATIENCE)
        parent = reply["parent_header"]["msg_id"]
        if parent in sent:  # and not a late answer to the question whether the kernel is ready
            ended[sent[parent]] = reply["content"]["status"]
    while busy:
        news = client.get_iopub_msg(timeout=PATIENCE)
        parent, kind = news["parent_header"].get("msg_id"), news["msg_type"]
        if parent in sent and kind in ("stream", "display_data", "execute_result", "error"):
            add(outputs[sent[parent]], output_from_msg(news))
        elif kind == "status" and news["content"]["execution_state"] == "idle":
            busy.discard(parent)
    return [ended[number] for number in range(len(cells))], outputs


def add(outputs, output):
    """Add an output, joining what is printed piece by piece."""
    if outputs and output.get("name", 0) == outputs[-1].get("name"):
        outputs[-1].text += output.text
    else:
        outputs.append(output)


def differences(chapter, outputs):
    """The cells whose outputs are not the stored ones, with what they show instead."""
    return [
        (cell.source, shown)
        for cell, shown in zip(chapter.code, outputs, strict=True)
        if LIVE not in tags(cell) and json.loads(json.dumps(shown)) != cell.outputs
    ]


def test_output_of_a_queued_cell_is_seen():
    """The control for the runs below: errors, outputs and skipped cells are told apart."""
    queued = ["print(1)\nprint(2)", "3", "1 / 0", "4"]
    with fresh_kernel() as client:
        ended, outputs = run(client, [nbformat.v4.new_code_cell(source) for source in queued])
    assert ended == ["ok", "ok", "error", "aborted"]
    assert [len(shown) for shown in outputs] == [1, 1, 1, 0]
    assert outputs[0][0].text == "1\n2\n"
    assert outputs[1][0].data["text/plain"] == "3"


def test_work_left_behind_by_a_cell_is_seen():
    """The control: a coroutine that nobody has awaited is complained about, and no sooner."""
    leave = "async def work(): ...\nleft = [work()]\nleft.append(left)\ndel left"
    with fresh_kernel() as client:
        _, [left, collected] = run(client, [nbformat.v4.new_code_cell(leave), COLLECT])
    assert left == []
    assert "never awaited" in collected[0].text


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
def test_run_all_gives_the_stored_outputs(chapter):
    """All cells are queued before the first has ended; each shows what is stored, and no more."""
    with fresh_kernel() as client:
        ended, [*outputs, left_behind] = run(client, [*chapter.code, COLLECT])
    assert ended == ["ok"] * (len(chapter.code) + 1)
    assert left_behind == []
    assert differences(chapter, outputs) == []


SLOW = """
def slow_down(late):
    import asyncio
    from engineio import AsyncClient

    numbers, receive = {}, AsyncClient._receive_packet

    async def receive_late(self, packet):
        if numbers.setdefault(self, len(numbers)) % 2 == late:
            await asyncio.sleep(0.005)
        await receive(self, packet)

    AsyncClient._receive_packet = receive_late
"""
"""What makes every second connection of a kernel slow: its packets come in order, and late."""

WITH_TABS = [chapter for chapter in CHAPTERS if ".join(" in sources(chapter)]



def slow_but(chapters, *fast):
    """The chapters as parameters: those that do not begin with these numbers are slow tests."""
    return [
        pytest.param(
            chapter,
            id=chapter.name.removesuffix(".ipynb"),
            marks=() if chapter.name.startswith(fast) else pytest.mark.slow,
        )
        for chapter in chapters
    ]


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("chapter", slow_but(WITH_TABS, "04", "06"))
def test_slow_tabs_change_no_output(chapter, late):
    """A chapter waits for what it shows: nothing depends on which tab is the first to hear."""
    with fresh_kernel() as client:
        client.execute(f"{SLOW}\nslow_down({late})", silent=True, reply=True, timeout=PATIENCE)
        _, outputs = run(client, chapter.code)
    assert differences(chapter, outputs) == []


@pytest.mark.parametrize("chapter", slow_but(CHAPTERS, "00", "03", "90"))
def test_every_cell_can_be_run_twice(chapter):
    """A learner presses Shift+Enter once more: no cell fails the second time."""
    with fresh_kernel() as client:
        for cell in chapter.code:
            assert run(client, [cell, cell])[0] == ["ok", "ok"], cell.source


THIEF = """
def steal_ports():
    import socket
    from jupyter_client.provisioning import LocalProvisioner

    launch = LocalProvisioner.launch_kernel

    async def launch_too_late(self, cmd, **options):
        if self.connection_info["transport"] == "tcp":
            names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
            self.stolen = [
                socket.create_server(("127.0.0.1", self.connection_info[name])) for name in names
            ]
        return await launch(self, cmd, **options)

    LocalProvisioner.launch_kernel = launch_too_late

steal_ports()
"""
"""What takes every port that is chosen for a kernel, before the kernel listens on it."""

STARTS_KERNELS = [chapter for chapter in CHAPTERS if "KernelManager(" in sources(chapter)]


@pytest.mark.parametrize(
    "chapter", STARTS_KERNELS, ids=[chapter.name for chapter in STARTS_KERNELS]
)
def test_kernel_of_a_chapter_needs_no_port(chapter):
    """Whatever else on the machine opens ports, as the other chapters do, is not in its way."""
    with fresh_kernel() as client:
        client.execute(THIEF, silent=True, reply=True, timeout=PATIENCE)
        ended, outputs = run(client, chapter.code)
    assert ended == ["ok"] * len(chapter.code)
    assert differences(chapter, outputs) == []


def make_notebooks(*paths, first=""):
    """Run notebooks as `make notebooks` does, in a program that does something else first."""
    folder, script = str(RUN_NOTEBOOKS.parent), str(RUN_NOTEBOOKS)
    program = f"{first}\nimport runpy, sys\nsys.path.insert(0, {folder!r})\n"
    program += f"runpy.run_path({script!r}, run_name='__main__')"
    command = [sys.executable, "-c", program, *paths]
    return subprocess.run(command, capture_output=True, text=True)


def write(path, *sources):
    """Write a notebook of code cells, which are called cell-0, cell-1 and so on."""
    cells = [
        nbformat.v4.new_code_cell(source, id=f"cell-{number}")
        for number, source in enumerate(sources)
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_storing_the_same_outputs_again_changes_no_byte(path, tmp_path):
    """What is stored depends on the cells and their outputs, which the runs above compare."""
    copy = tmp_path / path.name
    run_notebooks.store(nbformat.read(path, as_version=4), copy)
    assert copy.read_bytes() == path.read_bytes()


def test_what_other_programs_leave_is_not_stored(tmp_path):
    """Times, a live output, another kernel: the same bytes. The control: another output is kept."""
    path = PATHS[0]
    chapter = Chapter(path)
    chapter.notebook.metadata.kernelspec.display_name = "mine"
    chapter.code[0].metadata.execution = {"shell.execute_reply": "2026-01-01"}
    chapter.tagged(LIVE)[0].outputs = [nbformat.v4.new_output("stream", text="live")]
    run_notebooks.store(chapter.notebook, copy := tmp_path / path.name)
    assert copy.read_bytes() == path.read_bytes()
    say("more")(chapter)
    run_notebooks.store(chapter.notebook, copy)
    assert copy.read_bytes() != path.read_bytes()


@pytest.mark.slow
def test_making_a_notebook_again_changes_no_byte(tmp_path):
    """Also one without outputs is restored. Two chapters have every kind of output between them."""
    stored = {path.name: path.read_bytes() for path in PATHS[:2]}
    emptied = nbformat.read(PATHS[0], as_version=4)
    for cell in emptied.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    copies = [tmp_path / name for name in stored]
    for copy in copies:
        copy.write_bytes(stored[copy.name])
    nbformat.write(emptied, copies[0])
    assert copies[0].read_bytes() != stored[copies[0].name]
    made = make_notebooks(*copies)
    assert made.returncode == 0, made.stderr
    assert {copy.name: copy.read_bytes() for copy in copies} == stored


def test_failures_are_told_with_chapter_cell_and_error(tmp_path):
    """Every chapter that failed is named, and left as it was; the others are stored."""
    sources = {"raises": "1 / 0", "dies": "import os\nos._exit(1)", "works": "print('done')"}
    paths = {name: tmp_path / f"{name}.ipynb" for name in sources}
    for name, source in sources.items():
        write(paths[name], "first = 1", source, "last = 1")
    before = {name: path.read_bytes() for name, path in paths.items()}
    made = make_notebooks(*paths.values())
    assert made.returncode == 1
    assert "raises.ipynb, cell cell-1: CellExecutionError" in made.stderr
    assert "ZeroDivisionError: division by zero" in made.stderr
    assert "dies.ipynb, cell cell-1: DeadKernelError" in made.stderr
    assert made.stdout == "works.ipynb\n"
    assert [name for name in paths if paths[name].read_bytes() != before[name]] == ["works"]


def test_making_the_notebooks_needs_no_port(tmp_path):
    """The chapters that are made side by side do not take the ports of each other's kernels."""
    write(tmp_path / "works.ipynb", "print('done')")
    made = make_notebooks(tmp_path / "works.ipynb", first=THIEF)
    assert (made.returncode, made.stderr) == (0, "")
