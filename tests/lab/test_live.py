"""The live demo of a lab: it shows what is there, and its buttons do what they say."""

import asyncio
import contextlib
import os
import threading
from concurrent.futures import Future

import aiohttp
import pytest
from support import tutorial

import chatlab.client.tab
from chatlab.client.tab import ChatClient
from chatlab.lab.lab import Lab
from chatlab.lab.page_reports import CLOSED, THE_PAGE
from chatlab.lab.view import BUSY_NOTE
from chatlab.server.app import chat

PATIENCE = 20


@pytest.fixture(autouse=True)
def ends_clean(request):
    """A kernel is another process; the client of Jupyter keeps a thread of its own here."""
    if "kernel" not in request.fixturenames:
        request.getfixturevalue("nothing_left")


class Viewer:
    """Somebody who looks at the panel, and presses its buttons."""

    def __init__(self, session, url, stream):
        self.session, self.url, self.stream = session, url, stream
        self.picture = {}

    @property
    def rows(self):
        return {
            row["name"]: dict(zip(self.picture["columns"], row["values"], strict=True)) | row
            for row in self.picture["clients"]
        }

    async def sees(self, condition):
        """Look until a condition about the viewer holds, by what the panel sends."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (self.picture and condition(self)):
                    self.picture |= await self.stream.receive_json()
        except TimeoutError:
            pytest.fail(f"it is never seen: {self.picture}")

    async def press(self, button, client=None):
        """Press a button and return the answer."""
        asked = {"button": button} | ({"client": client} if client else {})
        async with self.session.post(f"{self.url}press", json=asked) as answer:
            return await answer.json()

    async def tell(self, kind, text=None, offset=None, connected=True, **more):
        """Tell what the page in the frame would."""
        news = {"kind": kind, "text": text, "offset": offset, "connected": connected}
        await self.stream.send_json(news | more)


@contextlib.asynccontextmanager
async def looking(url):
    url = url.replace("localhost", "127.0.0.1")  # looking a name up takes a thread, which stays
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}state") as stream,
    ):
        yield Viewer(session, url, stream)


@contextlib.asynccontextmanager
async def shown(server=chat, *names, **options):
    """A lab with its tabs, shown live to a viewer."""
    async with Lab(server, **options) as lab:
        for name in names:
            await lab.join(name)
        async with looking(lab.live().page.url) as viewer:
            yield lab, viewer


def kinds(lab, who):
    return [event.kind for event in lab.history.of(who)]


def button_of(name, button):
    return lambda viewer: button in viewer.rows[name]["buttons"]


async def test_demo_shows_the_server_the_tabs_and_their_offsets():
    """And goes on showing them: a tab that joins later, and what is sent."""
    async with shown(chat, "ann") as (lab, viewer):
        await viewer.sees(lambda seen: seen.rows["ann"]["State"] == "caught up")
        assert viewer.picture["facts"] == {"server": "running", "newest offset": 0}
        assert viewer.rows[THE_PAGE]["State"] == CLOSED
        await lab.join("bob")
        for number in range(3):
            await lab.clients["bob"].send(str(number))
        await viewer.sees(lambda seen: seen.picture["facts"]["newest offset"] == 3)
        for name in ("ann", "bob"):
            await viewer.sees(lambda seen, name=name: seen.rows[name]["Offset"] == "3 of 3")
        assert viewer.rows["ann"]["healthy"]


async def test_server_that_tells_nothing_has_tabs_that_are_connected():
    """Nobody can say whether they have caught up."""
    async with shown(tutorial, "ann") as (_, viewer):
        await viewer.sees(lambda seen: seen.rows["ann"]["State"] == "connected")


async def test_dropped_tab_is_away_and_catches_up():
    """The button does what `await bob.drop()` does, and the other one brings the tab back."""
    async with shown(chat, "ann", "bob") as (lab, viewer):
        ann, bob = lab.clients.values()
        await viewer.sees(button_of("bob", "drop"))
        assert await viewer.press("drop", "bob") == {"done": "drop bob"}
        assert not bob.connected and ann.connected
        await ann.send("where are you?")
        await viewer.sees(lambda seen: seen.rows["bob"]["Offset"] == "0 of 1")
        await viewer.sees(lambda seen: seen.rows["bob"]["State"] == "offline")
        assert not viewer.rows["bob"]["healthy"]
        await viewer.sees(button_of("bob", "reconnect"))
        await viewer.press("reconnect", "bob")
        await viewer.sees(lambda seen: seen.rows["bob"]["Offset"] == "1 of 1")
        assert bob.messages == ["where are you?"]
        assert (await lab.verdict()).valid
        assert kinds(lab, "bob")[:3] == ["join", "drop", "reconnect"]


async def test_frozen_link_holds_what_is_in_flight():
    """Both ways, in bytes; the message has no answer and is under way, until the thaw."""
    async with shown(chat, "ann", "bob") as (lab, viewer):
        ann, bob = lab.clients.values()
        await viewer.sees(lambda seen: seen.rows["ann"]["In flight"] == "nothing")
        await viewer.press("freeze", "ann")
        assert lab.links["ann"].frozen and not lab.links["bob"].frozen
        ann.post("to the server")
        await bob.send("from the server")
        await viewer.sees(
            lambda seen: (
                seen.rows["ann"]["In flight"].startswith("frozen: ")
                and " bytes up, " in seen.rows["ann"]["In flight"]
                and seen.rows["ann"]["In flight"].endswith(" bytes down")
                and seen.rows["ann"]["Not answered"] == 1
                and "under way" in seen.picture["drawing"]["svg"]
            )
        )
        assert "lost" not in viewer.picture["drawing"]["alt"]
        assert ann.connected and not viewer.rows["ann"]["healthy"]
        await viewer.press("thaw", "ann")
        await viewer.sees(
            lambda seen: (
                seen.rows["ann"]["Offset"] == "2 of 2"
                and seen.rows["ann"]["Not answered"] == 0
                and seen.rows["ann"]["In flight"] == "nothing"
                and "under way" not in seen.picture["drawing"]["svg"]
            )
        )


async def test_reloaded_tab_forgets_and_gets_everything_again():
    """As with `await ann.reload()`."""
    async with shown(chat, "ann") as (lab, viewer):
        ann = lab.clients["ann"]
        await ann.send("one")
        await viewer.sees(button_of("ann", "reload"))
        await viewer.press("reload", "ann")
        await ann.sees(1)
        await viewer.sees(lambda seen: "reloads" in seen.picture["drawing"]["alt"])
        assert kinds(lab, "ann").count("reload") == 1


async def test_killed_process_is_gone_and_the_next_one_has_everything():
    """Nobody waits for the tabs: a frozen one does not hold up the kill, nor the start."""
    async with shown(chat, "ann", "bob", process=True) as (lab, viewer):
        ann, bob = lab.clients.values()
        await ann.send("before")
        await viewer.sees(lambda seen: seen.picture["buttons"] == ["kill"])
        lab.links["bob"].freeze()
        process = lab.server._worker.process
        assert await viewer.press("kill") == {"done": "kill"}
        assert process.poll() == -9
        await viewer.sees(lambda seen: seen.picture["facts"]["server"] == "killed")
        await viewer.sees(lambda seen: seen.rows["ann"]["State"] == "coming back")
        assert viewer.picture["buttons"] == ["start"]
        assert await viewer.press("start") == {"done": "start"}
        await viewer.sees(lambda seen: seen.picture["facts"]["server"] == "running")
        lab.links["bob"].thaw()
        await viewer.sees(lambda seen: seen.rows["ann"]["State"] == "caught up")
        # Only after the thaw it hears of the end.
        await bob.until(lambda: bob.connected and "reconnect" in kinds(lab, "bob"))
        await bob.send("after")
        assert (await lab.verdict()).valid
        assert ann.messages == ["before", "after"]


async def test_server_in_a_thread_is_stopped_and_started():
    """It cannot be killed, and the panel does not offer that."""
    async with shown(chat, "ann") as (lab, viewer):
        await viewer.sees(lambda seen: seen.picture["buttons"] == ["stop"])
        assert "no button" in (await viewer.press("kill"))["error"]
        await viewer.press("stop")
        assert not lab.server.running
        await viewer.sees(lambda seen: seen.picture["facts"]["server"] == "stopped")
        await viewer.press("start")
        await viewer.sees(lambda seen: seen.rows["ann"]["State"] == "caught up")
        assert "stops" in viewer.picture["drawing"]["alt"]


async def test_button_that_was_pressed_twice_kills_once():
    """The second press was on its way when the server ended: nothing is killed, nor recorded."""
    async with shown(chat, "ann", process=True) as (lab, _):
        press = lab.live().panel.buttons
        for button in ("kill", "kill", "start", "start"):
            pressed = asyncio.run_coroutine_threadsafe(
                press[button](), lab.live().server._worker.loop
            )
            await asyncio.wrap_future(pressed)
        assert kinds(lab, "server") == ["kill", "start"]


async def test_button_that_fails_says_why_and_nothing_else_breaks():
    """Reconnecting needs a server."""
    async with shown(chat, "ann") as (lab, viewer):
        await viewer.press("stop")
        await viewer.press("drop", "ann")
        answer = await viewer.press("reconnect", "ann")
        assert answer["error"].startswith("reconnect ann: ConnectionError: the server cannot be")
        await viewer.press("start")
        assert await viewer.press("reconnect", "ann") == {"done": "reconnect ann"}
        assert lab.clients["ann"].connected


@contextlib.asynccontextmanager
async def human(viewer):
    """Somebody in the frame: a tab of which the lab knows nothing, behind the link of the page."""
    await viewer.sees(lambda seen: seen.picture["frame"])
    port = viewer.picture["frame"]["source"].rstrip("/").rpartition(":")[2]
    tab = await ChatClient(f"http://127.0.0.1:{port}", "human").open()
    yield tab
    await tab.close()


async def test_page_has_a_link_of_its_own_that_is_cut_and_mended():
    """Its line stays down until it is mended; the tabs of the lab notice nothing."""
    async with shown(chat, "ann") as (lab, viewer), human(viewer) as page:
        await viewer.press("drop", THE_PAGE)
        await page.until(lambda: page.returning)
        await viewer.sees(lambda seen: seen.rows[THE_PAGE]["In flight"] == "line cut")
        assert viewer.rows[THE_PAGE]["buttons"] == ["reconnect", "reload"]
        await lab.clients["ann"].send("are you there?")
        await lab.live().line.link.holds()  # it tries to come back, and cannot
        assert page.messages == [] and not page.connected
        await viewer.press("reconnect", THE_PAGE)
        assert await page.sees(1) == ["are you there?"]
        await viewer.sees(lambda seen: seen.rows[THE_PAGE]["In flight"] == "nothing")
        assert "drop" not in kinds(lab, "ann")


async def test_page_is_frozen_and_thawed():
    """What is sent to it waits on its link."""
    async with shown(chat, "ann") as (lab, viewer), human(viewer) as page:
        await viewer.press("freeze", THE_PAGE)
        await lab.clients["ann"].send("are you there?")
        await viewer.sees(
            lambda seen: (
                seen.rows[THE_PAGE]["In flight"].startswith("frozen: ")
                and seen.rows[THE_PAGE]["In flight"].endswith(" bytes down")
            )
        )
        assert page.messages == [] and page.connected
        await viewer.press("thaw", THE_PAGE)
        assert await page.sees(1) == ["are you there?"]


async def test_reload_of_the_page_is_a_new_number_for_its_frame():
    """The browser does the rest."""
    async with shown() as (_, viewer):
        await viewer.sees(lambda seen: seen.picture["frame"]["loads"] == 0)
        await viewer.press("reload", THE_PAGE)
        await viewer.sees(lambda seen: seen.picture["frame"]["loads"] == 1)


async def test_what_the_page_tells_is_in_the_picture_and_not_in_the_history():
    """Its lane grows, and its row; the verdict on the tabs does not hear of it."""
    async with shown(chat, "ann") as (lab, viewer):
        await viewer.sees(lambda seen: "drawing" in seen.picture)
        assert THE_PAGE not in viewer.picture["drawing"]["alt"]
        await viewer.tell("load", state="connected", reached=0, pending=0)
        await viewer.tell("send", "hello", state="connected", reached=0, pending=1)
        await viewer.sees(
            lambda seen: (
                seen.rows[THE_PAGE]["State"] == "connected"
                and seen.rows[THE_PAGE]["Not answered"] == 1
                and "1 message sent" in seen.picture["drawing"]["alt"]
                and "under way" in seen.picture["drawing"]["svg"]
            )
        )
        await viewer.tell("drop", connected=False, state="connecting …")
        await viewer.sees(lambda seen: f"{THE_PAGE} drops once" in seen.picture["drawing"]["alt"])
        assert lab.history.clients == ["ann"]
        async with looking(viewer.url) as other:
            await other.sees(lambda seen: seen.rows[THE_PAGE]["State"] == "connecting …")


async def test_message_of_the_page_is_one_that_somebody_sent():
    """The verdict has heard of it; the control is a page that tells nothing."""
    async with shown(chat, "ann") as (lab, viewer), human(viewer) as page:
        await page.send("hello")
        assert str(await lab.verdict()).startswith("invalid: 1 phantom")
        await viewer.tell("load", state="connected")
        await viewer.tell("send", "hello")
        await viewer.tell("acknowledge", "hello", 1, state="told")
        await viewer.sees(lambda seen: seen.rows[THE_PAGE]["State"] == "told")
        assert (await lab.verdict()).valid
        assert THE_PAGE in lab.diagram().lanes


async def test_offset_is_never_beyond_the_newest():
    """A tab may have come further since the log was looked at."""
    async with Lab(chat) as lab:
        live, ann = lab.live(), await lab.join("ann")
        assert live.picture().facts["newest offset"] == 0
        await ann.send("one")
        assert live.view.offset(1) == "1 of 1"


async def test_press_that_is_cut_short_in_the_cells_is_not_done():
    """Its presser hears an error of the usual kind, which cannot end the demo's own thread."""
    async with Lab(chat) as lab:
        live, done = lab.live(), Future()
        live.cells.begin(asyncio.Event().wait, done)
        [task] = live.cells._running
        task.cancel()
        with pytest.raises(RuntimeError, match="interrupted"):
            await asyncio.wrap_future(done)


async def test_viewer_who_leaves_takes_the_page_along():
    """It is closed for everybody else."""
    async with shown() as (_, viewer):
        async with looking(viewer.url) as other:
            await other.tell("load", state="connected")
            await viewer.sees(lambda seen: seen.rows[THE_PAGE]["State"] == "connected")
        await viewer.sees(lambda seen: seen.rows[THE_PAGE]["State"] == CLOSED)


async def test_name_of_the_page_is_refused_to_a_tab():
    """In the picture it means the page."""
    async with Lab(chat) as lab:
        with pytest.raises(ValueError, match="page"):
            await lab.join(THE_PAGE)


# Beginning and end.


async def test_demo_is_a_frame_of_the_notebook():
    """By its port and its key; asking again shows the same one, with the height that is asked."""
    async with Lab(chat) as lab:
        live = lab.live()
        again = lab.live(height=400)
        assert again is live
        html = again._repr_html_()
        assert f'<iframe src="http://localhost:{live.server.port}/{live.panel.key}/"' in html
        assert 'title="The lab, live"' in html and 'height="400"' in html
        assert repr(live) == f"The lab, live: {live.page.url}"


async def test_demo_is_found_behind_a_hub(monkeypatch):
    """The panel and the page in its frame come through the proxy of the hub."""
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ann/")
    async with Lab(chat) as lab:
        live = lab.live()
        assert live.page.url == f"/user/ann/proxy/{live.server.port}/{live.panel.path}"
        port = live.line.link.port
        assert live.picture().frame.source == f"/user/ann/proxy/{port}/"


async def test_closed_lab_is_not_shown_live():
    """Nobody would ever close it."""
    lab = Lab(chat)
    with pytest.raises(RuntimeError, match="open"):
        lab.live()
    await lab
    await lab.close()
    with pytest.raises(RuntimeError, match="open"):
        lab.live()


def left():
    return len(asyncio.all_tasks()), len(threading.enumerate()), len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
async def test_closed_lab_leaves_nothing_of_its_demo(process):
    """No task, thread, socket or port, though somebody looks and a press is not done yet."""
    before = left()
    lab = await Lab(chat, process=process)
    await lab.join("ann")
    tabs_alone = left()
    live = lab.live()
    url, port = live.page.url, live.line.link.port
    async with looking(url) as viewer, human(viewer):
        await viewer.press("freeze", "ann")
        pressed = asyncio.create_task(viewer.press("reload", "ann"))
        await lab.links["ann"].holds()
        assert all(now > then for now, then in zip(left(), tabs_alone, strict=True))
        async with asyncio.timeout(chatlab.client.PATIENCE / 2):  # the reload would take longer
            await lab.close()
        with pytest.raises(aiohttp.ClientError):
            await pressed
    for taken in (live.server.port, port):
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", taken)
    await until(lambda: left() == before)


async def test_second_lab_of_the_name_takes_the_place_of_the_demo_too():
    """Its panel has another key and shows the second lab; the first one is gone."""
    first = await Lab(chat)
    old = first.live()
    second = await Lab(chat)
    assert not old.server.running
    async with looking(second.live().page.url) as viewer:
        await second.join("ann")
        await viewer.sees(lambda seen: "ann" in seen.rows)
        assert second.live().panel.key != old.panel.key
    await second.close()


async def test_demos_of_two_labs_stand_side_by_side():
    """Each shows its own lab."""
    async with shown(chat, "ann") as (_, one), shown(chat, "bob", name="trial") as (_, other):
        await one.sees(lambda seen: set(seen.rows) == {THE_PAGE, "ann"})
        await other.sees(lambda seen: set(seen.rows) == {THE_PAGE, "bob"})


async def until(condition):
    """Wait until a condition holds that nothing announces."""
    async with asyncio.timeout(chatlab.client.PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# In a notebook.

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
