"""A web page that shows what goes on, and has buttons.

The caller gives it what to show and what each button does. The panel promises that only browsers
that know its address can use it. It knows aiohttp, and neither labs nor chats.
"""

from chatlab.panel.finding import finding
from chatlab.panel.panel import Panel
from chatlab.panel.picture import Client, Drawing, Frame, Picture
