"""What client and server share: the name of the event, the message, and the rules for valid input.

It must not know a socket, a database or a clock.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

CHAT_MESSAGE = "chat message"
"""The event that carries a chat message, from a client to the server and back."""
CHAT_MESSAGES = "chat messages"
"""The event that carries a page of messages, in order: `[[text, offset], ...]`. Only a client whose
auth has `"pages": true` gets it, where others get a `chat message` for each; also such a client
gets a message that comes alone as a `chat message`. For a browser, an event costs more than the
message in it."""
CATCHING_UP, CAUGHT_UP = "catching up", "caught up"
"""Events that the server sends before and after the messages that a client missed. Their data are
`{"epoch", "after", "outcome"}` and `{"epoch", "offset", "outcome", "sent"}`. A client may ignore
both."""
WHERE = "where"
"""The event with which the server of a class asks a client for its offset. The client acknowledges
it with the offset of the last message that it has."""

MAX_TEXT = 10_000
"""The longest text, in characters. Escaped as JSON it stays under 120 kB. The transport's limit is
1 MB: a larger packet would close the connection, and the message would be lost."""
MAX_CLIENT_OFFSET = 100
"""The longest client_offset, in characters. It is the sender's key for a message, such as a random
UUID. It has to be secret: who else knows it can store another text under it first."""
MAX_EPOCH = 100
"""The longest epoch, in characters."""
MAX_OFFSET = 2**63 - 1
"""The largest row id that SQLite can hold."""
NOT_STORED = "not stored"
"""The name of the error that says: the message is not stored, and may be sent again."""
PERHAPS_STORED = "perhaps stored"
"""The name of the error that says: the database did not answer, so nobody knows. With its key, the
message may be sent again; without one, it could be stored twice."""
SEND_AGAIN = frozenset({NOT_STORED, PERHAPS_STORED})
"""After these errors, and no others, a client with keys sends the same message again."""
NOT_AVAILABLE = "not available"
"""The name of the error with which a connection is refused while the log cannot be read. The client
should come again."""


Outcome = Literal["continued", "gap", "reset"]


class Place(NamedTuple):
    """The offset after which a client gets messages, and how this fits the client's offset.

    "continued": the client gets all messages after its own offset. "gap": the log has deleted some
    of them; the client gets those after `after`. "reset": this log does not have the client's
    offset, because it is another log or an older copy; the client starts again with all of it.
    """

    after: int
    outcome: Outcome


class Message(NamedTuple):
    """One chat message. Its offset is its position on the server; None if the server gave none."""

    offset: int | None
    text: str


class Refused(ValueError):
    """Error for input that is not valid: a `name` for programs, and a sentence for people."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str]]:
        """Let it pass from one process to another."""
        return type(self), (self.name, str(self))

    def as_dict(self) -> dict[str, str]:
        """Return what is sent to the client: `{"error": name, "message": sentence}`."""
        return {"error": self.name, "message": str(self)}


def check_text(value: Any) -> str:
    """Return the value if it is a valid text: JSON and SQLite can hold it without a change.

    Raises Refused ("bad text" or "text too long") otherwise.
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
    """Return the value if it is a valid key of a message, or None for no key.

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
    """Return the value if it is a valid offset: a whole number; 0 means "no message yet".

    Raises Refused ("bad offset") otherwise, also for `True`, which is an `int` in Python.
    """
    if type(value) is not int or not 0 <= value <= MAX_OFFSET:
        raise Refused("bad offset", "an offset is a whole number from 0 to 2**63 - 1")
    return value


def offset_of(auth: Any) -> int:
    """Return the offset in the auth of a connecting client: `{"serverOffset": offset}`.

    Without auth, or without serverOffset in it, return 0: the client has no message yet.
    Raises Refused ("bad auth" or "bad offset") if either is not valid.
    """
    return check_offset(_object(auth).get("serverOffset", 0))


def epoch_of(auth: Any) -> str | None:
    """Return the epoch in the auth of a connecting client; None if there is none.

    Raises Refused ("bad auth" or "bad epoch") if either is not valid.
    """
    epoch = _object(auth).get("epoch")
    if epoch is None or (isinstance(epoch, str) and len(epoch) <= MAX_EPOCH):
        return epoch
    raise Refused("bad epoch", f"an epoch is a text of at most {MAX_EPOCH} characters")


def takes_pages(auth: Any) -> bool:
    """Return whether a connecting client asks for `chat messages`: `{"pages": true}`.

    Raises Refused ("bad auth") if auth is not valid.
    """
    return _object(auth).get("pages") is True


def _object(auth: Any) -> dict[str, Any]:
    if auth is not None and not isinstance(auth, dict):
        raise Refused("bad auth", f"auth is an object, not {_kind(auth)}")
    return auth or {}


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    """Return the JSON type of a value, as error messages call it."""
    kinds = {bool: "a boolean", dict: "an object", list: "a list", bytes: "bytes"}
    return "nothing" if value is None else kinds.get(type(value), "a number")
