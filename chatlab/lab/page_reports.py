"""What the chat page in a frame reports about itself, as events of a history.

The script of the page sends the reports, for instance that it has shown a message. A browser may
report anything, so reports that make no sense are left out. Pure: it knows no socket and no clock.
"""

from __future__ import annotations

from typing import Any

from chatlab.history import Event, History, Kind

THE_PAGE = "the page"
"""The name under which the page in the frame is shown beside the tabs."""
KINDS_WITH_TEXT = ("send", "retry", "acknowledge", "refuse", "show")
KINDS_WITH_OFFSET = ("gap", "reset")
CLOSED = "not open"
"""The state of the page before its first report, and after its last window was closed."""


class PageReports:
    """The state of the page, and the events that it has reported.

    Two windows may show the page. The one that was loaded last counts. The other one counts as
    closed, until the first one is closed.
    """

    def __init__(self) -> None:
        self.events: list[tuple[int, Event]] = []
        """The page's events, each with the number of events that the lab had recorded before."""
        self._viewer: object = None
        self._windows: dict[object, dict[str, Any]] = {}
        """The last report from each open window; the window that was loaded last stands last."""
        self._unanswered: list[str] = []
        self._set_state({})

    def receive(self, viewer: object, report: dict[str, Any] | None, place: int) -> None:
        """Take a report from the page of a viewer. None: the viewer has left.

        `place` is the number of events that the lab has recorded so far.
        """
        kind = (report or {}).get("kind")
        self._keep(viewer, report, kind)
        if self._viewer not in (None, viewer) and kind != "load":
            return  # another window shows the page now
        if self._viewer is not None and (report is None or viewer is not self._viewer):
            self._viewer = None
            self._set_state({})
            self._record(place, "close")
        if report is not None:
            self._set_state(report)
            self._record_presence(viewer, kind, place)
            self._record_report(report, place)
        elif self._windows:
            viewer, report = list(self._windows.items())[-1]
            self._set_state(report)
            self._record_presence(viewer, None, place)

    def _keep(self, viewer: object, report: dict[str, Any] | None, kind: Any) -> None:
        """Keep the last report from each open window."""
        if report is None or kind == "load":
            self._windows.pop(viewer, None)
        if report is not None:
            self._windows[viewer] = report

    def _set_state(self, report: dict[str, Any]) -> None:
        self.state = str(report.get("state", ""))[:40] or CLOSED
        self.connected = report.get("connected") is True
        self.reached = _offset(report.get("reached")) or 0
        self.pending = _offset(report.get("pending")) or 0

    def _record_presence(self, viewer: object, kind: Any, place: int) -> None:
        """Record "join" when the page connects first, and "reload" when it is loaded again."""
        if self._viewer is None and (kind is not None or self.connected):
            self._viewer = viewer
            self._record(place, "join")
        elif kind == "load":
            self._record(place, "reload")

    def _record_report(self, report: dict[str, Any], place: int) -> None:
        """Record what a report says, if it is complete and of a known kind."""
        kind, text, offset = (report.get(part) for part in ("kind", "text", "offset"))
        if kind in ("drop", "reconnect"):
            self._record(place, kind)
        elif kind in KINDS_WITH_OFFSET and _offset(offset) is not None:
            self._record(place, kind, None, offset)
        elif kind in KINDS_WITH_TEXT and isinstance(text, str):
            self._record_message(place, kind, text, _offset(offset))

    def _record_message(self, place: int, kind: Kind, text: str, offset: int | None) -> None:
        """Record what happened to a message. An answer to a message never sent is left out."""
        if kind == "retry" and text not in self._unanswered:
            kind = "send"  # the page found the message in an outbox from before it was loaded
        if kind == "send":
            self._unanswered.append(text)
        elif kind in ("acknowledge", "refuse"):
            if text not in self._unanswered:
                return
            self._unanswered.remove(text)
        self._record(place, kind, text, offset)

    def _record(self, place: int, kind: Kind, *message: Any) -> None:
        self.events.append((place, Event(kind, THE_PAGE, *message)))

    def merged_into(self, history: History, *kinds: Kind) -> History:
        """Return a history with the page's events between the others, in the order of time.

        With `kinds`, the page's events of other kinds are left out.
        """
        merged, recorded, done = [], list(history), 0
        for place, event in list(self.events):
            if not kinds or event.kind in kinds:
                merged += recorded[done:place]
                merged.append(event)
                done = max(done, place)
        return History(merged + recorded[done:], history.stored)

    def sends_merged_into(self, history: History) -> History:
        """Return a history with what the page has sent, and the answers to it.

        A verdict on it knows who sent the page's messages. It does not judge what the page shows,
        because "join" is left out: the page may be closed without a report.
        """
        return self.merged_into(history, "send", "retry", "acknowledge", "refuse")


def _offset(value: Any) -> int | None:
    """Return a value that can be an offset or a count; None otherwise."""
    return value if type(value) is int and value >= 0 else None
