"""Where a server runs: on a thread or in a process, which ends when it should and not before."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from urllib.request import urlopen

import cloudpickle
import pytest
from small_server import (
    PATIENCE,
    cannot_build,
    eventually,
    get,
    hello,
    nothing_left,  # noqa: F401 (all tests use it)
)

from chatlab.harness import workers
from chatlab.harness.background import BackgroundServer
from chatlab.messages import Refused


def test_only_a_process_has_a_pid_of_its_own():
    """A thread serves from this process, and a process from another one."""
    with BackgroundServer(hello, name="one") as one:
        assert get(one, "/pid") == str(os.getpid())
    with BackgroundServer(hello, name="two", process=True) as two:
        assert get(two, "/pid") != str(os.getpid())


def test_application_that_cannot_travel_is_an_error_in_the_cell():
    """An application with a lock cannot be pickled, and no process is started."""
    lock = threading.Lock()
    with pytest.raises(TypeError, match="pickle"):
        BackgroundServer(lambda: lock, process=True).start()


def test_process_that_ends_before_it_serves_is_an_error_in_the_cell():
    """The process sends nothing, and the cell does not wait for it."""
    with pytest.raises(RuntimeError, match="ended before"):
        BackgroundServer(lambda: os._exit(1), process=True).start()


def test_process_that_cannot_start_says_nothing_of_its_own(capfd):
    """The error is raised in the cell, and the dying process writes no report beside it."""
    with pytest.raises(ValueError, match="not like this"):
        BackgroundServer(cannot_build, process=True).start()
    assert capfd.readouterr() == ("", "")


def test_error_that_cannot_travel_arrives_as_its_text():
    """Some exceptions pickle and do not unpickle: the next error must still get through."""
    with BackgroundServer(partial(hello, "homemade"), process=True) as server:
        for count in (1, 2):
            get(server, "/fail")
            eventually(lambda count=count: len(server.errors) == count)
        assert "Homemade: no" in str(server.errors[0])


def test_refusal_in_a_process_is_raised_in_the_cell():
    """The package's own exception passes between the processes too."""

    def refuse():
        raise Refused("bad", "because")

    with pytest.raises((Refused, RuntimeError), match="because"):
        BackgroundServer(refuse, process=True).start()


def test_every_byte_passes_between_the_processes():
    """Also those that a pipe in text mode, as Windows has it, would change or take for an end."""
    text = bytes(range(256)).decode("latin-1") + "\r\n\x1a\n"

    def fail(text=text):
        raise ValueError(text)

    with pytest.raises(ValueError) as raised:
        BackgroundServer(fail, process=True).start()
    assert raised.value.args == (text,)


def test_interrupt_of_the_notebook_does_not_reach_a_process(monkeypatch):
    """It is in a session of its own, and on Windows, which has none, in a group of its own."""
    begun, begin = [], subprocess.Popen

    def noted(*args, creationflags, **options):
        begun.append((options["start_new_session"], creationflags))
        return begin(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", noted)
    with BackgroundServer(hello, process=True):
        monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
        with BackgroundServer(hello, name="Windows", process=True):
            assert begun == [(True, 0), (True, 512)]


class Broken:
    """The pipe to a process that has ended, on Windows: its error has another name there."""

    def write(self, data=b""):
        raise OSError(errno.EINVAL, "Invalid argument")

    flush = close = write


def test_process_that_ends_before_it_reads_is_an_error_in_the_cell(monkeypatch):
    """The error says what happened, and not which pipe broke."""
    begin = subprocess.Popen

    def broken(*args, **options):
        process = begin(*args, **options)
        process.stdin.close()
        process.stdin = Broken()
        return process

    monkeypatch.setattr(subprocess, "Popen", broken)
    with pytest.raises(EOFError):
        BackgroundServer(hello, process=True).start()


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
    server = BackgroundServer(hello, process=True).start()
    with socket.create_connection(("127.0.0.1", server.port)) as browser:
        browser.sendall(b"GET /block HTTP/1.0\r\n\r\n")
        assert get_nothing(server)
        monkeypatch.setattr(workers, "PATIENCE", 1)  # the start of a process takes as long
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
    """The parent is killed with -9, and its server ends too: no process keeps their output open."""
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


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
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
    """A coroutine that takes too long does not go on unnoticed."""
    cancelled = threading.Event()

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with BackgroundServer(hello) as server:
        with monkeypatch.context() as patched, pytest.raises(TimeoutError):
            patched.setattr(workers, "PATIENCE", 0.05)
            server.run(forever())
        assert cancelled.wait(PATIENCE)


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
    """A kernel that is killed leaves no process either."""
    child = int(kernel.run(LAB))
    kernel.manager.shutdown_kernel(now=True)
    eventually(lambda: is_gone(child))
