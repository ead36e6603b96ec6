"""The files of the page are replaced, as by an update: a browser runs all of them, or none."""

import contextlib
import os
import shutil
import time
from functools import partial

import pytest
from aiohttp import web
from playwright.sync_api import expect
from tabs import address

import chatlab.server.site
from chatlab.harness.background import BackgroundServer
from chatlab.page import PAGE
from chatlab.server import create_app

MONTH = 30 * 24 * 3600
SCRIPTS = ("page.js", "join.js")
RUN = "() => [window['page.js'], window['join.js']]"


def plain(folder):
    """The control: the same files as aiohttp serves them by itself."""
    app = web.Application()

    async def index(request):
        return web.FileResponse(folder / "index.html")

    app.router.add_get("/", index)
    app.router.add_static("/page", folder)
    return app


@pytest.fixture
def update(tmp_path, monkeypatch):
    """A function that replaces the scripts of the page by those of a version, a month old.

    They say in the window which version has run.
    """
    folder = tmp_path / "static"
    shutil.copytree(PAGE, folder)
    monkeypatch.setattr(chatlab.server.site, "PAGE", folder)

    def update(version):
        for name in SCRIPTS:
            script = (PAGE / name).read_text()
            (folder / name).write_text(f"window['{name}'] = '{version}';\n{script}")
        then = time.time() - MONTH
        for path in folder.rglob("*"):
            os.utime(path, (then, then))
        return folder

    return update


@pytest.fixture(params=["ours", "plain"])
def make(request, update, tmp_path):
    """A function that makes a server by its name, the finished one or the control: of the old page.

    Each has a log of its own.
    """
    folder = update("old")

    def make(name):
        build = partial(create_app, db=tmp_path / f"{name}.db")
        return BackgroundServer(partial(plain, folder) if is_plain else build, name=name)

    is_plain = make.is_plain = request.param == "plain"
    return make


def test_update_is_seen(context, make, update):
    """At the next visit; the control shows what the browser has kept, and asks for nothing."""
    expected = ["old" if make.is_plain else "new"] * 2
    with make("server") as server:
        page, again = context.new_page(), context.new_page()
        page.goto(address(server))
        page.wait_for_function("window['page.js']")
        server.stop()
        update("new")
        server.start()
        again.goto(address(server))
        page.reload()
        for shown in (page, again):
            shown.wait_for_function("window['page.js']")
            assert shown.evaluate(RUN) == expected


def test_update_while_the_page_loads_runs_no_mixture(context, make, update):
    """The old page gets no new script: it says what to do. The control runs old and new ones."""
    page = context.new_page()
    with make("old") as old, contextlib.ExitStack() as stack:
        new = make("new")

        def begin_anew(route):
            update("new")
            stack.enter_context(new)
            url = route.request.url.replace(f":{old.port}/", f":{new.port}/")
            route.fulfill(response=route.fetch(url=url))

        page.route(f"{address(old)}**/join.js", begin_anew)
        page.goto(address(old))
        if make.is_plain:
            page.wait_for_function("window['page.js']")
            assert page.evaluate(RUN) == ["old", "new"]
            return
        expect(page.get_by_role("alert")).to_contain_text("reload the page")
        expect(page.get_by_role("status")).to_have_text("not connected")
        assert page.evaluate(RUN) == [None, None]
        page.goto(address(new))
        expect(page.get_by_role("status")).to_have_text("connected")
        assert page.evaluate(RUN) == ["new", "new"]
