"""Which Socket.IO packets the server accepts from a client: those of the official parser.

It knows packets. It must not know connections, requests or the chat.
"""

from __future__ import annotations

from typing import Any

from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, DISCONNECT, EVENT, Packet

MAX_ATTACHMENTS = 10
"""The most attachments of one packet, as in the official parser. They stay in memory until the last
one has arrived."""
ATTACHED = (BINARY_EVENT, BINARY_ACK)
TO_SERVER = "".join(map(str, (CONNECT, DISCONNECT, EVENT, ACK, *ATTACHED)))
"""The types of packet that a client sends. Each is one digit."""
RESERVED = {"connect", "connect_error", "disconnect", "disconnecting"}
RESERVED |= {"newListener", "removeListener"}
"""Names that no event may have: the official server closes a connection that sends one."""


class Unreadable(ValueError):
    """A packet that no Socket.IO client sends."""


class StrictPacket(Packet):
    """A Socket.IO packet that is checked when it arrives, as the official parser checks it."""

    def __init__(self, *arguments: Any, encoded_packet: Any = None, **options: Any) -> None:
        if encoded_packet is not None and not encoded_packet:
            raise Unreadable("an empty packet")
        super().__init__(*arguments, encoded_packet=encoded_packet, **options)

    def decode(self, encoded_packet: Any) -> int:
        """Read a packet; return how many attachments follow. Raises Unreadable."""
        if not isinstance(encoded_packet, str) or encoded_packet[0] not in TO_SERVER:
            raise Unreadable("a packet of no type that a client sends")
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
        if self.packet_type in (ACK, BINARY_ACK) and not isinstance(self.data, list):
            raise Unreadable("an acknowledgement without its list")
        return attachments

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


def _is_event(data: Any) -> bool:
    """Return whether this is an event: a list that begins with a name that is not reserved.

    python-socketio would call the handler of `connect` or `disconnect` for an event of that name.
    """
    return isinstance(data, list) and data and isinstance(data[0], str) and data[0] not in RESERVED
