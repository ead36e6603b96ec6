"""Sessions and positions: what is secret, and what is read."""

import pytest

from chatlab.recovery.sessions import Position, Session, with_offset


@pytest.mark.parametrize("position", [Position(0, 0), Position(7, 12), Position(10**17, 10**17)])
def test_position_is_read_as_it_was_written(position):
    """The offset is the last argument of an event."""
    packet = with_offset('2["tick",{"a":[1]}]', position)
    assert packet == f'2["tick",{{"a":[1]}},"{position.cursor}.{position.number}"]'
    assert Position.of(f"{position.cursor}.{position.number}") == position


@pytest.mark.parametrize("offset", [None, 7, "", "1", "1.", "1.2.3", "-1.2", "x", "9" * 19 + ".1"])
def test_what_is_no_position_is_none(offset):
    """No server has written such an offset."""
    assert Position.of(offset) is None


async def test_pid_is_secret_and_long():
    """It has 128 bits at least, and the repr of a session does not show it."""
    session = Session("sid", "/", Position(0, 0), Position(0, 0))
    assert len(session.pid) * 6 >= 128
    assert session.pid not in repr(session)
