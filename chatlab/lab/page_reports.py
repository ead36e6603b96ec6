"""What the page in a frame tells of itself, put into the words of a history.

Pure. A browser may tell anything, so what makes no sense is left out.
"""

from __future__ import annotations

from typing import Any

from chatlab.history import Event, History, Kind

THE_PAGE = "the page"
"""The name under which the page in the frame is shown beside the tabs."""
ABOUT_TEXTS = ("send", "retry", "acknowledge", "refuse", "show")
ABOUT_OFFSETS = ("gap", "reset")
CLOSED = "not open"


class Hearsay:
    """The page that tells: how it is, and what has happened there.

    Two windows may show the page. The one that was loaded last tells, the other one is closed, as
    far as can be told here.
    """

    def __init__(self) -> None:
        self.events: list[tuple[int, Event]] = []
        """What has happened, each with the number of events that others had recorded before."""
        self._viewer: object = None
        self._unanswered: list[str] = []
        self._forget()

    def _forget(self) -> None:
        self.state, self.connected, self.reached, self.pending = CLOSED, False, 0, 0

    def hear(self, viewer: object, news: dict[str, Any] | None, place: int) -> None:
        """Hear what the page of a viewer tells, or that it has gone (None).

        `place` is the number of events that others have recorded so far.
        """
        news, gone = news or {}, news is None
        if self._viewer not in (None, viewer) and news.get("kind") != "load":
            return  # another window, which is not looked at any more
        if self._viewer is not None and (gone or viewer is not self._viewer):
            self._viewer = None
            self._forget()
            self._record(place, "close")
        if not gone:
            self._note(news)
            self._enter(viewer, news.get("kind"), place)
            self._tell(news, place)

    def _note(self, news: dict[str, Any]) -> None:
        """Note how the page is."""
        self.state = str(news.get("state", ""))[:40] or CLOSED
        self.connected = news.get("connected") is True
        self.reached = _number(news.get("reached")) or 0
        self.pending = _number(news.get("pending")) or 0

    def _enter(self, viewer: object, kind: Any, place: int) -> None:
        """Let the page join when it is connected for the first time, and reload when it is loaded
        again."""
        if self._viewer is None and (kind is not None or self.connected):
            self._viewer = viewer
            self._record(place, "join")
        elif kind == "load":
            self._record(place, "reload")

    def _tell(self, news: dict[str, Any], place: int) -> None:
        kind, text, offset = (news.get(part) for part in ("kind", "text", "offset"))
        if kind in ("drop", "reconnect"):
            self._record(place, kind)
        elif kind in ABOUT_OFFSETS and _number(offset) is not None:
            self._record(place, kind, None, offset)
        elif kind in ABOUT_TEXTS and isinstance(text, str):
            self._tell_message(place, kind, text, _number(offset))

    def _tell_message(self, place: int, kind: Kind, text: str, offset: int | None) -> None:
        if kind == "retry" and text not in self._unanswered:
            kind = "send"  # an earlier page has left it
        if kind == "send":
            self._unanswered.append(text)
        elif kind in ("acknowledge", "refuse"):
            if text not in self._unanswered:
                return
            self._unanswered.remove(text)
        self._record(place, kind, text, offset)

    def _record(self, place: int, kind: Kind, *message: Any) -> None:
        self.events.append((place, Event(kind, THE_PAGE, *message)))

    def among(self, others: History, *kinds: Kind) -> History:
        """Return what others have recorded, with what the page has told in between: all of it, or
        events of these kinds."""
        merged, recorded, done = [], list(others), 0
        for place, event in list(self.events):
            if not kinds or event.kind in kinds:
                merged += recorded[done:place]
                merged.append(event)
                done = max(done, place)
        return History(merged + recorded[done:])

    def sends_among(self, others: History) -> History:
        """Return what others have recorded, with what the page has sent and was answered.

        So a message of the page is not one that nobody sent. The page itself joins nothing here:
        it may be closed, and nobody tells, so what it shows is not judged.
        """
        return self.among(others, "send", "retry", "acknowledge", "refuse")


def _number(value: Any) -> int | None:
    """Return a value that is an offset, or could be; None otherwise."""
    return value if type(value) is int and value >= 0 else None
