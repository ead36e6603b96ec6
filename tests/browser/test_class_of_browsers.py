"""A class in real browsers: students join with the code, and the instructor is the network."""

import re
import time
from functools import partial

import pytest
from conftest import PATIENCE, Process
from playwright.sync_api import expect
from support import missing, stored
from tabs import Tab

from chatlab.classroom.classroom import DROP, FREEZE, THAW
from chatlab.page import BROWSER_CLIENT

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 3,
    "is_mobile": True,
    "has_touch": True,
}
MARKUP = "<img src=x onerror=ran=1>"


class Class(Process):
    """The program with `--class`: where it is, how to join, and the instructor's console."""

    def start(self):
        super().start()
        self.code = self.says(r"with the code (\w+)\n")
        self.console = self.says(r"console, on this machine alone: (\S+)\n")
        return self

    def says(self, pattern):
        """Wait for a line of the program: it writes its address first, and the rest after that."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not (found := re.search(pattern, self.said.read_text())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the class does not say {pattern}: {self.said.read_text()}")
            time.sleep(0.02)
        return found[1]


class Console:
    """The instructor's console in a browser."""

    def __init__(self, page):
        self.page = page

    def press(self, button):
        self.page.get_by_role("button", name=button, exact=True).click()

    def shows(self, name, state):
        row = self.page.get_by_role("row").filter(has_text=name)
        expect(row).to_contain_text(re.compile(state))


@pytest.fixture
def school(browser, tmp_path, db):
    """A class on this machine."""
    if not BROWSER_CLIENT.exists():
        missing("the Socket.IO browser client is not installed: npm was missing at the set-up")
    school = Class(tmp_path / "said.txt", "chatlab", "--class", "--db", db).start()
    yield school
    school.stop()
    assert "Traceback" not in school.said.read_text()


@pytest.fixture
def new_browser(browser):
    """A function that makes a browser of somebody's own, in which no page may raise an error."""
    contexts, errors = [], []

    def new_browser(**options):
        contexts.append(context := browser.new_context(bypass_csp=True, **options))
        context.set_default_timeout(PATIENCE)
        context.on("weberror", lambda error: errors.append(error.error))
        return context

    yield new_browser
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def console(new_browser, school):
    """The real console, with the address that the program has said."""
    page = new_browser().new_page()
    page.goto(school.console)
    return Console(page)


def form(page):
    """The form that asks for the code and the name."""
    return page.get_by_role("dialog", name="Join the class")


def fill_in(page, *, name, code=None):
    """Fill in the form and send it; without a code, the one that stands there is kept."""
    if code is not None:
        form(page).get_by_label("Join code").fill(code)
    form(page).get_by_label("Your name").fill(name)
    form(page).get_by_role("button", name="Join").click()


def joined(context, school, name, *, scanned=False):
    """Open the page in a new tab, as it is typed or as it is scanned, and join."""
    tab = Tab(context.new_page())
    tab.page.goto(f"{school.url}/#code={school.code}" if scanned else school.url)
    fill_in(tab.page, name=name, code=None if scanned else school.code.lower())
    tab.says("connected")
    expect(form(tab.page)).to_be_hidden()
    return tab


def test_class_joins_is_dropped_and_frozen_and_catches_up(new_browser, school, console, db):
    """Two browsers and a phone, one of them refused at first; each shows all of it, in order."""
    ann, phone = (
        joined(new_browser(), school, "Ann"),
        joined(new_browser(**PHONE), school, "Carol", scanned=True),
    )
    bob = Tab(new_browser().new_page())
    bob.page.goto(school.url)
    fill_in(bob.page, name="Bob", code="222222")
    expect(form(bob.page)).to_contain_text("You are not in: this is not the join code")
    ann.send("one")
    phone.shows("Ann: one")
    expect(bob.messages).to_have_count(0)
    fill_in(bob.page, name="Bob", code=school.code)
    tabs = {"Ann": ann, "Bob": bob, "Carol": phone}
    for name in tabs:
        console.shows(name, "caught up")

    console.press(FREEZE)
    for name, tab in tabs.items():
        tab.send(f"{name} in the ice")
        tab.holds(f"{name} in the ice")
        console.shows(name, "silent for")
        tab.shows("Ann: one")
    console.press(DROP)
    for tab in tabs.values():
        tab.says("connecting …")
        tab.send("dropped")
    console.press(THAW)
    for name, tab in tabs.items():
        tab.says("connected")
        tab.holds()
        console.shows(name, "caught up")
        expect(tab.messages).to_have_count(7)
    for tab in tabs.values():
        tab.shows(*stored(db))
    assert sorted(stored(db)) == sorted(
        [
            "Ann: one",
            *(f"{who}: {what}" for who in tabs for what in (f"{who} in the ice", "dropped")),
        ]
    )


def test_page_is_reloaded_without_a_question(new_browser, school):
    """The code and the name are kept for the tab; another tab asks, and has the name ready."""
    context = new_browser()
    ann = joined(context, school, "Ann")
    ann.send("hello")
    ann.shows("Ann: hello")
    ann.press("Reload")
    ann.says("connected")
    expect(form(ann.page)).to_be_hidden()
    ann.shows("Ann: hello")
    expect(ann.page.get_by_role("banner")).to_contain_text("Ann")
    other = Tab(context.new_page())
    other.page.goto(f"{school.url}/#code={school.code}")
    expect(form(other.page).get_by_label("Your name")).to_have_value("Ann")
    expect(form(other.page).get_by_label("Your name")).to_be_focused()
    form(other.page).get_by_role("button", name="Join").click()
    other.shows("Ann: hello")


def test_two_tabs_with_the_form_open_are_one_student(new_browser, school):
    """The code is scanned twice before a name is given: the first tab keeps its name."""
    context = new_browser()
    pages = [context.new_page(), context.new_page()]
    for page in pages:
        page.goto(f"{school.url}/#code={school.code}")
        expect(form(page)).to_be_visible()
    for page, name in zip(pages, ("Ann", "Ann B"), strict=True):
        fill_in(page, name=name)
        Tab(page).says("connected")
    first = Tab(pages[0])
    first.press("Reload")
    first.says("connected")
    expect(form(first.page)).to_be_hidden()


def test_name_of_somebody_else_is_refused_and_another_one_taken(new_browser, school):
    """The form says so, and keeps the code."""
    joined(new_browser(), school, "Ann")
    page = new_browser().new_page()
    page.goto(school.url)
    fill_in(page, name="ann", code=school.code)
    expect(form(page)).to_contain_text("somebody here is called ann already")
    expect(form(page).get_by_label("Your name")).to_be_focused()
    fill_in(page, name="Ann B")
    Tab(page).says("connected")


def test_name_that_somebody_has_taken_in_vain_is_freed(new_browser, school, console):
    """The instructor presses the button in its row; the one who needs the name takes it."""
    squatter, bob = joined(new_browser(), school, "Ann"), joined(new_browser(), school, "Bob")
    console.press("Free the name Ann")
    squatter.says("not connected")
    joined(new_browser(), school, "Ann").send("it is me")
    bob.shows("Ann: it is me")
    squatter.press("Reconnect")
    expect(form(squatter.page)).to_contain_text("somebody here is called Ann already")


def test_markup_in_a_name_or_a_text_is_shown_as_text(new_browser, school, console):
    """On the pages and in the console; nothing of it runs."""
    ann = joined(new_browser(), school, MARKUP)
    bob = joined(new_browser(), school, "Bob")
    ann.send(MARKUP)
    for tab in (ann, bob):
        tab.shows(f"{MARKUP}: {MARKUP}")
        tab.press("Reload")
        tab.shows(f"{MARKUP}: {MARKUP}")
    console.shows(MARKUP, "caught up")
    for page in (ann.page, bob.page, console.page):
        assert page.evaluate("window.ran") is None
        assert page.locator("img[src=x]").count() == 0


def test_same_markup_as_html_would_run(new_browser, school):
    """The control: where somebody forgets to escape it, it does."""
    ann = joined(new_browser(), school, "Ann")
    ann.page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", MARKUP)
    ann.page.wait_for_function("window.ran")


@pytest.mark.slow
def test_class_that_begins_anew_asks_again_and_loses_nothing(new_browser, school, db):
    """The code is another one then; what was written meanwhile waits in the outbox."""
    ann = joined(new_browser(), school, "Ann", scanned=True)
    ann.send("before")
    ann.shows("Ann: before")
    school.kill()
    ann.says("connecting …")
    ann.send("meanwhile")
    school.start()
    expect(form(ann.page)).to_contain_text("You are not in: this is not the join code")
    ann.holds("meanwhile")
    fill_in(ann.page, name="Ann", code=school.code)
    ann.shows("Ann: before", "Ann: meanwhile")
    ann.holds()
    ann.press("Reload")
    ann.shows("Ann: before", "Ann: meanwhile")
    ann.says("connected")
    assert stored(db) == ["Ann: before", "Ann: meanwhile"]


def test_code_that_is_scanned_into_an_open_tab_is_asked_about(new_browser, school):
    """A browser does not load a page anew for that."""
    page = new_browser().new_page()
    page.goto(f"{school.url}/#code=222222")
    fill_in(page, name="Ann")
    expect(form(page)).to_contain_text("not the join code")
    page.evaluate("code => { location.hash = `code=${code}`; }", school.code)
    expect(form(page).get_by_label("Join code")).to_have_value(school.code)
    form(page).get_by_role("button", name="Join").click()
    Tab(page).says("connected")


def test_student_who_writes_too_quickly_is_told_and_loses_nothing(new_browser, school, db):
    """What is over the limit waits in the outbox, and says why."""
    ann = joined(new_browser(), school, "Ann")
    texts = [str(number) for number in range(14)]
    ann.press("Drop the line")
    for text in texts:
        ann.send(text)
    ann.press("Reconnect")
    expect(
        ann.page.get_by_text("you write faster than the class can read; it will")
    ).to_be_visible()
    ann.holds()
    ann.shows(*(f"Ann: {text}" for text in texts))
    assert stored(db) == [f"Ann: {text}" for text in texts]


def stays_as_it_is(page, first, second):
    """Pile up as many marks as the class allows in one item; return whether the one above it looks
    as before: as the page is, and where its style does not clip (the control)."""
    inside = {side: int(size) for side, size in first.bounding_box().items()}  # whole pixels
    seen = partial(page.screenshot, clip=inside | {"height": inside["height"] - 2})
    clean = seen()
    second.evaluate("item => item.append('a' + '\\u0301'.repeat(8))")
    clipped = seen()
    second.evaluate("item => { item.style.overflow = 'visible'; }")
    return clipped == clean, seen() == clean


def test_marks_reach_no_other_message(new_browser, school, console):
    """Neither those of a text, on a page, nor those of a name, in the console."""
    ann = joined(new_browser(), school, "Ann")
    joined(new_browser(), school, "Bob")
    ann.send("one")
    ann.send("two")
    ann.shows("Ann: one", "Ann: two")
    items = ann.page.locator("#messages li")
    assert stays_as_it_is(ann.page, items.nth(0), items.nth(1)) == (True, False)
    for name in ("Ann", "Bob"):
        console.shows(name, "caught up2")
    names = console.page.get_by_role("rowheader")
    assert stays_as_it_is(console.page, names.nth(0), names.nth(1)) == (True, False)


def test_phone_needs_no_scrolling_to_the_side(new_browser, school):
    """The form and the page fit, also with a long name and a long word."""
    page = new_browser(**PHONE).new_page()
    page.goto(f"{school.url}/#code={school.code}")
    expect(form(page)).to_be_visible()
    fits = "document.documentElement.scrollWidth <= innerWidth && innerWidth === 390"
    assert page.evaluate(fits)
    fill_in(page, name="W" * 30)
    tab = Tab(page)
    tab.says("connected")
    tab.send("long" * 100)
    tab.holds()
    expect(tab.messages).to_have_count(1)
    assert page.evaluate(fits)


def test_form_can_be_closed_and_comes_back(new_browser, school):
    """With the keyboard alone: closed, asked for again, filled in."""
    page = new_browser().new_page()
    page.goto(school.url)
    expect(form(page).get_by_label("Join code")).to_be_focused()
    page.keyboard.press("Escape")
    expect(form(page)).to_be_hidden()
    Tab(page).says("not connected")
    page.get_by_role("button", name="Reconnect").press("Enter")
    expect(form(page).get_by_label("Join code")).to_be_focused()
    page.keyboard.type(school.code)
    page.keyboard.press("Tab")
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    Tab(page).says("connected")


def test_server_without_a_class_asks_for_nothing(open_tab):
    """The page is the same, and a colon in a message is a colon."""
    tab = open_tab()
    tab.send("note: hello")
    tab.shows("note: hello")
    expect(form(tab.page)).to_be_hidden()
    expect(tab.page.locator("#messages bdi")).to_have_count(0)
