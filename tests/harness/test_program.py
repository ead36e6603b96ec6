"""An application as a program: it says where it is, and Ctrl-C ends it, the second one at once."""

import contextlib
import gzip
import re
import signal
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest
from small_server import PATIENCE

PROGRAM = """
import sys, threading
from aiohttp import web
from chatlab import run

async def size(request):
    return web.Response(text=str(len(await request.read())))

async def never_ends(app):
    print("stopping", flush=True)
    threading.Event().wait()

app = web.Application()
app.router.add_post("/", size)
if "busy" in sys.argv:
    app.on_shutdown.append(never_ends)
if "asyncio" in sys.argv:
    sys.modules["uvloop"] = None
if "aiohttp" in sys.argv:
    web.run_app(app, host="localhost", port=0)
else:
    run(app, port=0)
"""


@contextlib.contextmanager
def running(*arguments):
    """Run the program; give its process and its port."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process, int(re.search(r"http://localhost:(\d+)", process.stdout.readline())[1])
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_program_ends_when_asked_once(name):
    """In an orderly way, without a word."""
    with running() as (process, _):
        process.send_signal(getattr(signal, name))
        assert process.communicate(timeout=PATIENCE) == ("", None)
        assert process.returncode == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_second_signal_ends_a_program_that_cannot_stop(loop):
    """Whatever its only thread is busy with. The first one, the control, does not."""
    with running("busy", loop) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT


PACKED = gzip.compress(bytes(1_000_000))


@pytest.mark.parametrize(("runner", "size"), [("ours", len(PACKED)), ("aiohttp", 1_000_000)])
def test_compressed_body_is_not_unpacked_by_a_program(runner, size):
    """The control: aiohttp's own `run_app` makes a thousand times as much of it."""
    with running(runner) as (_, port):
        request = Request(f"http://localhost:{port}", PACKED, {"Content-Encoding": "gzip"})
        with urlopen(request, timeout=PATIENCE) as answer:
            assert int(answer.read()) == size
