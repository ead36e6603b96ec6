"""The live demo of a lab: its buttons do what they say, and it begins and ends with the lab."""

import asyncio
import os
import threading

import aiohttp
import pytest
from labs import kinds, until
from viewers import button_of, human, looking, shown

import chatlab.client
from chatlab.lab.lab import Lab
from chatlab.lab.page_reports import CLOSED, THE_PAGE
from chatlab.server.app import chat

pytestmark = pytest.mark.usefixtures("nothing_left")


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


async def test_demo_is_a_frame_of_the_notebook():
    """By its port and its key; asking again shows the same one, with the height that is asked."""
    async with Lab(chat) as lab:
        live = lab.live()
        again = lab.live(height=400)
        assert again is live
        html = again._repr_html_()
        assert f"http://localhost:{live.server.port}/{live.panel.key}/" in html
        assert 'title="The lab, live"' in html and 'height="400"' in html
        assert repr(live) == f"The lab, live: {live.page.url}"


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
