"""Print on which Pythons and systems all packages install from wheels, without a compiler.

Run it by hand, with a network: `.venv/bin/python .ci/check_wheels.py`. pip resolves what the lab
and the tests need for each Python and system, and installs nothing. It evaluates conditions such as
`sys_platform == "win32"` for the machine it runs on, so MORE names what another system adds.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("lab", "class", "fast", "test")
PYTHONS = ("3.14", "3.15")
GLIBC = ("2_34", "2_28", "2_17", "2_12", "2_5")
SYSTEMS = {
    "Linux x86-64": [f"manylinux_{version}_x86_64" for version in GLIBC] + ["manylinux2014_x86_64"],
    "Linux aarch64": [f"manylinux_{version}_aarch64" for version in GLIBC]
    + ["manylinux2014_aarch64"],
    "macOS arm64": ["macosx_15_0_arm64", "macosx_15_0_universal2"],
    "Windows amd64": ["win_amd64"],
}
MORE = {"macOS arm64": ["appnope"], "Windows amd64": ["colorama", "pywinpty", "tzdata"]}
"""What JupyterLab and pytest need on one system only."""


def requirements(system: str) -> list[str]:
    """Return what the project requires on a system, without itself and without conditions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS:
        lines += project["optional-dependencies"][extra]
    lines = [line for line in lines if not line.startswith("chatlab[")]
    if system.startswith("Windows"):
        lines = [line for line in lines if "!= 'win32'" not in line]
    return [line.partition(";")[0] for line in lines] + MORE.get(system, [])


def missing(python: str, system: str, wanted: list[str]) -> str:
    """Return why wheels alone are not enough; "" if they are."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        command += ["--quiet", "--target", folder, "--only-binary=:all:"]
        command += [f"--python-version={python}", "--implementation=cp"]
        command += [f"--platform={platform}" for platform in SYSTEMS[system]]
        done = subprocess.run([*command, *wanted], capture_output=True, text=True)
    if not done.returncode:
        return ""
    found = re.findall(r"No matching distribution found for (\S+)", done.stderr)
    return found[-1] if found else done.stderr.strip().splitlines()[-1]


def main() -> None:
    print("| Python |", " | ".join(SYSTEMS), "|")
    print("| --- |", " | ".join("---" for _ in SYSTEMS), "|")
    for python in PYTHONS:
        row = []
        for system in SYSTEMS:
            wanted = requirements(system)
            faults = missing(python, system, wanted)
            if faults:  # pip stops at the first one
                each = {missing(python, system, [line]) for line in wanted} - {""}
                faults = "no wheel: " + ", ".join(sorted(each or {faults}))
            row.append(faults or "yes")
        print(f"| {python} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
