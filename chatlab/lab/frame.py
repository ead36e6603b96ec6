"""A web page in a frame of the notebook: at which address the browser finds it.

It knows ports and addresses, and no lab.
"""

from __future__ import annotations

import os
from html import escape


class Page:
    """A page in a frame of the notebook; `height` is in pixels."""

    def __init__(
        self, port: int, height: int, *, path: str = "", title: str = "The chat page"
    ) -> None:
        # Without a hub, the notebook and the browser are on one machine. With a JupyterHub, the
        # browser can reach the hub alone, which forwards requests to the port.
        hub = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
        self.url = f"{hub}proxy/{port}/{path}" if hub else f"http://localhost:{port}/{path}"
        self.height, self.title = height, title

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{escape(self.url)}" title="{escape(self.title)}" width="100%" '
            f'height="{self.height}" style="border: 1px solid #8888"></iframe>'
        )

    def __repr__(self) -> str:
        return f"{self.title}: {self.url}"
