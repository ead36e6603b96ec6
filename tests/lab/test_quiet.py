"""Waiting until nothing is under way, or until the server is gone."""

import asyncio
import threading

import pytest
from labs import echo

import chatlab.client
import chatlab.lab.quiet
from chatlab.lab.lab import Lab
from chatlab.log import MessageLog

pytestmark = pytest.mark.usefixtures("nothing_left")

PINGS = 20
"""How many answers of the server a wait that has overlooked something cannot outlast."""


class Held:
    """A server whose handler shows a message only when the test lets it."""

    def __init__(self):
        self.began, self.go_on = threading.Event(), asyncio.Event()

    def __call__(self, sio):
        @sio.on("ping")
        async def ping(sid):
            return "pong"

        @sio.on("chat message")
        async def chat_message(sid, text):
            async def later():
                self.began.set()
                await self.go_on.wait()
                if text == "fail":
                    raise KeyError("in the background")
                await sio.emit("chat message", text)

            sio.start_background_task(later)

    async def free(self):
        """Be run on the server's loop."""
        self.go_on.set()


async def test_quiet_waits_for_a_handler_that_takes_its_time():
    """It returns when the handler's task has ended and its message is shown, and not before."""
    held = Held()
    async with Lab(held) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("hello")
        quiet = asyncio.create_task(lab.quiet())
        await asyncio.to_thread(held.began.wait, chatlab.client.PATIENCE)
        assert await ann.call("ping") == "pong"
        assert not quiet.done()
        assert bob.messages == []
        lab.server.run(held.free())
        await quiet
        assert bob.messages == ["hello"]


@pytest.mark.parametrize("held", ["append", "after"])
async def test_quiet_waits_for_what_a_task_of_a_handler_does(held, monkeypatch):
    """Nobody knows the task, since asyncio started it; but it is in the middle of a call."""
    began, go_on = threading.Event(), asyncio.Event()
    original = getattr(MessageLog, held)

    async def slow(log, *arguments):
        began.set()
        await go_on.wait()
        return await original(log, *arguments)

    def server(sio, log):
        tasks = set()

        @sio.on("ping")
        async def ping(sid):
            return "pong"

        @sio.on("chat message")
        async def chat_message(sid, text):
            tasks.add(asyncio.create_task(later(text)))

        async def later(text):
            await log.append(text)
            await asyncio.sleep(0)  # between two calls
            for message in await log.after(0):
                await sio.emit("chat message", (message.text, message.offset))

    async def free():
        go_on.set()

    monkeypatch.setattr(MessageLog, held, slow)
    async with Lab(server) as lab:
        ann, bob = await lab.join("ann", "bob")
        await ann.send("hello")
        quiet = asyncio.create_task(lab.quiet())
        await asyncio.to_thread(began.wait, chatlab.client.PATIENCE)
        for _ in range(PINGS):
            assert await ann.call("ping") == "pong"
        assert (quiet.done(), bob.messages) == (False, [])
        lab.server.run(free())
        await quiet
        assert bob.messages == ["hello"]


async def test_quiet_does_not_wait_for_a_task_that_waits_for_a_queue():
    """It may wait there for ever, and has nothing to do."""

    def server(sio):
        queue = asyncio.Queue()

        @sio.event
        async def connect(sid, environ, auth):
            queue.task = asyncio.create_task(empty())

        @sio.on("chat message")
        async def chat_message(sid, text):
            queue.put_nowait(text)

        async def empty():
            while True:
                await sio.emit("chat message", await queue.get())

    async with Lab(server) as lab:
        ann = await lab.join("ann")
        await ann.send("hello")
        await lab.quiet()
        assert ann.messages == ["hello"]


async def test_quiet_that_waits_in_vain_says_so(monkeypatch):
    """A handler that never ends is a TimeoutError with a sentence."""
    held = Held()
    async with Lab(held) as lab:
        ann = await lab.join("ann")
        await ann.send("hello")
        monkeypatch.setattr(chatlab.lab.quiet, "PATIENCE", 0.05)
        with pytest.raises(TimeoutError, match="under way"):
            await lab.quiet()


async def test_error_that_quiet_waits_for_is_raised_there():
    """The handler has answered, and fails later, in a task of its own."""
    held = Held()
    async with Lab(held) as lab:
        ann = await lab.join("ann")
        await ann.send("fail")
        quiet = asyncio.create_task(lab.quiet())
        await asyncio.to_thread(held.began.wait, chatlab.client.PATIENCE)
        lab.server.run(held.free())
        with pytest.raises(
            (KeyError, BaseExceptionGroup), match=r"background|errors in the server"
        ):
            await quiet


async def test_server_that_has_just_died_is_started_again(monkeypatch):
    """Its tabs hear of its death a moment before the system does: then it still looks alive."""
    async with Lab(echo, process=True) as lab:
        ann = await lab.join("ann")
        worker = lab.server._worker
        worker.process.kill()
        await ann.until(lambda: not ann.connected)
        lies = iter([True] * 3)
        alive = property(lambda worker: next(lies, worker.process.poll() is None))
        monkeypatch.setattr(type(worker), "alive", alive)
        await lab.start()
        assert ann.connected
