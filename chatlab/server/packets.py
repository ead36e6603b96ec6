"""Which packets the server accepts from a client: those of the official parsers.

It knows packets of Engine.IO and of Socket.IO. It must not know connections, requests or the chat.
"""

from __future__ import annotations

import base64
from typing import Any

from engineio.packet import CLOSE, MESSAGE, PONG, UPGRADE
from engineio.packet import Packet as EnginePacket
from socketio.packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    Packet,
)

SEPARATOR = "\x1e"
"""What stands between the packets of one request:
https://socket.io/docs/v4/engine-io-protocol/#http-long-polling-1"""
WITHOUT_DATA = {f"{CLOSE}", f"{PONG}", f"{UPGRADE}"}
"""The packets that a client sends for Engine.IO itself."""
JSON = '[{" \t\r\n'
"""How data begins that Engine.IO may read as long JSON. No packet of Socket.IO does."""
BINARY = "b"
"""How bytes in base64 begin, in a request."""
MAX_VALUES = 20_000
"""The most lists, objects and commas in a packet: reading many small values takes long."""
MAX_CONNECT = 16_384
"""The most characters of CONNECT, with its namespace and its auth: a token fits into it."""
UNKNOWN_NAMESPACE = {"message": "Invalid namespace"}
"""The refusal in https://socket.io/docs/v4/socket-io-protocol/#connection-to-a-namespace"""

MAX_ATTACHMENTS = 10
"""The most attachments of one packet, as in the official parser. They stay in memory until the last
one has arrived."""
ATTACHED = (BINARY_EVENT, BINARY_ACK)
TO_SERVER = "".join(map(str, (CONNECT, DISCONNECT, EVENT, ACK, *ATTACHED)))
"""The types of packet that a client sends. Each is one digit."""
RESERVED = {"connect", "connect_error", "disconnect", "disconnecting"}
RESERVED |= {"newListener", "removeListener"}
"""Names that no event may have: the official server closes a connection that sends one."""
UNASKED = -1
"""An id that no acknowledgement was asked for. python-socketio has its counter at 0, and would
delete it for a client that acknowledges 0; the ids that it asks with begin at 1."""


class Unreadable(ValueError):
    """A packet that no Socket.IO client sends."""


class TooLong(Unreadable):
    """A CONNECT with more than MAX_CONNECT characters."""


def is_readable(packet: str | bytes) -> bool:
    """Whether this may be a packet of Engine.IO: a look at its first characters tells."""
    message = isinstance(packet, bytes) or (packet[:1] == f"{MESSAGE}" and packet[1:2] not in JSON)
    return message or packet in WITHOUT_DATA


def is_event(packet: str | bytes) -> bool:
    """Whether this is a message of Engine.IO with an event of Socket.IO that has no attachments."""
    return isinstance(packet, str) and packet.startswith(f"{MESSAGE}{EVENT}")


def engine_packet(text: str) -> EnginePacket:
    """Return a packet of a request. Raises ValueError if it is not valid.

    A text stays a text: Engine.IO would look for JSON in it.
    """
    if text.startswith(BINARY):
        return EnginePacket(MESSAGE, base64.b64decode(text[1:]))
    if not is_readable(text):
        raise ValueError("a packet of no type that a client sends")
    return EnginePacket(int(text[0]), text[1:])


class StrictPacket(Packet):
    """A Socket.IO packet that is checked when it arrives, as the official parser checks it."""

    def __init__(self, *arguments: Any, encoded_packet: Any = None, **options: Any) -> None:
        if encoded_packet is not None and not encoded_packet:
            raise Unreadable("an empty packet")
        super().__init__(*arguments, encoded_packet=encoded_packet, **options)

    def decode(self, encoded_packet: Any) -> int:
        """Read a packet; return how many attachments follow. Raises Unreadable."""
        _check_size(encoded_packet)
        try:
            attachments = super().decode(encoded_packet)
        except (ValueError, TypeError, RecursionError) as error:
            raise Unreadable(str(error)) from error
        if (attachments > 0) != (self.packet_type in ATTACHED):
            raise Unreadable("attachments where there are none, or none where there are some")
        if attachments > MAX_ATTACHMENTS:
            raise Unreadable("more attachments than a packet may have")
        if self.packet_type in (EVENT, BINARY_EVENT) and not _is_event(self.data):
            raise Unreadable("an event without a name of its own")
        if self.packet_type in (ACK, BINARY_ACK):
            if not isinstance(self.data, list):
                raise Unreadable("an acknowledgement without a list")
            self.id = self.id or UNASKED
        return attachments

    def encode(self) -> Any:
        """Return the packet as Engine.IO sends it."""
        if self.packet_type == CONNECT_ERROR and self.data == "Unable to connect":
            self.data = UNKNOWN_NAMESPACE
        return super().encode()

    def add_attachment(self, attachment: Any) -> bool:
        """Add an attachment; return whether the packet is complete. Raises Unreadable."""
        if not isinstance(attachment, bytes):
            raise Unreadable("an attachment that is a text")
        try:
            return super().add_attachment(attachment)
        except (LookupError, TypeError, RecursionError) as error:
            raise Unreadable(f"an attachment without its place: {error}") from error

    @classmethod
    def reconstruct_binary(cls, data: Any, attachments: list[bytes]) -> Any:
        """Put the attachments in their places.

        As a dict, they have no item -1: a list would accept such a place, and count from its end.
        """
        return super().reconstruct_binary(data, dict(enumerate(attachments)))


def _check_size(packet: Any) -> None:
    """Raise Unreadable for what it would take too long to read, or is not worth it."""
    if not isinstance(packet, str) or packet[0] not in TO_SERVER:
        raise Unreadable("a packet of no type that a client sends")
    if packet[0] == str(CONNECT) and len(packet) > MAX_CONNECT:
        raise TooLong("a CONNECT that is too long")
    if len(packet) > MAX_VALUES and sum(map(packet.count, "[{,")) > MAX_VALUES:
        raise Unreadable("a packet with too many values")


def _is_event(data: Any) -> bool:
    """Return whether this is an event: a list that begins with a name that is not reserved.

    python-socketio would call the handler of `connect` or `disconnect` for an event of that name.
    """
    return isinstance(data, list) and data and isinstance(data[0], str) and data[0] not in RESERVED
