"""What the tests are given."""

import os
import shutil
import tempfile
import threading
from functools import partial

import pytest
from hypothesis import settings
from support import Kernel, serving

import chatlab.lab.lab
from chatlab.client import PATIENCE
from chatlab.harness import background

settings.register_profile("untimed", deadline=None)  # on a busy machine a time is no fault
settings.load_profile("untimed")

FIRST = ("test_jupyterlab.py", "test_live_demo.py", "test_notebooks.py")
"""The files that take longest: a process that began them last would end alone."""

NO_PROXY = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY", ""), "localhost", "127.0.0.1"]
"""What is reached without a proxy: the tests ask servers on this machine with `urlopen`."""


def pytest_sessionstart(session):
    """Give all that runs here a temporary folder that goes with it: a kernel is killed at its end.

    What pytest itself keeps of failed tests stays where it always is.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="test-")
    session.config.add_cleanup(partial(shutil.rmtree, tempfile.tempdir, ignore_errors=True))
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(NO_PROXY)


def pytest_collection_modifyitems(config, items):
    """Let the longest files begin, where several processes share the tests."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name not in FIRST)


@pytest.fixture
async def served(tmp_path):
    """The finished server, on the test's own loop."""
    async with serving(tmp_path / "chat.db") as server:
        yield server


@pytest.fixture
def kernel(tmp_path_factory):
    """A kernel, in a folder whose name is short enough for the sockets in it."""
    kernel = Kernel(tmp_path_factory.mktemp("k"))
    yield kernel
    kernel.close()


@pytest.fixture
def nothing_left():
    """A test with labs ends with no lab and no server, and with the threads that it began with."""
    before = set(threading.enumerate())
    yield
    left = [*chatlab.lab.lab._OPEN, *background._LIVE]
    background._stop_all()
    assert left == []
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)  # a database is closed a moment before its thread ends
    assert set(threading.enumerate()) <= before
