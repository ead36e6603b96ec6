"""The chat page: its files, and the official Socket.IO client for browsers beside them."""

from pathlib import Path

PAGE = Path(__file__).parent / "static"
BROWSER_CLIENT = PAGE / "vendor" / "socket.io.min.js"
"""The official client. It is fetched when the package is installed, if npm is there."""

__all__ = ["BROWSER_CLIENT", "PAGE"]
