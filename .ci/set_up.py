"""Set up .venv, unless it is right already: `make` runs this before each command.

Usage: set_up.py [chosen]. "chosen" means that the user named this Python (`make lab PYTHON=...`);
without it, a .venv of another Python is right too. This file uses nothing newer than Python 3.6,
so that an old Python can run it, and say that it is too old.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
READY = os.path.join(VENV, "ready")
PYTHON = os.path.join(VENV, "bin", "python")
SOURCES = ("pyproject.toml", os.path.join(".ci", "fetch_client.py"))
"""Files that say what is installed, and how. After a change, .venv is set up again."""


def main():
    chosen = sys.argv[1:] == ["chosen"]
    wanted = {
        "Python": f"{version()} {os.path.realpath(sys.base_prefix)}",
        "folder": ROOT,
        "pyproject.toml": digest(),
    }
    why = reason(wanted, chosen)
    if why:
        check_version()
        begun = time.time()
        print(why.format(version()), flush=True)
        build(os.path.realpath(sys.executable))  # not the Python in .venv, which is removed
        with open(READY, "w") as ready:
            ready.writelines("{}: {}\n".format(*item) for item in wanted.items())
        print(f"Set up in {time.time() - begun:.0f} seconds.", flush=True)


def reason(wanted, chosen):
    """Return a line for the user that says why .venv is built; "" if it is right already."""
    if not os.path.lexists(VENV):
        return "Setting up .venv with Python {} (about a minute, only the first time)"
    again = "Setting up .venv anew with Python {}: "
    if not os.path.exists(READY):
        return again + "it was not finished"
    if not os.path.exists(PYTHON):
        return again + "its Python is gone"
    with open(READY) as ready:
        made = dict(line.rstrip("\n").split(": ", 1) for line in ready if ": " in line)
    if not made:
        return again + "an older version of the project made it"
    if made.get("folder") != wanted["folder"]:
        return again + "the folder was moved"
    if made.get("pyproject.toml") != wanted["pyproject.toml"]:
        return again + "pyproject.toml has changed"
    if chosen and made.get("Python") != wanted["Python"]:
        return again + "it had another Python"
    return ""


def version():
    return ".".join(map(str, sys.version_info[:3]))


def digest():
    """Return a hash of the SOURCES."""
    found = hashlib.sha256()
    for name in SOURCES:
        with open(os.path.join(ROOT, name), "rb") as source:
            found.update(source.read())
    return found.hexdigest()


def check_version():
    """End with one sentence if this Python is too old."""
    with open(os.path.join(ROOT, "pyproject.toml")) as project:
        needed = re.search(r'requires-python = ">=(\d+)\.(\d+)"', project.read()).groups()
    if sys.version_info[:2] < tuple(map(int, needed)):
        sys.exit(
            f"chatlab needs Python {needed[0]}.{needed[1]} or newer, and this is {version()}: "
            "name another one, for example `make lab PYTHON=python3.13`."
        )


def build(python):
    """Make .venv, and install the project with all its extras."""
    if os.path.islink(VENV):
        os.unlink(VENV)
    shutil.rmtree(VENV, ignore_errors=True)
    os.chdir(ROOT)
    install = ["install", "--quiet", "-e", ".[dev]"]
    if shutil.which("uv"):
        run("uv", "venv", "--quiet", "--python", python, VENV)
        run("uv", "pip", *install, "--python", PYTHON)
    elif has_ensurepip():
        run(python, "-m", "venv", VENV)
        run(PYTHON, "-m", "pip", *install, *later())
    else:  # Debian's python3, whose venv lacks pip: the pip outside installs into the venv
        run(python, "-m", "venv", "--without-pip", VENV)
        run(python, "-m", "pip", "--python", PYTHON, *install, *later())


def later():
    """Return what keeps pip, like uv, from compiling all that it installs.

    Python compiles what it imports, and keeps it; unless it is told not to write such files.
    """
    return [] if sys.dont_write_bytecode else ["--no-compile"]


def has_ensurepip():
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return False
    return True


def run(*command):
    """Run a command. If it fails, end this program: the command has printed why."""
    if subprocess.call(command):
        sys.exit("Setting up .venv failed: see above.")


if __name__ == "__main__":
    main()
