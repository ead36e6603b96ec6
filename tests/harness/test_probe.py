"""What a lab asks a server: is it at rest, and will it wait?"""

import asyncio
import sqlite3

import pytest
import socketio
from support import serving, turns

from chatlab.client.tab import ChatClient
from chatlab.harness.probe import Gate, Hold, WatchedServer


async def test_gate_holds_the_next_one_only():
    """The handlers that pass before it and after it are not held."""
    gate = Gate()
    await gate.passed()
    hold = gate.hold_next()
    first = asyncio.create_task(gate.passed())
    await hold.reached()
    await gate.passed()
    assert not first.done()
    hold.release()
    await first


async def test_gate_that_is_opened_holds_nobody():
    """No handler had passed before it was opened."""
    gate = Gate()
    gate.hold_next()
    gate.open()
    await gate.passed()


async def test_hold_can_be_ended_from_another_thread():
    """The notebook's loop is not the server's."""
    hold = Hold()
    held = asyncio.create_task(hold.here())
    await hold.reached()
    await asyncio.to_thread(hold.release)
    hold.release()  # once more does no harm
    await held


async def test_hold_that_is_ended_before_it_is_reached_holds_nobody():
    """As when a lab is closed before a handler passes."""
    hold = Hold()
    hold.release()
    await hold.here()


async def test_hold_survives_that_the_held_handler_is_cancelled():
    """Its connection is gone; ending the hold afterwards is no error."""
    hold = Hold()
    held = asyncio.create_task(hold.here())
    await hold.reached()
    held.cancel()
    await asyncio.wait([held])
    hold.release()


async def test_server_rests_when_its_handlers_rest():
    """A handler that says that it rests does not count; when it goes on, it does."""
    sio, go_on, end = WatchedServer(), asyncio.Event(), asyncio.Event()

    async def handler():
        with sio.resting():
            await go_on.wait()
        await end.wait()

    task = sio.start_background_task(handler)
    await turns()
    await sio.start_background_task(sio.rest)
    go_on.set()
    await turns()
    rest = sio.start_background_task(sio.rest)
    await turns()
    assert not rest.done()
    end.set()
    await asyncio.gather(task, rest)


async def test_handlers_of_events_are_background_tasks(tmp_path):
    """That python-socketio runs them so is not documented, and the probe relies on it."""
    handling = []

    def handlers(sio, log):
        @sio.on("*")
        async def any_event(event, sid):
            handling.append(asyncio.current_task() in sio.handling)

    async with serving(tmp_path / "chat.db", handlers, server=WatchedServer) as server:
        tab = await ChatClient(server.url).open()
        await tab.call("hello")
        await tab.close()
    assert handling == [True]


@pytest.mark.parametrize(
    ("server", "end"),
    [
        (WatchedServer, asyncio.CancelledError),
        (socketio.AsyncServer, (ValueError, sqlite3.Error)),  # aiosqlite's, or SQLite's
    ],
)
async def test_handler_that_reads_ends_before_its_log_is_closed(tmp_path, server, end):
    """A server that stops ends it. The control is python-socketio's: there its log fails."""
    ended = asyncio.get_running_loop().create_future()

    def reading(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            sio.start_background_task(read)

        async def read():
            try:
                while True:
                    await log.after(0)
            except BaseException as error:
                ended.set_result(type(error))

    async with serving(tmp_path / "chat.db", reading, server=server) as served:
        tab = await ChatClient(served.url).open()
        await tab.drop()
        await turns()
    assert issubclass(await asyncio.wait_for(ended, 10), end)
