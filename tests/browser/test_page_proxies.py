"""The chat behind nginx, with the lines that docs/PROXIES.md has, in a real browser."""

import contextlib
import re
from pathlib import Path
from types import SimpleNamespace

import nginx
import pytest
from conftest import PATIENCE, Process
from nginx import free_port
from playwright.sync_api import expect
from tabs import Tab, rewrite
from test_class_of_browsers import Class, joined

HTTP, HTTPS = nginx.blocks(Path(__file__).parents[2] / "docs" / "PROXIES.md")
NOT_FORWARDED = r"\n +proxy_(http_version|set_header) [^;]*;"
"""The lines that let WebSockets through."""
REFUSED = re.compile(r"^Refused a page at (\S+), .* start it with --origin (\S+)$", re.MULTILINE)


@pytest.fixture
def proxied(tmp_path):
    """A function that starts nginx on a port, with a block of the document before a server."""
    with contextlib.ExitStack() as stack:

        def proxied(block, port, at):
            folder = tmp_path / f"nginx-{at}"
            stack.enter_context(nginx.proxied(folder, block, {"3000": port}, at))

        yield proxied


@pytest.fixture
def serve(tmp_path):
    """A function that starts the finished server as a program, with options."""
    with contextlib.ExitStack() as stack:

        def serve(*options, port=0):
            said = tmp_path / "said.txt"
            kind = Class if "--class" in options else Process
            process = kind(said, "chatlab", "--db", tmp_path / "chat.db", *options)
            process.port = port
            stack.callback(process.start().stop)
            return process

        yield serve


@pytest.fixture
def context(browser):
    """A browser with the page's own policy, that takes a certificate which we have made."""
    errors = []
    with browser.new_context(ignore_https_errors=True) as context:
        context.set_default_timeout(PATIENCE)
        context.on("weberror", lambda error: errors.append(error.error))
        yield context
    assert errors == []


@pytest.mark.parametrize(
    ("block", "only"),
    [(HTTP, ""), (HTTP, '"websocket"'), (HTTP, '"polling"'), (HTTPS, "")],
    ids=["http", "websocket", "polling", "https"],
)
def test_refused_page_and_its_server_say_which_address_to_allow(
    context, proxied, serve, block, only
):
    """nginx asks by another address than the page has: both say so, the terminal once."""
    server, at = serve(), free_port()
    proxied(block, server.port, at)
    if only:
        rewrite(context, "page.js", "autoConnect: ", f"transports: [{only}], autoConnect: ")
    origin = f"{'https' if 'ssl' in block else 'http'}://localhost:{at}"
    tab = Tab(context.new_page())
    tab.page.goto(f"{origin}/chat/" if "/chat/" in block else origin)
    expect(tab.problem).to_contain_text(f"does not know its address, {origin}.")
    tab.press("Reload")
    expect(tab.problem).to_contain_text(f"--origin {origin}.")
    assert REFUSED.findall(server.said.read_text()) == [(origin, origin)]
    assert server.said.read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("block", "transport"),
    [(HTTP, "websocket"), (HTTPS, "websocket"), (re.sub(NOT_FORWARDED, "", HTTP), "polling")],
    ids=["http", "https", "polling"],
)
def test_allowed_page_works(context, proxied, serve, block, transport):
    """With the address named, all works, WebSockets where nginx lets them through."""
    at = free_port()
    origin = f"{'https' if 'ssl' in block else 'http'}://localhost:{at}"
    server = serve("--origin", "http://other.example", "--origin", origin)
    proxied(block, server.port, at)
    frames = []
    ann, bob = Tab(context.new_page()), Tab(context.new_page())
    for tab in (ann, bob):
        tab.page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)),
        )
        tab.page.goto(f"{origin}/chat" if "/chat/" in block else origin)
        tab.says("connected")
    ann.send("hello")
    for tab in (bob, ann):
        tab.shows("hello")
    ann.press("Reload")
    ann.shows("hello")
    while transport == "websocket" and not frames:
        ann.page.wait_for_timeout(20)
    assert bool(frames) == (transport == "websocket")
    assert server.said.read_text() == f"The chat is on {server.url} (Ctrl-C stops it)\n"


def test_class_works_behind_a_proxy(context, proxied, serve):
    """Students open the address of the invitation, which is that of the proxy, its folder too."""
    at, port = free_port(), free_port()
    address = f"https://localhost:{at}/chat/"
    school = serve("--class", "--origin", address, port=port)
    proxied(HTTPS, port, at)
    invited = SimpleNamespace(url=school.says(r"Join at (\S+) with"), code=school.code)
    assert invited.url == address.rstrip("/")
    ann, bob = (joined(context, invited, name, scanned=True) for name in ("Ann", "Bob"))
    ann.send("hello")
    for tab in (bob, ann):
        tab.shows("Ann: hello")
    assert "Refused" not in school.said.read_text()
