"""The files that describe the environment agree, and hold nothing of one machine alone."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
BINDER = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())["dependencies"]
MISSION = ["aiohttp", "aiosqlite", "jupyterlab", "nest-asyncio", "python-socketio"]
# Written so that the pattern does not find itself.
OF_ONE_MACHINE = re.compile(
    r"(?i)py[p]i\.org|python[h]osted|registry\.[n]pm|ana[c]onda\.org|index[-]url|find[-]links"
    r"|/simple[/]|(?<![\w.~])/(home|root|users|work|tmp|opt|mnt|srv|var)[/]|\b[c-z]:[\\]users"
)


def by_name(requirements):
    """Return what is required of each package: {"aiohttp": ">=3.14.4"}."""
    return dict(re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in requirements)


def of_conda():
    return by_name(line for line in CONDA if isinstance(line, str))


def of_project():
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]
    return by_name(line for line in lines if not line.startswith("chatlab["))


@pytest.mark.parametrize("package", MISSION)
def test_package_of_the_course_is_required_with_the_same_bound(package):
    """Both files name it, with the same lowest version."""
    assert re.fullmatch(r">=[\d.]+", of_conda()[package])
    assert of_conda()[package] == of_project()[package]


def test_every_bound_of_conda_is_one_of_the_project():
    """What else the environment names is bound as in the project, or not at all."""
    named = of_conda().items() - {("python", PROJECT["requires-python"])}
    assert {name: bound for name, bound in named if bound != of_project().get(name, "")} == {}


def test_python_is_the_same():
    """The range of versions is written in both files."""
    assert of_conda()["python"] == PROJECT["requires-python"]


def test_conda_installs_the_project_with_its_tests():
    """The last line of the environment is the project itself."""
    assert CONDA[-1] == {"pip": ["-e .[dev]"]}
    assert "dev" in PROJECT["optional-dependencies"]


def test_binder_gets_one_version_of_python_that_the_project_takes():
    """Binder's repo2docker reads it from a line with `=`, and takes its own default otherwise."""
    [version] = re.findall(r"python=(3\.\d+)$", "\n".join(BINDER), re.MULTILINE)
    [lowest] = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"]).groups()
    assert int(lowest) <= int(version.removeprefix("3."))


def test_binder_gets_what_conda_gets_and_then_the_project():
    """What is bound for Binder is bound for conda too; pip brings the rest, and what the lab needs.

    Without jupyter-server-proxy the frame with the chat page would stay empty there.
    """
    assert {line for line in BINDER if not line.startswith("python=")} <= set(CONDA[:-1])
    post_build = ROOT / ".binder" / "postBuild"
    assert post_build.stat().st_mode & 0o111
    assert post_build.read_text().endswith("pip install --no-cache-dir -e '.[fast,lab]'\n")
    assert "jupyter-server-proxy" in by_name(PROJECT["optional-dependencies"]["lab"])


def test_commands_of_the_readme_exist():
    """Every `make` that the README names is a target, lab and test first of all."""
    named = re.findall(r"(?:`|^)make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named[:2] == ["lab", "test"]
    assert set(named) <= set(targets)


@pytest.mark.parametrize("name", ["Makefile", "README.md"])
def test_jupyterlab_has_the_project_as_its_root(name):
    """Else the links of the chapters to the sources beside them, in another folder, do not open."""
    [command] = re.findall(r"\bjupyter lab .*", (ROOT / name).read_text())
    assert "--notebook-dir=. " in command
    assert command.endswith(" notebooks/00_start_here.ipynb")


def committed():
    """The text files that are committed, or about to be, and what is in them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        try:
            yield name, (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # an image, or a file that was just deleted


def test_no_committed_file_is_of_one_machine():
    """No address of a package registry and no path of a machine: both are for others to choose."""
    found = {name: OF_ONE_MACHINE.findall(text) for name, text in committed()}
    assert {name: hits for name, hits in found.items() if hits} == {}


@pytest.mark.parametrize(
    "line",
    [
        "https://py" + "pi.org/simp" + "le",
        "--index" + "-url=x",
        "open('/ro" + "ot/chat.db')",
        "File /ho" + "me/ann/chat.py",
    ],
)
def test_line_of_one_machine_is_found(line):
    """The control: a planted address and a planted path are seen."""
    assert OF_ONE_MACHINE.search(line)


@pytest.mark.parametrize("line", ["src/home/x", "http://localhost:3000/", "/user/ann/", "a/tmp/b"])
def test_line_of_every_machine_is_not_found(line):
    """The control of the control: what may be written is not."""
    assert not OF_ONE_MACHINE.search(line)


def test_every_copy_of_the_official_client_has_the_same_version():
    """The page's, that of its CDN, and the one that the soak runs in Node.js."""
    package = json.loads((ROOT / "tests" / "soak" / "package.json").read_text())
    version = package["dependencies"]["socket.io-client"]
    fetched = (ROOT / ".ci" / "fetch_client.py").read_text()
    page = (ROOT / "chatlab" / "page" / "static" / "page.js").read_text()
    assert re.search(r"socket\.io-client@([\d.]+)", fetched)[1] == version
    assert re.search(r"cdn\.socket\.io/([\d.]+)/", page)[1] == version
