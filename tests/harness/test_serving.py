"""An application on a loop: it listens, with room for a crowd, and stops on every system."""

import asyncio
import contextlib
import socket

import pytest
from small_server import PATIENCE, hello

from chatlab.harness.serving import listening
from chatlab.server.app import create_app


async def test_server_stops_on_a_loop_without_readers(monkeypatch):
    """As Windows has it: the port is free afterwards, as everywhere."""

    def missing(listener):
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "remove_reader", missing)
    async with listening(hello(), "127.0.0.1", 0) as port:
        socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_crowd_that_comes_at_once_finds_room(tmp_path):
    """Before one of them is accepted: asyncio's own room is for a hundred, and the others wait."""
    with contextlib.ExitStack() as stack:
        async with listening(create_app(db=tmp_path / "chat.db"), "127.0.0.1", 0) as port:
            for _ in range(300):
                one = stack.enter_context(socket.socket())
                one.settimeout(PATIENCE)
                one.connect(("127.0.0.1", port))
