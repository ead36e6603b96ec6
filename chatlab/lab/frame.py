"""A web page in a frame of the notebook. It knows ports and addresses, and no lab."""

from __future__ import annotations

from html import escape

from chatlab.panel import finding


class Page:
    """A page in a frame of the notebook; `height` is in pixels.

    `url` is its address for browsers on the kernel's machine. The frame finds it from others too.
    """

    def __init__(
        self, port: int, height: int, *, path: str = "", title: str = "The chat page"
    ) -> None:
        self.url, self.height, self.title = f"http://localhost:{port}/{path}", height, title

    def _repr_html_(self) -> str:
        return (
            f'<iframe data-at="{escape(self.url)}" title="{escape(self.title)}" width="100%" '
            f'height="{self.height}" style="border: 1px solid #8888"></iframe>'
            f"{finding('src', self.url)}"
        )

    def __repr__(self) -> str:
        return f"{self.title}: {self.url}"
