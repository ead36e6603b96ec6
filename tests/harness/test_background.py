"""A server in the background: it starts, stops, dies and restarts, and leaves nothing behind."""

import asyncio
import contextlib
import importlib
import os
import socket
from functools import partial
from urllib.error import URLError

import pytest
from small_server import (
    PATIENCE,
    cannot_build,
    cannot_start,
    eventually,
    get,
    hello,
    nothing_left,  # noqa: F401 (all tests use it)
    threads,
)

from chatlab.client.tab import ChatClient
from chatlab.harness import background
from chatlab.harness.background import BackgroundServer
from chatlab.server.app import create_app


def test_server_with_an_argument_that_cannot_be_is_refused():
    """In one sentence, before anything is started."""
    with pytest.raises(ValueError, match="build is a function that makes an application, not 5"):
        BackgroundServer(5)
    with pytest.raises(ValueError, match="port is a number, or 0 for any free port, not '80'"):
        BackgroundServer(hello, port="80")
    with BackgroundServer(hello) as server:
        with pytest.raises(ValueError, match="run takes a coroutine"):
            server.run(asyncio.sleep)
        with pytest.raises(RuntimeError, match="cannot be killed"):
            server.kill()


def files():
    """The open files and sockets of this process."""
    return len(os.listdir("/dev/fd"))


def left():
    """What a server or a tab may leave behind."""
    return threads(), files(), asyncio.all_tasks()


@pytest.fixture(params=[False, True], ids=["thread", "process"])
def process(request):
    return request.param


def test_started_server_answers_at_once(process):
    """When start returns, the port listens; a second start changes nothing."""
    with BackgroundServer(hello, process=process) as server:
        assert server.running
        port = server.port
        assert server.start() is server
        assert (server.port, get(server)) == (port, "hello")
    assert not server.running


def test_server_goes_on_while_the_cell_is_busy():
    """A call that blocks this thread does not block the server: that is what the thread is for."""
    with BackgroundServer(hello) as server:
        assert get(server) == "hello"  # urlopen blocks the only loop that a cell has


def test_stopped_server_is_gone_and_may_be_stopped_again(process):
    """Nothing listens, stop does nothing the second time, and start uses the same port."""
    server = BackgroundServer(hello, process=process)
    server.stop()
    port = server.start().port
    server.stop()
    server.stop()
    with pytest.raises(URLError):
        get(server)
    with server:
        assert server.port == port
        assert get(server) == "hello"


def test_second_server_of_a_name_takes_the_place_of_the_first(process):
    """Running a start cell again leaves one server, and another name is left alone."""
    other = BackgroundServer(partial(hello, "other"), name="other").start()
    first = BackgroundServer(partial(hello, "first"), process=process).start()
    second = BackgroundServer(partial(hello, "second"), process=process, port=first.port).start()
    assert (first.running, second.running, other.running) == (False, True, True)
    assert (get(second), get(other)) == ("second", "other")
    first.stop()  # it was replaced, and stops no other server
    assert second.running
    second.stop()
    other.stop()


def test_reloaded_module_knows_the_servers_of_before():
    """An edited package does not lose a running server: its name is still taken."""
    kept = dict(vars(background))
    first = BackgroundServer(hello).start()
    try:
        importlib.reload(background)
        second = background.BackgroundServer(hello, port=first.port).start()
        assert not first.running
        assert get(second) == "hello"
        second.stop()
    finally:
        vars(background).update(kept)


def test_taken_port_is_an_error_in_the_cell(process):
    """OSError, and nothing is left running; another port works."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = BackgroundServer(hello, port=taken.getsockname()[1], process=process)
        with pytest.raises(OSError, match="in use"):
            server.start()
        assert not server.running
    with server:
        assert get(server) == "hello"


@pytest.mark.parametrize("build", [cannot_build, cannot_start])
def test_error_while_starting_is_raised_in_the_cell(build, process):
    """Whatever the application raises, where it is made and where it starts."""
    server = BackgroundServer(build, process=process)
    with pytest.raises(ValueError, match="not like this"):
        server.start()
    assert not server.running


def test_error_in_a_task_appears_at_the_next_check(process):
    """Once: a check clears what it raises."""
    with BackgroundServer(partial(hello, "key"), process=process) as server:
        server.check()
        get(server, "/fail")
        eventually(lambda: server.errors)
        with pytest.raises(BaseExceptionGroup) as raised:
            server.check()
        assert raised.group_contains(KeyError, match="in a task", depth=1)
        server.check()


def test_errors_that_nobody_looks_at_are_counted_and_not_kept(monkeypatch):
    """The first ones tell what is wrong; the check says how many followed, and begins anew."""
    monkeypatch.setattr(background, "MOST_ERRORS", 2)
    seen = []

    def counted(loop, context):
        seen.append(context)
        report(loop, context)

    with BackgroundServer(partial(hello, "key")) as server:
        loop = server._worker.loop
        report = loop._exception_handler
        loop.set_exception_handler(counted)
        for _ in range(5):
            get(server, "/fail")
        eventually(lambda: len(seen) == 5)
        assert len(server.errors) == 2
        with pytest.raises(BaseExceptionGroup, match="errors in the server 'server', and 3 more"):
            server.check()
        server.check()


def test_report_gets_the_errors_instead(process):
    """With a `report` each error goes there, and `errors` stays empty."""
    reported = []
    server = BackgroundServer(partial(hello, "key"), process=process, report=reported.append)
    with server:
        get(server, "/fail")
        eventually(lambda: reported)
        assert type(reported[0]) is KeyError
        server.check()


def test_server_that_ends_by_itself_can_be_started_again(process):
    """A handler that exits takes its server along, and not the notebook."""
    server = BackgroundServer(hello, process=process).start()
    with contextlib.suppress(URLError, ConnectionError):  # it may be too quick to answer
        get(server, "/leave")
    eventually(lambda: not server.running)
    eventually(lambda: server.errors)
    assert type(server.errors[0]) is SystemExit
    with server:
        assert get(server) == "hello"


@pytest.mark.parametrize(("process", "times"), [(False, 50), (True, 5)], ids=["thread", "process"])
@pytest.mark.slow
async def test_many_restarts_leave_nothing_behind(tmp_path, process, times):
    """No thread, open file, socket or task, though tabs come back to the same port each time."""
    server = BackgroundServer(partial(create_app, db=tmp_path / "chat.db"), process=process)
    loops = []
    server.start()
    server.stop()
    port, before = server.port, left()
    with server:
        tabs = await open_tabs(server, 4)
    await all_are(tabs, connected=False)
    for _ in range(times):
        server.start()
        if not process:
            loops.append(server._worker.loop)
        await all_are(tabs, connected=True)
        assert server.port == port
        server.stop()
        await all_are(tabs, connected=False)
    await asyncio.gather(*(tab.close() for tab in tabs))
    async with asyncio.timeout(PATIENCE):  # the loop has to go round for a socket to be closed
        # Less is right too: the thread of a closed database ends a moment later, after `before`.
        while not all(now <= then for now, then in zip(left(), before, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert all(loop.is_closed() and not asyncio.all_tasks(loop) for loop in loops)


async def open_tabs(server, count):
    """Open tabs, those on websocket and those on polling in turn."""
    tabs = [
        ChatClient(server.url, f"tab {number}", transports=(("websocket", "polling")[number % 2],))
        for number in range(count)
    ]
    return await asyncio.gather(*(tab.open() for tab in tabs))


async def all_are(tabs, connected):
    """Wait until all tabs have a connection, or until none has."""
    await asyncio.gather(*(tab.until(lambda tab=tab: tab.connected is connected) for tab in tabs))


def test_thread_and_socket_of_a_running_server_are_counted():
    """The control: what the test of many restarts counts is there while a server runs."""
    before = threads(), files()
    with BackgroundServer(hello):
        assert threads() > before[0]
        assert files() > before[1]


async def test_stopping_with_clients_ends_and_all_come_back(tmp_path, process):
    """Thirty tabs, websocket and polling, lose the server, and find it again after a restart."""
    server = BackgroundServer(partial(create_app, db=tmp_path / "chat.db"), process=process)
    server.start()
    tabs = await open_tabs(server, 30)
    server.stop()
    await all_are(tabs, connected=False)
    server.start()
    await all_are(tabs, connected=True)
    await tabs[0].send("are you all there?")
    await asyncio.gather(*(tab.sees(1) for tab in tabs))
    server.stop()
    await asyncio.gather(*(tab.close() for tab in tabs))
    server.check()
