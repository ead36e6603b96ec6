"""JupyterLab in a real browser: every chapter as a new user runs it, trusted or not trusted yet."""

import re
from functools import partial
from itertools import count

import nbformat
import pytest
from conftest import PATIENCE, ROOT
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Error, expect
from tabs import Tab

CHAPTERS = {path.name: path.read_text() for path in sorted(ROOT.glob("notebooks/*.ipynb"))}
FRAMED = {
    "00_start_here.ipynb": None,
    "03_catch_up.ipynb": "is anybody on the page?",
    "09_build_your_own.ipynb": "a server of my own",
}
"""The chapters with the chat page in a frame, and what it shows of the simulated tabs there."""
TRUSTED = pytest.mark.parametrize("jupyterlab", ["trusted"], indirect=True)
HUB = pytest.mark.parametrize("jupyterlab", ["hub"], indirect=True)
ELSEWHERE = pytest.mark.parametrize("jupyterlab", ["elsewhere"], indirect=True)
"""Other ways to start JupyterLab. Each is started once, for all tests that ask for it, because it
is named apart from the chapters: with a chapter in the same mark, each test would start its own."""
FIRST_CHAPTER = "00_start_here.ipynb"
WITHOUT_A_STOP = [
    pytest.param(name, marks=() if name == FIRST_CHAPTER else pytest.mark.slow)
    for name in CHAPTERS
    if name == FIRST_CHAPTER or name not in FRAMED
]
"""Of the chapters that are not trusted, `make test` runs the first one, with pictures that
JupyterLab cleans then. All others are slow tests. A chapter with a frame is run once, with a stop
before its last cell; only the first one, which is short, is run in both ways."""
WHEN_TRUSTED = [FIRST_CHAPTER, "08_a_bad_day.ipynb"]
"""Trust changes only what is shown before the first run: two chapters are enough for that, the
first one, and the one with the live demo and most work."""
A_CHAPTER = 3 * PATIENCE
"""Milliseconds for all cells of a chapter."""

OPEN = """async (path) => {
  await jupyterapp.restored;
  await jupyterapp.commands.execute("docmanager:open", { path });
  const { context, sessionContext } = jupyterapp.shell.currentWidget;
  await context.ready;
  await sessionContext.ready;
  await sessionContext.session.kernel.info;
}"""
CLOSE = """async () => {
  for (const widget of [...jupyterapp.shell.widgets("main")]) widget.dispose();
  await jupyterapp.serviceManager.sessions.shutdownAll();
}"""
CELLS = """() => [...jupyterapp.shell.currentWidget.content.model.cells].map(
  (cell) => ({ ...cell.toJSON(), trusted: cell.trusted })
)"""
SHOW = """async (place) => {
  const notebook = jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = place;
  await notebook.scrollToItem(place);
}"""
DONE = f"""(places) => {{
  const cells = ({CELLS})();
  const isError = (output) => output.output_type === "error";
  const failed = (cell) => cell.execution_count && cell.outputs?.some(isError);
  return cells.some(failed) || places.every((place) => cells[place].execution_count);
}}"""
WIDTH = "(image) => image.decode().then(() => image.naturalWidth, () => 0)"


class Workbench:
    """JupyterLab in a tab of the browser, and all that its console complains of.

    Notebooks are opened one after the other, as somebody does who follows the course.
    """

    def __init__(self, context, url):
        self.url, self.complaints, self.unanswered = url, [], []
        context.set_default_timeout(PATIENCE)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(error.error.message))
        self.page = context.new_page()
        self.page.goto(f"{url}lab")
        self.page.wait_for_function("() => window.jupyterapp")

    def _hear(self, message):
        """Keep an error, and apart from the others those of a server that does not answer its page.

        Run All closes the lab at the end, and the page in its frame goes on trying to reconnect.
        If the frame looks for its page only then, it also asks Jupyter's proxy, which answers 500.
        Chromium tells each attempt, and no script of a page can keep it quiet.
        """
        asked = message.location["url"]
        gone = "net::ERR_" in message.text and not asked.startswith(self.url)
        gone |= "status of 500" in message.text and asked.startswith(f"{self.url}proxy/")
        if message.type == "error":
            (self.unanswered if gone else self.complaints).append(message.text)

    def open(self, name):
        """Open a notebook, and return when its kernel is ready."""
        self.complaints.clear()
        self.unanswered.clear()
        self.page.evaluate(OPEN, f"notebooks/{name}")
        return Notebook(self.page)

    def close(self):
        """Close what is open, without saving it, and shut every kernel down."""
        self.page.evaluate(CLOSE)


class Notebook:
    """A notebook that is open in JupyterLab, seen through its cells.

    Cells are asked for from the model: those far away on the screen are not in the page.
    """

    def __init__(self, page):
        self.page = page

    @property
    def cells(self):
        """All cells, from top to bottom."""
        return self.page.evaluate(CELLS)

    @property
    def code(self):
        """The code cells and their places in the notebook."""
        cells = enumerate(self.cells)
        return {place: cell for place, cell in cells if cell["cell_type"] == "code"}

    def places(self, words):
        """The places of the cells that have some words in them."""
        return [place for place, cell in enumerate(self.cells) if words in cell["source"]]

    def show(self, place):
        """Scroll to a cell, make it the active one, and return it as it is in the page."""
        self.page.evaluate(SHOW, place)
        return self.page.locator(f'.jp-Cell[data-windowed-list-index="{place}"]')

    def run_all(self):
        self._clear()
        self._run("runmenu:run-all", list(self.code))

    def run_all_but_the_last(self):
        """Run all cells above the last one, which closes the lab."""
        *others, last = self.code
        self._clear()
        self.show(last)
        self._run("notebook:run-all-above", others)

    def run_the_last(self):
        *_, last = self.code
        self.show(last)
        self._run("notebook:run-cell", [last])

    def _clear(self):
        """Remove all outputs and numbers, those of an earlier run too."""
        self.page.evaluate("() => jupyterapp.commands.execute('editmenu:clear-all')")

    def _run(self, command, places):
        """Start a command that runs cells; return when all of them are done, or one has failed."""
        self.page.evaluate("(name) => { jupyterapp.commands.execute(name); }", command)
        self.page.wait_for_function(DONE, arg=places, timeout=A_CHAPTER)

    def frame(self):
        """The chat page in its frame, on the screen."""
        [place] = [place for place, cell in self.code.items() if "<iframe" in html_of(cell)]
        return Tab(self.show(place).frame_locator("iframe"))

    def pictures(self):
        """The words of each picture, and its width in pixels; one that is not shown has none."""
        with_some = [place for place, cell in self.code.items() if "<img" in html_of(cell)]
        return [picture for place in with_some for picture in self._pictures_of(place)]

    def _pictures_of(self, place):
        images = self.show(place).locator(".jp-OutputArea-output img")
        expect(images.first).to_be_visible()
        return [
            (image.get_attribute("alt"), image.evaluate(WIDTH) * image.is_visible())
            for image in images.all()
        ]


def html_of(cell):
    """All that a cell shows as HTML."""
    shown = [output.get("data", {}).get("text/html", "") for output in cell["outputs"]]
    return "".join(map("".join, shown))


def written(jupyterlab, name, cells):
    """Write a notebook with these cells beside the chapters."""
    metadata = nbformat.reads(next(iter(CHAPTERS.values())), as_version=4).metadata
    notebook = new_notebook(cells=list(map(new_code_cell, cells)), metadata=metadata)
    nbformat.write(notebook, jupyterlab.course / "notebooks" / name)


def faults(notebook, workbench):
    """A sentence for everything that a reader of a chapter that was run would stumble over."""
    numbers = count(1)
    for place, cell in notebook.code.items():
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                yield f"cell {place} fails: {output['evalue']}"
        if cell["execution_count"] != next(numbers):
            yield f"cell {place} was not run in its turn"
    for words, width in notebook.pictures():
        if not width:
            yield f"a picture is not shown: {words}"
    for complaint in workbench.complaints:
        yield f"the console says: {complaint}"


@pytest.fixture(scope="module")
def tab_of_jupyterlab(browser, jupyterlab):
    """JupyterLab in a fresh browser profile."""
    with browser.new_context() as context:
        yield Workbench(context, jupyterlab.known)


@pytest.fixture
def workbench(tab_of_jupyterlab):
    """JupyterLab with no notebook open, and no kernel."""
    yield tab_of_jupyterlab
    tab_of_jupyterlab.close()


@pytest.mark.parametrize("name", WITHOUT_A_STOP)
def test_chapter_runs_from_top_to_bottom(workbench, name):
    """Its pictures are there at once; Run All does every cell, and shows the same pictures."""
    assert_runs(workbench, name, trusted=False)


def assert_runs(workbench, name, trusted, run=Notebook.run_all):
    notebook = workbench.open(name)
    stored = [cell["trusted"] for cell in notebook.code.values() if cell["outputs"]]
    assert set(stored) == {trusted}
    pictures = notebook.pictures()
    assert len(pictures) == CHAPTERS[name].count("<img ")
    assert all(width for _, width in pictures)
    run(notebook)
    assert list(faults(notebook, workbench)) == []
    assert notebook.pictures() == pictures


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMED)
def test_chat_page_is_live_in_its_frame(workbench, name):
    """The same, with a stop before the cell that closes the lab: the page takes and shows messages.

    All pictures are there too, and the last cell runs.
    """
    assert_runs(workbench, name, trusted=False, run=partial(stop_at_the_frame, workbench, name))


def stop_at_the_frame(workbench, name, notebook):
    """Run all cells, and use the page in its frame before the last one closes the lab."""
    notebook.run_all_but_the_last()
    tab = notebook.frame()
    tab.says("connected")
    if FRAMED[name]:
        expect(tab.messages.last).to_have_text(FRAMED[name])
    tab.send("I am here")
    expect(tab.messages.last).to_have_text("I am here")
    tab.holds()
    assert workbench.complaints + workbench.unanswered == []
    notebook.run_the_last()


def test_every_frame_is_tried():
    """No chapter shows the page and is left out above."""
    assert set(FRAMED) == {name for name, text in CHAPTERS.items() if "lab.page()" in text}


def test_fault_of_a_chapter_is_found(workbench, jupyterlab):
    """The control: a broken picture, errors on the console and in a cell, a wrong number."""
    broken = '<img alt="a broken one" src="data:image/svg+xml;base64,AAAA">'
    planted = [
        "from IPython.display import HTML, Javascript",
        f"HTML('{broken}')",
        "HTML('<script>console.error(\"planted\"); window.told = true;</script>')",
        "Javascript('setTimeout(() => { window.threw = true; throw new Error(\"uncaught\"); })')",
        "get_ipython().execution_count += 1",  # numbers are wrong from here on
        "raise ValueError('planted too')",
    ]
    written(jupyterlab, "planted.ipynb", planted)
    notebook = workbench.open("planted.ipynb")
    notebook.run_all()
    notebook.page.wait_for_function("() => window.told && window.threw")  # they run when shown
    assert sorted(faults(notebook, workbench)) == [
        "a picture is not shown: a broken one",
        "cell 4 was not run in its turn",
        "cell 5 fails: planted too",
        "cell 5 was not run in its turn",
        "the console says: planted",
        "the console says: uncaught",
    ]


def test_link_of_a_chapter_opens_the_source_beside_it(workbench):
    """From a chapter, a click opens a file of the package: JupyterLab's root has both folders."""
    notebook = workbench.open("04_the_race.ipynb")
    [place] = notebook.places("](../chatlab/server/delivery.py)")
    notebook.show(place).get_by_role("link", name="delivery.py").click()
    workbench.page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.context?.path === 'chatlab/server/delivery.py'"
    )
    editor = workbench.page.locator(".jp-FileEditor .cm-content:visible")
    expect(editor).to_contain_text("Delivery: every connection gets the log")  # its first line
    assert workbench.complaints == []


def test_page_works_behind_the_proxy_of_jupyter(context, jupyterlab, server):
    """Under /proxy/PORT/ the page finds its files, its websocket, and its way back after a drop.

    What a page of another server behind the same proxy has not sent yet is left to that page.
    """
    page = context.new_page()
    with page.expect_websocket(lambda websocket: "/proxy/" in websocket.url):
        page.goto(f"{jupyterlab.url}/proxy/{server.port}/")
    tab = Tab(page)
    tab.says("connected")
    tab.send("through the proxy")
    tab.shows("through the proxy")
    tab.press("Drop the line")
    tab.says("line dropped")
    tab.press("Reconnect")
    tab.says("connected")
    tab.send("again")
    tab.shows("through the proxy", "again")
    other = "chatlab.letter./.1.0123456789abcdef0123456789abcdef"
    page.evaluate("key => localStorage.setItem(key, JSON.stringify({ text: 'not here' }))", other)
    tab.press("Reload")
    tab.says("connected")
    tab.send("mine")
    tab.shows("through the proxy", "again", "mine")
    assert page.evaluate("key => localStorage.getItem(key)", other)


@TRUSTED
@pytest.mark.parametrize("name", WHEN_TRUSTED)
def test_trusted_chapter_runs_from_top_to_bottom(workbench, name):
    """The same, with outputs that JupyterLab takes as they are."""
    assert_runs(workbench, name, trusted=True)


@pytest.mark.slow
@TRUSTED
def test_chat_page_is_live_in_the_frame_of_a_trusted_chapter(workbench):
    """The same, with the frame of an earlier run already there."""
    stop_at_the_frame(workbench, FIRST_CHAPTER, workbench.open(FIRST_CHAPTER))


@pytest.mark.slow
@HUB
def test_chat_page_is_live_on_a_hub(workbench):
    """Where only the address of the hub can be reached, as on Binder, the frame goes through it."""
    notebook = workbench.open("03_catch_up.ipynb")
    notebook.run_all_but_the_last()
    tab = notebook.frame()
    tab.says("connected")
    assert "/user/ann/proxy/" in tab.page.locator("html").evaluate("() => location.pathname")
    tab.send("I am here")
    expect(tab.messages.last).to_have_text("I am here")
    assert workbench.complaints + workbench.unanswered == []


SHOWS_ALL = [
    "from chatlab import Classroom, Lab\nfrom chatlab.server import chat\nlab = await Lab(chat)",
    "lab.page()",
    "lab.live()",
    "room = await Classroom()\nroom",
    "await room.close()\nawait lab.close()",
]
"""A notebook with everything that is served beside JupyterLab."""


@pytest.mark.slow
@ELSEWHERE
def test_pages_are_live_where_the_browser_reaches_jupyter_alone(browser, jupyterlab):
    """From another machine, by another name: the frames and the link go through the proxy.

    The control: this browser does not find what the kernel serves by its port.
    """
    written(jupyterlab, "all.ipynb", SHOWS_ALL)
    with browser.new_context() as context:
        context.route(re.compile("^http://localhost"), lambda route: route.abort())
        workbench = Workbench(context, jupyterlab.known)
        notebook = workbench.open("all.ipynb")
        notebook.run_all_but_the_last()
        tab = Tab(notebook.show(1).frame_locator("iframe"))
        tab.says("connected")
        tab.send("from far away")
        expect(tab.messages.last).to_have_text("from far away")
        live = notebook.show(2).frame_locator("iframe")
        expect(live.get_by_role("status")).to_have_text("live")
        Tab(live.frame_locator("iframe")).shows("from far away")
        link = notebook.show(3).get_by_role("link", name="The console")
        expect(link).to_have_attribute("href", re.compile("^/proxy/"))
        with context.expect_page() as opened:
            link.click()
        expect(opened.value.get_by_role("status")).to_have_text("live")
        assert workbench.complaints + workbench.unanswered == []
        by_its_port = re.search(r"http://localhost:\d+/", str(notebook.cells))[0]
        with pytest.raises(Error, match="Failed to fetch"):
            workbench.page.evaluate("fetch", by_its_port)
        notebook.run_the_last()
        workbench.close()
