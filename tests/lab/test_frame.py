"""A page in a frame of the notebook finds its server."""

import pytest

from chatlab.lab.frame import Page


@pytest.mark.parametrize(
    ("hub", "url"),
    [(None, "http://localhost:8123/"), ("/user/ann/", "/user/ann/proxy/8123/")],
    ids=["here", "behind a hub"],
)
def test_page_is_a_frame_that_finds_the_server(monkeypatch, hub, url):
    """On this machine by its port; behind JupyterHub or Binder through the proxy of the hub."""
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    if hub:
        monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", hub)
    page = Page(8123, height=200)
    html = page._repr_html_()
    assert f'<iframe src="{url}"' in html
    assert 'height="200"' in html
    assert 'title="' in html
    assert url in repr(page)
