"""Who may import whom: the direction in which this package is built."""

import ast
from pathlib import Path

import chatlab

MODULES = {path.stem: path.read_text() for path in Path(chatlab.__file__).parent.glob("*.py")}
PURE = {
    "messages",
    "history",
    "steps",
    "diagram",
    "bars",
    "checker",
    "game",
    "guess",
    "outbox",
    "roster",
    "hearsay",
}
IO = {"aiohttp", "aiosqlite", "asyncio", "socket", "socketio", "sqlite3", "subprocess", "threading"}
MAY_IMPORT = {
    "messages": set(),
    "history": set(),
    "steps": {"history"},
    "diagram": {"history", "steps"},
    "bars": set(),
    "checker": {"history", "messages"},
    "game": {"checker", "history", "messages"},
    "guess": set(),
    "roster": {"messages"},
    "invitation": set(),
    "network": {"background"},
    "database": set(),
    "log": {"database", "messages"},
    "background": set(),
    "line": set(),
    "outbox": set(),
    "postman": {"messages", "outbox"},
    "client": {"line", "messages", "outbox", "postman"},
    "frames": set(),
    "delivery": {"frames", "log", "messages", "recovery", "sessions"},
    "transport": {"frames"},
    "sessions": set(),
    "session_store": {"database", "sessions"},
    "session_manager": {"session_store", "sessions"},
    "recovery": {"session_manager", "session_store", "sessions"},
    "server": {"delivery", "log", "messages", "recovery", "transport"},
    "probe": {"log", "messages"},
    "panel": set(),
    "hearsay": {"history"},
    "live": {
        "background",
        "client",
        "diagram",
        "hearsay",
        "history",
        "log",
        "network",
        "panel",
        "steps",
    },
    "lab": {
        "background",
        "checker",
        "client",
        "diagram",
        "hearsay",
        "history",
        "live",
        "log",
        "network",
        "probe",
        "recovery",
        "server",
        "session_store",
    },
    "evenings": {"checker", "client", "lab", "messages", "network"},
    "ladder": {"checker", "diagram", "evenings", "history", "lab"},
    "exercise": {"checker", "client", "diagram", "history", "lab", "ladder"},
    "seats": {"log", "messages", "roster", "server"},
    "classroom": {
        "background",
        "invitation",
        "network",
        "panel",
        "recovery",
        "roster",
        "seats",
        "server",
        "session_store",
    },
    "__main__": {"background", "classroom", "recovery", "roster", "server", "session_store"},
}


def imported(source):
    """Return the modules that a source imports, those of chatlab by their own name."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def faults(modules):
    """Return a sentence for each import in the wrong direction."""
    found = []
    for module, source in modules.items():
        if module == "__init__":
            continue
        for name in imported(source):
            package, _, inner = name.partition(".")
            if package == "chatlab" and inner not in MAY_IMPORT[module]:
                found.append(f"{module} imports {name}")
            if module in PURE and package in IO:
                found.append(f"{module} is pure, and imports {name}")
    return found


def test_imports_run_one_way():
    """Every import inside the package is one that is allowed."""
    assert faults(MODULES) == []


def test_wrong_import_is_found():
    """The control: a planted import in the wrong direction is seen."""
    planted = MODULES | {"messages": "import sqlite3\nfrom chatlab.log import MessageLog"}
    assert len(faults(planted)) == 2
