"""The loop of the cells, seen from the thread of the live demo: also in a notebook."""

import asyncio
from concurrent.futures import Future

import pytest
from viewers import looking

from chatlab.lab.lab import Lab
from chatlab.lab.page_reports import THE_PAGE
from chatlab.lab.view import BUSY_NOTE
from chatlab.server.app import chat

CELL = """
from chatlab import Lab, chat
lab = await Lab(chat, process=True)
ann, bob = await lab.join("ann", "bob")
print(lab.live().page.url)
"""
FOREVER = "print('waiting'); await bob.until(lambda: False, patience=1000)"
BLOCKED = "import time; print('waiting'); time.sleep(1000)"
LEAVES = """
import threading
from chatlab.harness import background
await lab.close()
print([t.name for t in threading.enumerate() if "chatlab" in t.name], dict(background._LIVE))
"""


@pytest.mark.usefixtures("nothing_left")  # a kernel keeps a thread of its own
async def test_press_that_is_cut_short_in_the_cells_is_not_done():
    """Its presser hears an error of the usual kind, which cannot end the demo's own thread."""
    async with Lab(chat) as lab:
        live, done = lab.live(), Future()
        live.cells.begin(asyncio.Event().wait, done)
        [task] = live.cells._running
        task.cancel()
        with pytest.raises(RuntimeError, match="interrupted"):
            await asyncio.wrap_future(done)


async def test_buttons_act_while_a_cell_waits_and_after_its_interrupt(kernel):
    """A cell that awaits holds up nobody; Interrupt ends it, and the demo lives on."""
    async with looking(kernel.run(CELL)) as viewer:
        kernel.begin(FOREVER)
        assert await viewer.press("freeze", "ann") == {"done": "freeze ann"}
        await viewer.sees(lambda seen: "thaw" in seen.rows["ann"]["buttons"])
        assert viewer.picture["note"] == ""
        kernel.manager.interrupt_kernel()
        assert kernel.rest_of_the_cell() in ("KeyboardInterrupt", "CancelledError")
        assert await viewer.press("thaw", "ann") == {"done": "thaw ann"}
        assert await viewer.press("kill") == {"done": "kill"}
        assert await viewer.press("start") == {"done": "start"}
        assert kernel.run("await lab.quiet(); print(await ann.send('hello'))") == "1"
        await viewer.sees(lambda seen: seen.rows["bob"]["Offset"] == "1 of 1")
    assert kernel.run(LEAVES) == "[] {}"


async def test_panel_goes_on_while_a_cell_is_busy(kernel):
    """The page's link is cut at once; what is pressed for a tab waits, the panel says so, and it is
    done when the cell is interrupted."""
    async with looking(kernel.run(CELL)) as viewer:
        await viewer.sees(lambda seen: seen.picture["note"] == "")
        kernel.begin(BLOCKED)
        await viewer.sees(lambda seen: seen.picture["note"] == BUSY_NOTE)
        assert await viewer.press("drop", THE_PAGE) == {"done": f"drop {THE_PAGE}"}
        await viewer.sees(lambda seen: seen.rows[THE_PAGE]["In flight"] == "line cut")
        pressed = asyncio.create_task(viewer.press("drop", "ann"))
        await viewer.tell("load", state="still here")
        await viewer.sees(lambda seen: seen.rows[THE_PAGE]["State"] == "still here")
        assert not pressed.done()
        kernel.manager.interrupt_kernel()
        assert kernel.rest_of_the_cell() == "KeyboardInterrupt"
        assert await pressed == {"done": "drop ann"}
        await viewer.sees(lambda seen: seen.picture["note"] == "")
        await viewer.sees(lambda seen: seen.rows["ann"]["State"] == "offline")
    assert kernel.run(CELL + CELL).count("http") == 2
    assert kernel.run(LEAVES) == "[] {}"
