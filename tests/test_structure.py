"""How the package is built: who may import whom, and how large a piece of it may be."""

import ast
from pathlib import Path

import chatlab

PACKAGE = Path(chatlab.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text()
    for path in PACKAGE.glob("**/*.py")
}
MAY_IMPORT = {
    "messages": set(),
    "page": set(),
    "log": {"messages"},
    "history": {"messages"},
    "client": {"messages"},
    "recovery": {"log", "messages"},
    "server": {"log", "messages", "page", "recovery"},
    "harness": {"log", "messages"},
    "panel": {"page"},
    "lab": {
        "client",
        "harness",
        "history",
        "log",
        "messages",
        "panel",
        "recovery",
        "server",
    },
    "course": {"client", "harness", "history", "lab", "messages"},
    "exercises": {"client", "course", "harness", "history", "lab", "log", "messages", "server"},
    "classroom": {"harness", "log", "messages", "panel", "recovery", "server"},
    "__main__": {"classroom", "harness", "log", "page", "recovery", "server"},
}
"""For each folder, and each module beside the folders, what it may import of the others.

`mistakes` and `openable` are for all of them, as the standard library is."""
PURE = ("messages", "history.", "client.outbox", "course.game", "course.guess", "course.bars")
PURE += ("classroom.door", "classroom.names", "classroom.roster", "lab.page_reports")
"""How the names of the modules begin that know no socket, no database and no clock."""
IO = {"aiohttp", "aiosqlite", "asyncio", "socket", "socketio", "sqlite3", "subprocess", "threading"}
LONGEST_MODULE, LONGEST_CLASS, DEEPEST = 300, 200, 4
"""Lines of a module and of a class, and how many blocks may stand inside each other."""
BLOCKS = (
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.If,
    ast.With,
    ast.AsyncWith,
    ast.Try,
)


def imported(source):
    """Return the modules that a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def wrong_imports(modules):
    """Return a sentence for each import in the wrong direction, or past a folder's `__init__`."""
    found = []
    for module, source in modules.items():
        folder = module.partition(".")[0]
        for name in imported(source) if folder != "__init__" else ():
            package, _, inner = name.partition(".")
            target, _, deeper = inner.partition(".")
            if package in IO and module.startswith(PURE):
                found.append(f"{module} is pure, and imports {name}")
            if package != "chatlab" or target in (folder, "mistakes", "openable"):
                continue
            if target not in MAY_IMPORT[folder]:
                found.append(f"{module} imports {name}")
            if deeper:
                found.append(f"{module} reaches past the __init__ of {target}: {name}")
    return found


def circles(allowed):
    """Return the folders that can reach themselves along the imports that are allowed."""
    found = []
    for start in allowed:
        seen, todo = set(), list(allowed[start])
        while todo:
            folder = todo.pop()
            if folder not in seen:
                seen.add(folder)
                todo += allowed[folder]
        found += [start] if start in seen else []
    return found


def depth(node):
    """Return how many blocks stand inside each other below a node; an `elif` is no block."""
    deepest = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                chained = (
                    isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
                )
                block = isinstance(child, BLOCKS) and not chained
                deepest = max(deepest, block + depth(child))
    return deepest


def too_large(modules):
    """Return a sentence for each module or class that is too long, and each that nests too deep."""
    found = []
    for module, source in modules.items():
        if (lines := len(source.splitlines())) > LONGEST_MODULE:
            found.append(f"{module} has {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_CLASS:
                    found.append(f"class {node.name} in {module} has {lines} lines")
        if (deep := depth(ast.parse(source))) > DEEPEST + 1:  # a class is the first
            found.append(f"{module} has {deep} blocks inside each other")
    return found


def test_imports_run_one_way():
    """Every import inside the package is allowed, and none goes past a folder's `__init__`."""
    assert wrong_imports(MODULES) == []


def test_allowed_imports_have_no_circle():
    """No folder needs itself by way of others."""
    assert circles(MAY_IMPORT) == []


def test_every_folder_says_what_it_is_for():
    """Each folder's `__init__` has a docstring."""
    for path in PACKAGE.glob("*/__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_no_piece_is_too_large():
    """No module, no class and no nesting is beyond the measure."""
    assert too_large(MODULES) == []


def test_planted_faults_are_found():
    """The control: wrong imports, a circle, and pieces that are too large are all seen."""
    planted = {
        "messages": "import sqlite3\nfrom chatlab.log import MessageLog",
        "server.app": "from chatlab.log.sqlite import MessageLog",
    }
    assert len(wrong_imports(planted)) == 3
    assert circles({"log": {"messages"}, "messages": {"log"}}) == ["log", "messages"]
    long_class = "class Long:\n" + "    x = 1\n" * (LONGEST_MODULE + 1)
    deep = "\n".join(" " * level + "if x:" for level in range(7)) + "\n       pass"
    assert len(too_large({"long": long_class, "deep": deep})) == 3
