"""How a Jupyter kernel and its client connect, in the tests and in `make notebooks`."""

from __future__ import annotations

import sys

PLATFORM = sys.platform


def kernel_transport() -> str:
    """Return "ipc", or "tcp" on Windows, where pyzmq has no sockets on files.

    A port is chosen long before the kernel listens on it, and another program may take it.
    """
    return "tcp" if PLATFORM == "win32" else "ipc"
