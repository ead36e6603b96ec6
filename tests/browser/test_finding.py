"""A notebook's frame or link finds a port of the kernel's machine, wherever the browser is."""

import json

import pytest
from playwright.sync_api import expect

from chatlab.panel import finding

NEAR, FAR = "http://localhost:9/user/ann/lab", "http://elsewhere.example:9/user/ann/lab"
BASE = json.dumps({"baseUrl": "/user/ann/"})
CONFIG = f'<script id="jupyter-config-data" type="application/json">{BASE}</script>'
DIRECT, PROXIED = "http://localhost:8123/key/", "/user/ann/proxy/8123/key/"
OUTPUT = f'<a data-at="{DIRECT}">the console</a>{finding("href", DIRECT)}'
ELSEWHERE = """(output) => {
  document.body.innerHTML = output;
  const script = document.createElement("script");
  script.text = document.querySelector("script").text;
  document.body.append(script);
  script.remove();
}"""
"""Shows an output and runs its script at the end of the page, as VS Code does."""


def answer(status, **headers):
    return lambda route: route.fulfill(status=status, headers=headers)


def refused(route):
    route.abort("connectionrefused")


@pytest.mark.parametrize(
    ("jupyter", "config", "port", "proxy", "found"),
    [
        pytest.param(NEAR, CONFIG, answer(200), answer(200), DIRECT, id="this machine"),
        pytest.param(NEAR, CONFIG, refused, answer(200), PROXIED, id="ssh -L"),
        pytest.param(NEAR, CONFIG, refused, answer(404), DIRECT, id="no proxy"),
        pytest.param(NEAR, CONFIG, refused, refused, DIRECT, id="Jupyter is gone"),
        pytest.param(FAR, CONFIG, answer(200), answer(200), PROXIED, id="hub"),
        pytest.param(FAR, CONFIG, refused, answer(302, Location=FAR), DIRECT, id="not logged in"),
        pytest.param(FAR, "", refused, answer(200), DIRECT, id="no page of Jupyter"),
    ],
)
def test_browser_finds_the_port(context, jupyter, config, port, proxy, found):
    """By itself if the kernel is on its machine, otherwise through the proxy of its Jupyter."""
    page = context.new_page()
    page.route(jupyter, lambda route: route.fulfill(body=config + OUTPUT, content_type="text/html"))
    page.route(DIRECT, port)
    page.route(f"**{PROXIED}", proxy)
    page.goto(jupyter)
    expect(page.get_by_text("the console")).to_have_attribute("href", found)


def test_script_that_runs_elsewhere_finds_its_element(context):
    """Only once: what is found is not loaded again."""
    page = context.new_page()
    page.evaluate(ELSEWHERE, OUTPUT)
    link = page.get_by_text("the console")
    expect(link).to_have_attribute("href", DIRECT)
    expect(link).not_to_have_attribute("data-at", DIRECT)
