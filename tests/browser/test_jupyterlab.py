"""JupyterLab in a real browser, on the notebooks as a fresh clone has them: not trusted yet."""

from playwright.sync_api import expect
from tabs import Tab

READY = """async () => {
  await jupyterapp.restored;
  const { context, sessionContext } = jupyterapp.shell.currentWidget;
  await context.ready;
  await sessionContext.ready;
  await sessionContext.session.kernel.info;
}"""
CELLS = "() => [...jupyterapp.shell.currentWidget.content.model.cells].map((c) => c.toJSON())"


class Notebook:
    """A notebook that is open in JupyterLab, seen through its cells.

    Cells are asked for from the model: those far away on the screen are not in the page.
    """

    def __init__(self, page, url):
        self.page = page
        page.goto(url)
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext")
        page.evaluate(READY)

    @property
    def cells(self):
        return self.page.evaluate(CELLS)

    def places(self, source):
        """The numbers of the cells with this source."""
        return [place for place, cell in enumerate(self.cells) if cell["source"] == source]

    def show(self, place):
        """Scroll to a cell, make it the active one, and return it as it is in the page."""
        self.page.evaluate(
            """async (place) => {
              const notebook = jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = place;
              await notebook.scrollToItem(place);
            }""",
            place,
        )
        return self.page.locator(f'.jp-Cell[data-windowed-list-index="{place}"]')

    def command(self, name):
        """Start a command of JupyterLab's menus, and do not wait for it."""
        self.page.evaluate("(name) => { jupyterapp.commands.execute(name); }", name)

    def run_all(self):
        """Run all cells and return them, when each has an execution count again."""
        self.command("editmenu:clear-all")
        self.command("runmenu:run-all")
        self.page.wait_for_function(
            f"() => ({CELLS})().every((c) => c.cell_type !== 'code' || c.execution_count)"
        )
        return self.cells

    def widths_of_diagrams(self):
        """The widths of all diagrams, in pixels; a picture that is not shown has none."""
        images = [
            self.show(place).get_by_role("img", name="Space-time diagram")
            for place in self.places("lab.diagram()")
        ]
        return [
            image.evaluate("(image) => image.decode().then(() => image.naturalWidth)")
            for image in images
        ]


def test_chapter_runs_from_a_fresh_clone(context, jupyterlab):
    """Chapter 03 shows its stored diagrams at once, its live page works, and Run All runs it."""
    url = f"{jupyterlab.url}/lab/tree/notebooks/03_catch_up.ipynb"
    notebook = Notebook(context.new_page(), url)
    stored = notebook.widths_of_diagrams()
    assert len(stored) == 2 and all(stored)

    [place] = notebook.places("lab.page()")
    notebook.show(place + 2)  # behind the cell in which Ann writes to the page
    notebook.command("notebook:run-all-above")
    tab = Tab(notebook.show(place).frame_locator("iframe"))
    tab.says("connected")
    expect(tab.messages.last).to_have_text("is anybody on the page?")
    tab.send("I am here")
    expect(tab.messages).to_have_count(6)

    cells = notebook.run_all()
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert notebook.widths_of_diagrams() == stored


def test_link_of_a_chapter_opens_the_source_beside_it(context, jupyterlab):
    """From a chapter, a click opens a file of the package: JupyterLab's root has both folders."""
    page = context.new_page()
    notebook = Notebook(page, f"{jupyterlab.url}/lab/tree/notebooks/04_the_race.ipynb")
    [place] = [
        place
        for place, cell in enumerate(notebook.cells)
        if "](../chatlab/delivery.py)" in cell["source"]
    ]
    notebook.show(place).get_by_role("link", name="delivery.py").click()
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.context?.path === 'chatlab/delivery.py'"
    )
    expect(page.locator(".jp-FileEditor .cm-content:visible")).to_contain_text("class Delivery")


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
