"""What the soak needs beside Python."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest
from support import missing

SOAK = Path(__file__).parent


@pytest.fixture(scope="session")
def official_client():
    """The official JavaScript client, fetched into a folder that git ignores."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        missing("Node.js is not installed: no node and npm on the PATH")
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund"]
    with (SOAK / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of several processes at a time
        done = subprocess.run(command, cwd=SOAK, capture_output=True, text=True)
    if done.returncode:
        missing(f"npm could not fetch the Socket.IO client: {done.stderr}")
