"""What a panel shows at a moment, as plain data. It must not know how this is sent to a browser."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Client:
    """A row of the table: one client, and the buttons that can be pressed for it now."""

    name: str
    values: list[str | int]
    """The cells of the columns after the name."""
    healthy: bool = True
    """Whether the client works as it should. The first value says the same in words."""
    buttons: list[str] = field(default_factory=list)


@dataclass
class Drawing:
    """An image, its description in words, and the caption below it."""

    svg: str
    alt: str
    caption: str = ""


@dataclass
class Frame:
    """Another page, inside the panel. It is loaded again when the number of `loads` changes.

    `source` is its address for a browser on the machine that serves the panel.
    """

    title: str
    source: str
    loads: int = 0


@dataclass
class Picture:
    """All that a panel shows at a moment."""

    title: str
    facts: dict[str, str | int] = field(default_factory=dict)
    """Names and values that concern no client, such as the state of the server."""
    columns: list[str] = field(default_factory=list)
    """The headings of the table, after the column of the names."""
    clients: list[Client] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)
    """The buttons that concern no client and can be pressed now."""
    note: str = ""
    """A sentence for the viewers."""
    drawing: Drawing | None = None
    frame: Frame | None = None
