"""What a reader with a wrong answer sees: a sentence in the words of the lesson, no traceback."""

import ast
import linecache
from inspect import isawaitable

import nbformat
import pytest
from documents import ROOT

import chatlab.course.exercise

NOTEBOOKS = ROOT / "notebooks"
NO_ANSWER = 'no answer to the message "hello": has it a handler, and does that end?'


class Exercise:
    """The exercise of a chapter, with what the chapter defines before it, outside a notebook."""

    def __init__(self, number):
        [path] = NOTEBOOKS.glob(f"{number}_*.ipynb")
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        [self.stub] = [c.source for c in cells if "exercise" in c.metadata.get("tags", [])]
        [end] = [place for place, c in enumerate(cells) if "solution" in c.metadata.get("tags", [])]
        self.solution, self.names = cells[end].source, {}
        self.call = cells[end - 1].source
        for cell in cells[:end]:
            if defines(cell.source):
                self.run(cell.source)

    def run(self, source):
        """Run a cell as a notebook does: its lines can be named, and it is in no file."""
        name = f"<cell {len(linecache.cache)}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        exec(compile(source, name, "exec"), self.names)

    async def check(self, answer):
        """Run an answer and then the check; return what it says."""
        self.run(answer)
        said = eval(self.call.removeprefix("await "), self.names)
        return await said if isawaitable(said) else said


def defines(source):
    """Whether a cell imports and defines, and does nothing else."""
    does = ast.parse(source).body
    tame = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, tame) for node in does) and all(
        isinstance(node, tame)
        or (isinstance(node, ast.Assign) and not any(has_await(part) for part in ast.walk(node)))
        for node in does
    )


def has_await(node):
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(node, ast.Await) or (
        isinstance(called, ast.Attribute) and called.attr in ("create_task", "open")
    )


SEND = 'await sio.emit("chat message", text, to=sid)'
QUERY = '"SELECT id, content FROM messages"'
NEWER = "await log.newer(cursor)"
SOME = 'for message in (await log.after(auth["serverOffset"]))[{}]:'
AFTER = 'for message in await log.after(auth["serverOffset"]):'
ERROR = "an error came up, "
CASES = {
    "00": [
        (SEND, SEND.replace("text", "text.shout()"), f"{ERROR}AttributeError: 'str' object has no"),
        (SEND, "pass", "eve's page shows nothing, and it should show ['HELLO']"),
        ("chat message", "chat-message", NO_ANSWER),
    ],
    "02": [
        (QUERY, f"{QUERY} + ' WHERE id >= 1'", "duplicated: the client has seen (1, 'a'); after"),
        (
            QUERY,
            f"{QUERY} + ' WHERE id > 2'",
            "lost: a row after offset 1; after offset 1 it gives",
        ),
        (
            QUERY,
            f"{QUERY} + ' WHERE id > 1 ORDER BY id DESC'",
            "reordered; after offset 1 it gives",
        ),
        (QUERY, f"{QUERY} + ' WHERE id > ?'", f"{ERROR}ProgrammingError: Incorrect number of"),
        (".fetchall()", "", "it returns no list of rows, but a Cursor"),
    ],
    "03": [
        (AFTER, f"{AFTER[:-1]}[-3:]:", "before the call of `after`, and brackets around both"),
        (
            AFTER,
            SOME.format("-3:"),
            "dan's page shows ['a', 'd', 'e', 'f'], and it should show ['a', ",
        ),
        (AFTER, SOME.format(":3"), "eve's page shows ['a', 'b', 'c'], and it should show ['d', "),
    ],
    "04": [
        ("cursor = log.head", "pass", "it does not come to rest: does a handler go on for ever"),
        ("cursor = log.head", "cursor += 1", "lost: ann never shows 1"),
        (NEWER, "cursor = message.offset", "in the line `cursor = message.offset`"),
        ("here.add(sid)", "pass", "the server did not read the log, so it is not held"),
    ],
    "05": [
        ("self.new_key()", '"my key"', "Refused: this client_offset belongs to another text"),
        ("self.new_key()", "self.key", "AttributeError: 'MyOutbox' object has no attribute 'key'"),
    ],
    "06": [
        ("if not recovered(sio, sid):", "if True:", 'duplicated: bob shows 1 "two" again'),
        ("not recovered(", "recovered(", 'duplicated: bob shows 1 "two" again'),
        ("recovered(sio, sid)", "recovered(sid)", "in the line `if not recovered(sid):`"),
    ],
}
"""For each chapter: a piece of the exercise, a wrong answer in its place, and what is said."""
PICTURED = {"00", "03", "04", "05", "06"}
"""The exercises whose scenarios are drawn, whatever went wrong."""


@pytest.mark.filterwarnings(
    "ignore:.*never awaited", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize(
    ("number", "old", "new", "said"),
    [(number, *case) for number in CASES for case in CASES[number]],
)
async def test_wrong_answer_shows_what_is_wrong(number, old, new, said, monkeypatch):
    """In the words of the lesson, or with the error and its line; and with a picture."""
    monkeypatch.setattr(chatlab.course.exercise, "PATIENCE", 2)
    exercise = Exercise(number)
    assert old in exercise.stub
    judgement = await exercise.check(exercise.stub.replace(old, new))
    assert judgement.startswith(("not yet: ", "solved: dan"))
    assert said in judgement
    if number in PICTURED and "come to rest" not in judgement:
        assert "joins" in str(judgement.diagram)


@pytest.mark.parametrize("number", CASES)
async def test_solution_is_solved(number):
    """The control: the same checks, run in the same way, are content with the right answer."""
    exercise = Exercise(number)
    said = await exercise.check(exercise.solution.replace(exercise.call, ""))
    assert said.solved
    assert said.diagram is None
