"""The words that client and server share: the event, the message, and what makes one valid.

Pure: nothing here knows a socket, a database or a clock.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

CHAT_MESSAGE = "chat message"
"""The one event of the chat, in both directions."""
CATCHING_UP, CAUGHT_UP = "catching up", "caught up"
"""What a client is told before and after the messages that it missed: `{"epoch", "after",
"outcome"}`, and then `{"epoch", "offset", "outcome", "sent"}`. A client may ignore both."""
WHERE = "where"
"""What a class asks its clients: each acknowledges with the offset of the last message it has."""

MAX_TEXT = 10_000
"""The longest text, in characters. Escaped as JSON it stays under 120 kB, far below the transport's
limit of 1 MB: over that limit the connection would close, and the message would be gone."""

MAX_CLIENT_OFFSET = 100
"""The longest client_offset, in characters. A UUID takes 36."""

MAX_EPOCH = 100
"""The longest epoch, in characters."""

MAX_OFFSET = 2**63 - 1
"""The largest row id that SQLite can hold."""


NOT_STORED = "not stored"
"""The name of the one error after which it makes sense to send the same message again."""


class Place(NamedTuple):
    """Where a log goes on for a client, and how that fits what the client has.

    "continued": the messages after its own offset follow. "gap": some of those are gone, and the
    ones after `after` follow. "reset": its offset means nothing here, for it counts in another log,
    or in what a restored log has lost; it has to begin anew, and gets all that there is.
    """

    after: int
    outcome: Literal["continued", "gap", "reset"]


class Message(NamedTuple):
    """One chat message, with the server's position for it (None where the server gave none)."""

    offset: int | None
    text: str


class Refused(ValueError):
    """Input that is not accepted: a name for programs and a sentence for people."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name

    def as_dict(self) -> dict[str, str]:
        """Return the form in which a refusal travels: `{"error": name, "message": sentence}`."""
        return {"error": self.name, "message": str(self)}


def check_text(value: Any) -> str:
    """Return the value if it is a text that comes back from storage as it went in.

    Raises Refused otherwise ("bad text" or "text too long").
    """
    if not isinstance(value, str):
        raise Refused("bad text", f"a message is a text, not {_kind(value)}")
    if not value:
        raise Refused("bad text", "a message has at least one character")
    if len(value) > MAX_TEXT:
        raise Refused("text too long", f"a message has at most {MAX_TEXT:,} characters")
    if not _encodable(value):
        raise Refused("bad text", "a message holds half of a surrogate pair: it is not UTF-8")
    return value


def check_client_offset(value: Any) -> str | None:
    """Return the value if it can be a sender's own key for a message, or None for no key.

    Raises Refused ("bad client_offset") otherwise.
    """
    if value is None:
        return None
    if isinstance(value, str) and 0 < len(value) <= MAX_CLIENT_OFFSET and _encodable(value):
        return value
    raise Refused(
        "bad client_offset", f"a client_offset is a text of 1 to {MAX_CLIENT_OFFSET} characters"
    )


def check_offset(value: Any) -> int:
    """Return the value if it can be an offset: a whole number from 0 (nothing yet) up.

    Raises Refused ("bad offset") otherwise. `True` is no offset, though Python counts it as 1.
    """
    if type(value) is not int or not 0 <= value <= MAX_OFFSET:
        raise Refused("bad offset", "an offset is a whole number from 0 to 2**63 - 1")
    return value


def offset_of(auth: Any) -> int:
    """Return the offset that a client sends with its connection, `{"serverOffset": offset}`.

    A client that sends no auth, or no serverOffset in it, has seen nothing yet: 0.
    Raises Refused ("bad auth" or "bad offset") for anything else.
    """
    return check_offset(_object(auth).get("serverOffset", 0))


def epoch_of(auth: Any) -> str | None:
    """Return the epoch that a client sends with its offset; None if it knows of none.

    Raises Refused ("bad auth" or "bad epoch") for anything that can be no epoch.
    """
    epoch = _object(auth).get("epoch")
    if epoch is None or (isinstance(epoch, str) and len(epoch) <= MAX_EPOCH):
        return epoch
    raise Refused("bad epoch", f"an epoch is a text of at most {MAX_EPOCH} characters")


def _object(auth: Any) -> dict[str, Any]:
    if auth is None:
        return {}
    if not isinstance(auth, dict):
        raise Refused("bad auth", f"auth is an object, not {_kind(auth)}")
    return auth


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    """Name the JSON type of a value that arrived, for a sentence."""
    kinds = {bool: "a boolean", dict: "an object", list: "a list", bytes: "bytes"}
    return "nothing" if value is None else kinds.get(type(value), "a number")
