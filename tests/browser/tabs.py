"""The chat page as its reader finds it."""

from playwright.sync_api import expect
from support import rewritten


def rewrite(page, script, old, new):
    """Give a page, or all pages of a context, one of its scripts with a piece replaced."""
    body = rewritten(script, old, new)
    page.route(
        f"**/page/{script}", lambda route: route.fulfill(body=body, content_type="text/javascript")
    )


class Tab:
    """The chat page in a tab or in a frame, found by roles and labels, as a screen reader does."""

    def __init__(self, page):
        self.page = page
        self.state, self.problem = page.get_by_role("status"), page.get_by_role("alert")
        self.text = page.get_by_label("Message", exact=True)
        self.messages = page.get_by_role("list", name="Messages").get_by_role("listitem")
        self.letters = page.get_by_role("list", name="Not sent yet").get_by_role("listitem")

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
        expect(self.letters).to_contain_text(texts)
        expect(self.letters).to_have_count(len(texts))

    def says(self, state):
        expect(self.state).to_have_text(state)
