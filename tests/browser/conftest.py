"""A real browser for the tests in this folder, and the real server, as a process of its own."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright
from support import CHROMIUM_ARGUMENTS, ELSE, chromium, missing
from tabs import Tab

from chatlab.harness.background import BackgroundServer
from chatlab.page import BROWSER_CLIENT
from chatlab.server import create_app

ROOT = Path(__file__).parents[2]
JUPYTERLAB = [
    "jupyterlab",
    "--allow-root",
    "--no-browser",
    "--IdentityProvider.token=",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
]
HUB = "/user/ann/"
"""Where a hub has the JupyterLab of one of its users."""
PATIENCE = 20_000
"""Milliseconds to wait for anything; a connection that was lost is tried again within 5,000."""


class Process:
    """A server as a process: started, killed, and started again on the same port.

    All that it writes goes to one file, `said`; its address is in `url`.
    """

    def __init__(self, said, *command, **environment):
        self.said, self.environment, self.port = said, os.environ | environment, 0
        self.command = [sys.executable, "-u", "-m", *map(str, command)]

    def start(self):
        """Start it, and return when it has said where it serves."""
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [*self.command, f"--port={self.port}"],
                stdout=said,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        deadline = time.monotonic() + PATIENCE / 1000
        while not (address := re.search(r"(http://localhost:(\d+))\S*\s", self.said.read_text())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self.command} does not serve: {self.said.read_text()}")
            time.sleep(0.02)
        self.url, self.port = address[1], address[2]
        return self

    def kill(self):
        """End it at once, as `kill -9` does."""
        self.process.kill()
        self.process.wait(PATIENCE / 1000)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE / 1000)


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    path = chromium()
    if not BROWSER_CLIENT.exists():
        missing("the Socket.IO browser client is not installed: npm was missing at the set-up")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    """A fresh browser profile, in which no page may raise an error that nobody catches."""
    errors = []
    # Without the page's Content-Security-Policy: it would hide what the scripts fail to escape.
    with browser.new_context(bypass_csp=True) as context:
        context.set_default_timeout(PATIENCE)
        context.on("weberror", lambda error: errors.append(error.error))
        yield context
    assert errors == []


@pytest.fixture
def db(tmp_path):
    """The file of the server's database."""
    return tmp_path / "chat.db"


@pytest.fixture
def options():
    """More options for the finished server. A test that wants some is parametrized with them."""
    return ()


@pytest.fixture
def server(browser, tmp_path, db, options):
    """The finished server, `python -m chatlab`, which says where it is and nothing else."""
    server = Process(tmp_path / "said.txt", "chatlab", "--db", db, *options).start()
    yield server
    server.stop()
    assert server.said.read_text() == f"The chat is on {server.url} (Ctrl-C stops it)\n"


@pytest.fixture
def start(browser, db):
    """A function that starts a server of other handlers, as a chapter does, and returns it."""
    with contextlib.ExitStack() as stack:

        def start(handlers):
            build = partial(create_app, handlers, db=db)
            server = stack.enter_context(BackgroundServer(build, name="learner"))
            stack.callback(server.check)
            return server

        yield start


@pytest.fixture
def open_tab(context, request, options):
    """A function that opens the chat page in another tab, and waits until it is connected.

    It is the page of the finished server, which has the `options`, if no other is named.
    """

    def open_tab(url=None):
        tab = Tab(context.new_page())
        tab.page.goto(url or request.getfixturevalue("server").url)
        tab.says("connected")
        return tab

    return open_tab


@pytest.fixture(scope="module")
def jupyterlab(browser, tmp_path_factory, request):
    """JupyterLab on a copy of what the chapters link to, with no memory of earlier runs.

    Its root is the one that `make lab` gives it: the folder of the project. As in a fresh clone, no
    notebook is trusted. A test that is parametrized with "trusted" has them trusted, one with "hub"
    has them as on a JupyterHub, or on Binder. There, and with "elsewhere", the browser knows
    JupyterLab by a name, as that of another machine. Its address for the browser is in `known`.
    """
    state = getattr(request, "param", "not_trusted")
    folder = tmp_path_factory.mktemp("jupyterlab")
    course, hidden = folder / "course", shutil.ignore_patterns(".*", "__pycache__")
    for name in ("notebooks", "chatlab"):
        shutil.copytree(ROOT / name, course / name, ignore=hidden)
    folders = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    if state == "trusted":
        trust = [sys.executable, "-m", "nbformat.sign", *course.glob("notebooks/*.ipynb")]
        subprocess.run(trust, env=os.environ | folders, check=True, capture_output=True)
    base, far = HUB if state == "hub" else "/", state in ("hub", "elsewhere")
    places = [f"--notebook-dir={course}", f"--ServerApp.base_url={base}"]
    places += ["--ServerApp.allow_remote_access=True"] * far
    lab = Process(folder / "jupyter.txt", *JUPYTERLAB, *places, **folders)
    lab.start()
    lab.course = course
    lab.known = f"http://{ELSE if far else 'localhost'}:{lab.port}{base}"
    yield lab
    lab.stop()
