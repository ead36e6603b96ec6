"""The policy of the page in a real browser: all of the page works under it, and nothing else runs.

The other tests of the page are without it, since it would hide what the scripts fail to escape.
"""

import pytest
from aiohttp import web
from conftest import PATIENCE
from playwright.sync_api import expect
from tabs import Tab, address
from test_page import MARKUP, without_client

from chatlab.harness.background import BackgroundServer
from chatlab.page import BROWSER_CLIENT
from chatlab.server import chat

REFUSED = """(html) => new Promise((resolve) => {
  addEventListener("securitypolicyviolation", ({ effectiveDirective }) => {
    if (effectiveDirective === "script-src-attr") resolve(window.ran ?? "refused");
  });
  document.body.insertAdjacentHTML("beforeend", html);
})"""


@pytest.fixture
def context(browser):
    """A browser that keeps to the page's policy, in which no page may raise an error."""
    errors = []
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        context.on("weberror", lambda error: errors.append(error.error))
        yield context
    assert errors == []


def test_page_works_under_its_policy(context, server):
    """It connects, sends, shows, keeps, and has its style; the browser complains of nothing."""
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(server.url)
    tab = Tab(page)
    with page.expect_websocket():
        tab.says("connected")
    tab.send("hello")
    tab.shows("hello")
    tab.press("Reload")
    tab.shows("hello")
    assert page.evaluate("getComputedStyle(document.body).display") != "block"
    assert complaints == []


def test_page_loads_the_client_from_the_network_under_its_policy(context, server):
    """The policy allows the one address from which it comes."""
    page = context.new_page()
    without_client(page, BROWSER_CLIENT.read_bytes())
    page.goto(server.url)
    expect(page.get_by_role("status")).to_have_text("connected")


def test_markup_would_not_run_even_as_html(context, server):
    """What a script forgets to escape does not run. The control is in the tests of the page."""
    page = context.new_page()
    page.goto(server.url)
    Tab(page).says("connected")
    assert page.evaluate(REFUSED, MARKUP[0]) == "refused"


def framed(context, url):
    """Show an address in a frame of a page on another port; return the frame when it has loaded."""

    async def index(request):
        return web.Response(text=f'<iframe src="{url}"></iframe>', content_type="text/html")

    def build():
        app = web.Application()
        app.router.add_get("/", index)
        return app

    page = context.new_page()
    with BackgroundServer(build, name="around") as around:
        page.goto(address(around))
    return page.frames[1]


def test_program_is_shown_in_no_frame_of_another_page(context, server):
    """A page that somebody else has made could make its reader press the buttons."""
    assert framed(context, server.url).url.startswith("chrome-error:")


def test_server_of_a_notebook_is_shown_in_a_frame_of_any_page(context, start):
    """It does not know which program shows the notebook, nor where that is from."""
    frame = framed(context, address(start(chat)))
    expect(frame.get_by_role("status")).to_have_text("connected")
