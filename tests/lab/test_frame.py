"""A page in a frame of the notebook finds its server: tests/browser/test_finding.py tells how."""

from chatlab.lab.frame import Page


def test_page_is_a_frame_that_finds_the_server():
    """The address is the script's to find, and what a text shows is right on this machine."""
    page = Page(8123, height=200, path="key/")
    html = page._repr_html_()
    assert html.startswith('<iframe data-at="http://localhost:8123/key/" ')
    assert html.endswith('("src", "http://localhost:8123/key/");</script>')
    assert 'height="200"' in html
    assert 'title="The chat page"' in html
    assert repr(page) == "The chat page: http://localhost:8123/key/"
