"""`make` sets up .venv when there is a reason, says which, and leaves it alone otherwise."""

import os
import re
import shutil
import subprocess
import sys

import kernels
import pytest
from documents import ROOT
from support import Kernel

UV = """#!/bin/sh
# Makes .venv without a network, and installs nothing.
if [ "$1" = venv ]; then exec "$4" -m venv --without-pip "$5"; fi
"""
PRETEND = """#!/bin/sh
exec {python} -c 'import runpy, sys
sys.version_info = {version}
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")' "$@"
"""
"""A Python that says that it is another version."""


HANDED_ON = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "PYTHON", "WORKERS")
"""What a make has for the makes below it."""


class Course:
    """A copy of what sets the project up, with a Python of its own on the PATH."""

    def __init__(self, folder):
        self.folder, self.bin = folder / "course", folder / "bin"
        (self.folder / ".ci").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("Makefile", "pyproject.toml", ".ci/set_up.py", ".ci/fetch_client.py"):
            shutil.copy(ROOT / name, self.folder / name)
        self.program("uv", UV)
        self.program("python3", f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} "$@"\n')

    def program(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def pretend(self, name, *version):
        real = os.path.realpath(sys.executable)
        self.program(name, PRETEND.format(python=real, version=version))

    def make(self, *options):
        """Return what `make ready` says, and how it ended."""
        # Not what the tests were started with: `make test PYTHON=...` hands PYTHON on to this make.
        ours = {name: value for name, value in os.environ.items() if name not in HANDED_ON}
        done = subprocess.run(
            ["make", "--silent", "ready", *options],
            cwd=self.folder,
            env=ours | {"PATH": f"{self.bin}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr, done.returncode

    def ready(self, *options):
        said, code = self.make(*options)
        assert code == 0, said
        assert not said or re.search(r"Set up in \d+ seconds\.\n$", said)
        assert (self.folder / ".venv/bin/python").exists()
        return said.partition("\n")[0]


@pytest.fixture
def course(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    return Course(tmp_path)


THIS = ".".join(map(str, sys.version_info[:3]))
AGAIN = f"Setting up .venv anew with Python {THIS}: "


def test_set_up_is_announced_and_done_once(course):
    """It says what takes a minute; the second time there is nothing to say."""
    first = f"Setting up .venv with Python {THIS} (about a minute, only the first time)"
    assert course.ready() == first
    assert course.ready() == ""


def test_change_of_the_project_sets_up_anew(course):
    """What is in the file counts, not when it was written. An old file is not left in .venv."""
    course.ready()
    project, old = course.folder / "pyproject.toml", course.folder / ".venv" / "old"
    old.touch()
    project.touch()
    assert course.ready() == ""
    project.write_text(project.read_text() + "# changed\n")
    assert course.ready() == AGAIN + "pyproject.toml has changed"
    assert not old.exists()


def test_folder_that_was_moved_is_set_up_anew(course):
    """The scripts in .venv hold the old path."""
    course.ready()
    course.folder = course.folder.rename(course.folder.with_name("moved"))
    assert course.ready() == AGAIN + "the folder was moved"


def test_python_that_is_gone_is_replaced(course):
    """As after an upgrade of the system."""
    course.ready()
    python = course.folder / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/no/such/python")
    assert course.ready() == AGAIN + "its Python is gone"


def test_set_up_that_was_broken_off_is_done_again(course):
    """A failed installation leaves no .venv that is taken for ready."""
    course.program("uv", UV + '[ "$1" = venv ] || exit 1\n')
    said, code = course.make()
    assert code and "Setting up .venv failed: see above." in said
    course.program("uv", UV)
    assert course.ready() == AGAIN + "it was not finished"


def test_set_up_of_an_older_version_is_done_again(course):
    """Its stamp says nothing."""
    course.ready()
    (course.folder / ".venv" / "ready").write_text("")
    assert course.ready() == AGAIN + "an older version of the project made it"


def test_other_python_is_taken_when_it_is_named(course):
    """And stays, until another one is named."""
    course.ready()
    course.pretend("python9", 3, 99, 0)
    anew = "Setting up .venv anew with Python 3.99.0: it had another Python"
    assert course.ready("PYTHON=python9") == anew
    assert course.ready("PYTHON=python9") == ""
    assert course.ready() == ""
    assert course.ready("PYTHON=python3") == AGAIN + "it had another Python"


def test_python_that_is_too_old_is_refused_in_a_sentence(course):
    """At once; and the right one then sets up."""
    course.pretend("python-old", 3, 10, 13)
    said, code = course.make("PYTHON=python-old")
    assert code
    assert said.startswith("chatlab needs Python 3.11 or newer, and this is 3.10.13: ")
    assert not (course.folder / ".venv").exists()
    assert course.ready("PYTHON=python3").startswith("Setting up .venv with Python ")


def test_python_that_is_not_there_is_named(course):
    said, code = course.make("PYTHON=no-such-python")
    assert code
    assert said.startswith("no-such-python is not here: name a Python, ")


def test_scripts_of_the_environment_are_not_used():
    """They hold the path of the folder that they were made in."""
    used = set(re.findall(r"\$\(BIN\)/(\S+)", (ROOT / "Makefile").read_text()))
    assert used == {"python"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_set_up_runs_the_server(tmp_path):
    """All packages are installed from the network into a copy of the project."""
    copy = tmp_path / "course"
    hidden = shutil.ignore_patterns(".venv", ".git", "__pycache__", "node_modules", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=hidden)
    subprocess.run(["make", "ready", f"PYTHON={sys.executable}"], cwd=copy, check=True)
    command = [copy / ".venv/bin/python", "-m", "chatlab", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m chatlab")


def test_kernel_listens_on_ports_where_there_are_no_files_for_it(tmp_path, monkeypatch):
    """As on Windows."""
    monkeypatch.setattr(kernels, "PLATFORM", "win32")
    kernel = Kernel(tmp_path)
    try:
        assert kernel.manager.transport == "tcp"
        assert kernel.run("print(1)") == "1"
    finally:
        kernel.close()
