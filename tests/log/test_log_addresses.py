"""Which log is meant by a place, and what is in it, seen from beside its servers."""

import sqlite3

import pytest
from databases import postgres, url_of

from chatlab.log import LogError, MessageLog, PostgresLog, head_at, is_address, log_at, messages_at
from chatlab.messages import Message


@pytest.fixture(params=["file", "database"])
def place(request, tmp_path):
    path = tmp_path / "chat.db"
    return path if request.param == "file" else url_of(path)


def test_address_makes_a_log_in_postgresql_and_anything_else_a_file(tmp_path):
    """Nothing is opened yet."""
    for address in "postgresql://host/chat", "postgres://host/chat":
        assert is_address(address)
        assert type(log_at(address)) is PostgresLog
    assert not is_address(tmp_path / "chat.db")
    assert type(log_at(tmp_path / "chat.db")) is MessageLog


async def test_messages_and_head_are_read_beside_a_server(place):
    """While it is open, and in a thread with a running loop."""
    async with log_at(place, keep=2) as log:
        await log.begin_epoch()
        assert (head_at(place), messages_at(place)) == (0, [])
        for text in "abc":
            await log.append(text)
        assert head_at(place) == 3
        assert messages_at(place) == [Message(2, "b"), Message(3, "c")]


def test_log_that_cannot_be_read_is_an_error(tmp_path):
    """One of the two that a caller knows: no file, no tables, no database."""
    for look in head_at, messages_at:
        with pytest.raises(sqlite3.Error):
            look(tmp_path / "chat.db")
        for url in url_of(tmp_path / "empty"), postgres().url("nowhere"):
            with pytest.raises(LogError):
                look(url)
