"""An exercise outside its notebook: answers to it, right and wrong, and what its check says."""

import ast
import linecache
import os
from inspect import isawaitable

import nbformat
from documents import ROOT
from mutants import mutants

NOTEBOOKS = ROOT / "notebooks"
EVERY = int(os.environ.get("CHATLAB_EVERY", "6"))
"""Of a slow exercise, one of so many mutants is tried: set it to 1 to try all."""


class Exercise:
    """The exercise of a chapter, with what the chapter defines before it, outside a notebook."""

    def __init__(self, number):
        [path] = NOTEBOOKS.glob(f"{number}_*.ipynb")
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        [self.stub] = [c.source for c in cells if "exercise" in c.metadata.get("tags", [])]
        [end] = [place for place, c in enumerate(cells) if "solution" in c.metadata.get("tags", [])]
        self.call, self.names = cells[end - 1].source, {}
        self.solution = cells[end].source.replace(self.call, "").strip()
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

    async def changed(self, old, new):
        """Check the solution, or the stub if only that has `old`, with one piece replaced."""
        [source] = [s for s in (self.solution, self.stub) if old in s][:1]
        return await self.check(source.replace(old, new))

    async def accepted(self, every=1):
        """Yield the names of the mutants of the solution that the check calls solved.

        Only one of `every` so many is tried.
        """
        for name, source in list(mutants(self.solution))[::every]:
            try:
                self.run(source)
            except Exception:  # it does not even define anything
                continue
            if (await self.check(source)).solved:
                yield name


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
    """Whether a node awaits something, starts a task or opens something."""
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(node, ast.Await) or (
        isinstance(called, ast.Attribute) and called.attr in ("create_task", "open")
    )
