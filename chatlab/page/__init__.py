"""The chat page: where its files are, and the official Socket.IO client for browsers."""

from pathlib import Path

PAGE = Path(__file__).parent / "static"
BROWSER_CLIENT = PAGE / "vendor" / "socket.io.min.js"
"""The official client. The installation of the package fetches it, if npm is available."""
