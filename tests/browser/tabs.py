"""The chat page as its reader finds it."""

import contextlib
import json
import sqlite3

from playwright.sync_api import expect
from support import rewritten

from chatlab.log.sqlite import SCHEMA

SMALL_CHUNKS = ("saved.js", "IN_A_CHUNK = 10_000", "IN_A_CHUNK = 1")
"""What lets the page save each message in a chunk of its own, for `rewrite`."""


def rewrite(page, script, old, new):
    """Give a page, or all pages of a context, one of its scripts with a piece replaced."""
    body = rewritten(script, old, new)
    page.route(
        f"**/page/{script}", lambda route: route.fulfill(body=body, content_type="text/javascript")
    )


def address(server):
    """Return the address of a background server, by the name that the browser may look up."""
    return f"http://localhost:{server.port}/"


def asked_from(page, action):
    """Do something that makes a page connect; return what its CONNECT says."""

    def connects(request):
        return request.method == "POST" and (request.post_data or "").startswith("40")

    with page.expect_request(connects) as connect:
        action()
    return json.loads(connect.value.post_data.removeprefix("40"))


def remove_saved(tab, name):
    """Take a chunk out of the list that a tab has saved, once it is there."""
    key = f"chatlab.message./.{name}"
    tab.page.wait_for_function("key => key in sessionStorage", arg=key)
    tab.page.evaluate("key => sessionStorage.removeItem(key)", key)


def replace_database(db, *texts, gone=0):
    """Put other messages in the place of a stopped server's database; the first ones are gone."""
    for file in db.parent.glob(f"{db.name}*"):
        file.unlink()
    with contextlib.closing(sqlite3.connect(db)) as other, other:
        other.execute(SCHEMA)
        other.executemany("INSERT INTO messages (content) VALUES (?)", [(text,) for text in texts])
        other.execute("DELETE FROM messages WHERE id <= ?", (gone,))


class Tab:
    """The chat page in a tab or in a frame, found by roles and labels, as a screen reader does."""

    def __init__(self, page):
        self.page = page
        self.state, self.problem = page.get_by_role("status"), page.get_by_role("alert")
        self.text = page.get_by_label("Message", exact=True)
        self.messages = page.get_by_role("list", name="Messages").get_by_role("listitem")
        self.pending = page.get_by_role("list", name="Not sent yet").get_by_role("listitem")

    def press(self, button):
        self.page.get_by_role("button", name=button, exact=True).click()

    def send(self, text):
        self.text.fill(text)
        self.text.press("Enter")

    def shows(self, *texts):
        """Wait until the page shows exactly these messages, in this order."""
        expect(self.messages).to_have_text(texts)

    def holds(self, *texts):
        """Wait until these texts, and no others, are in the outbox."""
        expect(self.pending).to_contain_text(texts)
        expect(self.pending).to_have_count(len(texts))

    def says(self, state):
        expect(self.state).to_have_text(state)
