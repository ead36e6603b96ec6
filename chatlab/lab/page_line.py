"""The line between the real chat page and the server. It belongs to the thread of the live demo."""

from chatlab.harness import Link


class PageLine:
    """The line of the real chat page: its link, and how often the page was asked to load."""

    link: Link

    def __init__(self) -> None:
        self.cut, self.loads = False, 0

    def press(self, button: str) -> None:
        """Do what a button of the page says."""
        if button == "reload":
            self.loads += 1
        elif button in ("drop", "freeze"):
            self.link.freeze()  # after a drop too: otherwise the page would reconnect at once
            if button == "drop":
                self.link.cut()
            self.cut = button == "drop"
        else:
            self.link.thaw()
            self.cut = False
