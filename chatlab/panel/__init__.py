"""A web page that shows what goes on, and has buttons that act.

What it shows and what its buttons do is given to it. It knows aiohttp, and neither labs nor chats.
"""

from chatlab.panel.panel import Client, Drawing, Frame, Panel, Picture

__all__ = [
    "Client",
    "Drawing",
    "Frame",
    "Panel",
    "Picture",
]
