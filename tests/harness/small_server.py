"""A small application for the tests of the harness: it says where it runs, and fails on demand."""

import asyncio
import os
import sys
import threading
import time
from urllib.request import urlopen

import cloudpickle
import pytest
from aiohttp import web

from chatlab.harness import background

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


@pytest.fixture(autouse=True)
def nothing_left():
    """Every test ends with the threads and the servers that it began with."""
    before = threads()
    yield
    left = list(background._LIVE)
    background._stop_all()
    assert left == []
    eventually(lambda: threads() <= before)
