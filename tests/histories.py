"""Histories for tests, written in words."""

from chatlab.history import History


def history(*events):
    """Record events that are written like "show bob 2 are you there?"."""
    recorded = History()
    for event in events:
        kind, who, *rest = event.split(" ", 2)
        first, _, text = "".join(rest).partition(" ")
        if first.isdigit():
            recorded.record(kind, who, text or None, int(first))
        else:
            recorded.record(kind, who, *rest)
    return recorded
