"""A server in the background: it starts, stops, dies and restarts, and leaves nothing behind."""

import asyncio
import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from urllib.error import URLError
from urllib.request import urlopen

import cloudpickle
import pytest
from aiohttp import web

from chatlab.client.tab import ChatClient
from chatlab.harness import background
from chatlab.harness.background import BackgroundServer, listening
from chatlab.messages import Refused
from chatlab.server.app import create_app

PATIENCE = 20
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a process cannot import a test


class Homemade(Exception):
    """An error that pickles, and cannot be unpickled."""

    def __init__(self, first, second):
        super().__init__(first)


def hello(word="hello"):
    """An application that says a word and where it runs, and fails in three ways when asked to."""

    async def say(request):
        return web.Response(text=word)

    async def pid(request):
        return web.Response(text=str(os.getpid()))

    async def fail(request):
        async def failing():
            raise {"key": KeyError("in a task"), "homemade": Homemade("no", "way")}[word]

        await asyncio.wait([asyncio.create_task(failing())])
        return web.Response()

    async def leave(request):
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        return web.Response()

    async def block(request):
        while True:
            pass

    app = web.Application()
    for handler in (say, pid, fail, leave, block):
        app.router.add_get(f"/{handler.__name__}", handler)
    return app


def cannot_build():
    raise ValueError("not like this")


def cannot_start():
    async def on_startup(app):
        raise ValueError("not like this")

    app = web.Application()
    app.on_startup.append(on_startup)
    return app


def get(server, path="/say"):
    with urlopen(server.url + path, timeout=PATIENCE) as answer:
        return answer.read().decode()


def eventually(condition):
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "this never came to be"
        time.sleep(0.01)


def threads():
    return {thread.name for thread in threading.enumerate()}


def files():
    """The open files and sockets of this process."""
    return len(os.listdir("/dev/fd"))


def left():
    """What a server or a tab may leave behind."""
    return threads(), files(), asyncio.all_tasks()


@pytest.fixture(autouse=True)
def nothing_left():
    """Every test ends with the threads and the servers that it began with."""
    before = threads()
    yield
    left = list(background._LIVE)
    background._stop_all()
    assert left == []
    eventually(lambda: threads() <= before)


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


def test_only_a_process_has_a_pid_of_its_own():
    """A thread serves from this process, and a process from another one."""
    with BackgroundServer(hello, name="one") as one:
        assert get(one, "/pid") == str(os.getpid())
    with BackgroundServer(hello, name="two", process=True) as two:
        assert get(two, "/pid") != str(os.getpid())


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
    first.stop()  # it has no place any more, and stops nobody else
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


def test_application_that_cannot_travel_is_an_error_in_the_cell():
    """What holds a lock cannot go to another process, and no process is begun."""
    lock = threading.Lock()
    with pytest.raises(TypeError, match="pickle"):
        BackgroundServer(lambda: lock, process=True).start()


def test_process_that_ends_before_it_serves_is_an_error_in_the_cell():
    """It says nothing, and the cell does not wait for it."""
    with pytest.raises(RuntimeError, match="ended before"):
        BackgroundServer(lambda: os._exit(1), process=True).start()


def test_process_that_cannot_start_says_nothing_of_its_own(capfd):
    """The error is raised in the cell, and the dying process writes no report beside it."""
    with pytest.raises(ValueError, match="not like this"):
        BackgroundServer(cannot_build, process=True).start()
    assert capfd.readouterr() == ("", "")


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


def test_error_that_cannot_travel_arrives_as_its_text():
    """Some exceptions pickle and do not unpickle: the next error must still get through."""
    with BackgroundServer(partial(hello, "homemade"), process=True) as server:
        for count in (1, 2):
            get(server, "/fail")
            eventually(lambda count=count: len(server.errors) == count)
        assert "Homemade: no" in str(server.errors[0])


def test_refusal_in_a_process_is_told():
    """The package's own exception is one of those that need care."""
    with pytest.raises((Refused, RuntimeError), match="because"):
        BackgroundServer(refuse, process=True).start()


def refuse():
    raise Refused("bad", "because")


def test_report_hears_of_errors_instead(process):
    """Who gives a `report` gets each error, and `errors` stays empty."""
    heard = []
    server = BackgroundServer(partial(hello, "key"), process=process, report=heard.append)
    with server:
        get(server, "/fail")
        eventually(lambda: heard)
        assert type(heard[0]) is KeyError
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


def test_killed_process_is_dead_and_its_port_is_free():
    """Its pid is gone, the port can be taken, and the server starts again on it."""
    server = BackgroundServer(hello, process=True).start()
    child = server._worker.process
    server.kill()
    server.kill()
    assert child.returncode == -signal.SIGKILL
    assert not server.running
    with socket.create_server(("127.0.0.1", server.port)):
        pass
    with server:
        assert get(server) == "hello"


def test_thread_cannot_be_killed():
    """That is an error, and the server goes on."""
    with BackgroundServer(hello) as server:
        with pytest.raises(RuntimeError, match="process=True"):
            server.kill()
        assert get(server) == "hello"


def test_busy_process_is_killed_by_stop(monkeypatch):
    """A handler that never ends does not keep its process."""
    monkeypatch.setattr(background, "PATIENCE", 1)
    server = BackgroundServer(hello, process=True).start()
    with socket.create_connection(("127.0.0.1", server.port)) as browser:
        browser.sendall(b"GET /block HTTP/1.0\r\n\r\n")
        assert get_nothing(server)
        server.stop()
    assert server._worker.process.returncode == -signal.SIGKILL


def get_nothing(server):
    """Say whether the server has stopped answering."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urlopen(server.url + "/say", timeout=0.2) as answer:
                answer.read()
        except TimeoutError:
            return True
    return False


PARENT = """
import sys, time
import cloudpickle
from chatlab.harness.background import BackgroundServer
build = cloudpickle.load(sys.stdin.buffer)
server = BackgroundServer(build, process=True).start()
print(server.port, flush=True)
time.sleep(1000)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_process_does_not_outlive_its_parent():
    """The parent is killed with -9, and its server ends too: nobody holds their output open."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as parent:
        parent.stdin.write(cloudpickle.dumps(hello))
        parent.stdin.close()
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)):
            pass  # the control: it serves
        parent.kill()
        parent.stdin = None  # it is closed, and communicate would flush it
        _, said = parent.communicate(timeout=PATIENCE)  # until parent and child have both ended
    assert said == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_run_gives_the_result_of_a_coroutine():
    """It runs on the server's own loop and thread."""

    async def where():
        return threading.current_thread().name

    with BackgroundServer(hello, name="here") as server:
        assert server.run(where()) == "chatlab-here"


def test_run_where_it_cannot_be_is_an_error_at_once(process):
    """On a server that is stopped or in another process, and from the server's own thread."""

    async def nothing():
        pass

    async def inside():
        server.run(nothing())

    server = BackgroundServer(hello, process=process)
    with pytest.raises(RuntimeError):
        server.run(nothing())
    with server, pytest.raises(RuntimeError):
        server.run(inside())
    with pytest.raises(RuntimeError):
        server.run(nothing())


def test_run_that_is_given_up_is_cancelled(monkeypatch):
    """What takes too long does not go on behind the back of the notebook."""
    monkeypatch.setattr(background, "PATIENCE", 0.05)
    cancelled = threading.Event()

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with BackgroundServer(hello) as server:
        with pytest.raises(TimeoutError):
            server.run(forever())
        assert cancelled.wait(PATIENCE)


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


LAB = """
import asyncio
from chatlab import Lab, chat
thread = await Lab(chat, name="thread")
process = await Lab(chat, name="process", process=True)
ann, bob = await thread.join("ann"), await process.join("bob")
print(process.server._worker.process.pid)
"""
FOREVER = "print('waiting'); await bob.until(lambda: False)"
BLOCKED = "import time; print('waiting'); time.sleep(1000)"


def is_gone(pid):
    """Say whether a process has ended, also if nobody has collected its exit code yet."""
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip() in ("", "Z")


@pytest.mark.parametrize("cell", [FOREVER, BLOCKED], ids=["await", "blocking call"])
def test_interrupt_ends_a_waiting_cell_and_the_lab_goes_on(kernel, cell):
    """The stop button works while a cell waits, and both servers still answer afterwards."""
    assert kernel.run(LAB).isdigit()
    kernel.begin(cell)
    kernel.manager.interrupt_kernel()
    assert kernel.rest_of_the_cell() in ("KeyboardInterrupt", "CancelledError")
    assert kernel.run("print(await ann.send('hello'), await bob.send('hello'))") == "1 1"


@pytest.mark.parametrize("cell", [None, FOREVER], ids=["idle", "waiting"])
def test_kernel_shuts_down_with_a_running_lab(kernel, cell):
    """The kernel ends when it is asked to, without being killed, and its process server too."""
    child = int(kernel.run(LAB))
    assert not is_gone(child)
    if cell:
        kernel.begin(cell)
    pid = kernel.manager.provisioner.process.pid
    kernel.manager.shutdown_kernel()
    assert is_gone(pid)
    eventually(lambda: is_gone(child))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_killed_kernel_takes_its_process_server_along(kernel):
    """A kernel that has no time to say goodbye leaves nothing either."""
    child = int(kernel.run(LAB))
    kernel.manager.shutdown_kernel(now=True)
    eventually(lambda: is_gone(child))


async def test_crowd_that_comes_at_once_finds_room(tmp_path):
    """Before one of them is accepted: asyncio's own room is for a hundred, and the others wait."""
    with contextlib.ExitStack() as stack:
        async with listening(create_app(db=tmp_path / "chat.db"), "127.0.0.1", 0) as port:
            for _ in range(300):
                one = stack.enter_context(socket.socket())
                one.settimeout(PATIENCE)
                one.connect(("127.0.0.1", port))
