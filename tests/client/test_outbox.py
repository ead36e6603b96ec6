"""The outbox: what stays in it, in which order, and under which keys."""

from uuid import UUID

from chatlab.client.outbox import Outbox


def test_messages_stay_in_order_until_they_are_answered():
    """Being sent changes nothing: a message may not have arrived."""
    outbox = Outbox()
    for text in ("one", "two", "three"):
        outbox.add(text)
    first, second, third = outbox.pending
    outbox.sent(first)
    assert outbox.pending == [first, second, third]
    outbox.answered(second)
    assert [message.text for message in outbox.pending] == ["one", "three"]


def test_each_message_has_a_key_of_its_own():
    """Equal texts, and messages of other tabs, have other keys; each is a UUID."""
    outboxes = [Outbox(), Outbox()]
    for outbox in outboxes * 2:
        outbox.add("hello")
    keys = {message.client_offset for outbox in outboxes for message in outbox.pending}
    assert len(keys) == 4
    assert all(str(UUID(key)) == key for key in keys)
