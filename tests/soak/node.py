"""Tabs with the official JavaScript client, to be used like chatlab.client.tab.ChatClient."""

import asyncio
import itertools
import json
from pathlib import Path

from chatlab.client import PATIENCE
from chatlab.client.outbox import Outbox
from chatlab.client.sender import Sender
from chatlab.messages import CHAT_MESSAGE, Message

TABS = Path(__file__).with_name("tabs.mjs")


class Node:
    """The node process in which all tabs live. Enter it to start it."""

    async def __aenter__(self):
        self.tabs = {}
        self.process = await asyncio.create_subprocess_exec(
            "node", TABS, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self.listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc_info):
        self.process.stdin.close()  # its end ends the process
        await self.listening
        await self.process.wait()

    def tell(self, **command):
        """Give a command to a tab."""
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    async def _listen(self):
        async for line in self.process.stdout:
            said = json.loads(line)
            self.tabs[said.pop("tab")].hear(**said)


class NodeTab:
    """A tab of the chat page. What it does and records is what ChatClient does and records.

    Its outbox is here; what is sent from it goes through the official client.
    """

    opening = False

    def __init__(self, url, name, *, record, node, transports):
        self.node, self.url, self.name, self.transports = node, url, name, transports
        self.record = record
        self.page, self.loading = 0, ""
        self.connected, self.away = False, True
        self.shown = []
        self.answers, self.ids = {}, itertools.count()
        self.waiting = set()
        self.sender = Sender(
            Outbox(),
            ready=lambda: self.until(lambda: self.connected, patience=None),
            ask=lambda *arguments, for_caller: self.call(CHAT_MESSAGE, *arguments),
            record=lambda kind, *message: record(kind, name, *message),
            changed=self.changed,
            failed=asyncio.get_running_loop().create_future().set_exception,
        )
        node.tabs[name] = self

    @property
    def returning(self):
        return not (self.connected or self.away)

    @property
    def posting(self):
        return self.sender.busy and self.connected

    @property
    def pending(self):
        return self.sender.pending

    async def open(self):
        await self.load("join")
        return self

    async def reload(self):
        await self.load("reload")

    async def load(self, kind):
        """Load the page anew; what the old one still says is ignored."""
        self.fail(ConnectionError(f"{self.name} left before the answer"))
        self.page, self.loading, self.shown, self.connected = self.page + 1, kind, [], False
        self.tell("load", page=self.page, url=self.url, transports=self.transports)
        await self.comes_back()

    async def send(self, text):
        self.check_connected()
        self.record("send", self.name, text)
        offset = await self.call(CHAT_MESSAGE, text)
        self.record("acknowledge", self.name, text, offset)

    def post(self, text):
        self.sender.add(text, self.connected)

    async def call(self, event, *values):
        self.check_connected()
        number, answer = next(self.ids), asyncio.get_running_loop().create_future()
        self.answers[number] = answer
        self.tell("call", id=number, event=event, values=values)
        return await answer

    def check_connected(self):
        if not self.connected:
            raise ConnectionError("nothing is sent")

    async def drop(self):
        self.away = True
        self.tell("drop")
        await self.until(lambda: not self.connected)

    async def reconnect(self):
        if not self.connected:
            self.tell("reconnect")
            await self.comes_back()

    async def close(self):
        self.record("close", self.name)
        self.page, self.away = self.page + 1, True
        self.fail(ConnectionError(f"{self.name} left before the answer"))
        self.tell("close")
        await self.sender.stop()

    async def comes_back(self):
        self.away = False
        try:
            await self.until(lambda: self.connected)
        except TimeoutError:
            raise ConnectionError(f"{self.name} does not connect") from None

    async def until(self, condition, wish="", patience=PATIENCE, *, failing=False):
        """Wait until a condition about this tab holds. Raises TimeoutError if it takes too long.

        `failing` is for a lab's own tabs: here no error of the server ends a wait.
        """
        self.waiting.add(changed := asyncio.Event())  # each has its own: nobody misses a change
        try:
            async with asyncio.timeout(patience):
                while not condition():
                    changed.clear()
                    await changed.wait()
        finally:
            self.waiting.discard(changed)

    def tell(self, do, **command):
        self.node.tell(tab=self.name, do=do, **command)

    def fail(self, error):
        """Raise an error in everybody who waits for an answer; return whether anybody does."""
        answers, self.answers = self.answers, {}
        for answer in answers.values():
            answer.set_exception(error)
        return bool(answers)

    def hear(self, page, event, **said):
        """Take what the page says."""
        if page != self.page:
            return
        getattr(self, f"on_{event}")(**said)
        self.changed()

    def changed(self):
        for changed in self.waiting:
            changed.set()

    def on_auth(self):
        self.record(self.loading, self.name)

    def on_connect(self):
        self.connected, self.loading = True, "reconnect"
        self.sender.begin()

    def on_disconnect(self):
        if self.connected:
            self.record("drop", self.name)
        self.connected = False
        self.sender.interrupt()

    def on_refuse(self, reason):
        """The server cannot be reached now: the client tries again by itself."""

    def on_show(self, text, offset=None):
        self.shown.append(Message(offset, text))
        self.record("show", self.name, text, offset)

    def on_answer(self, id, values):
        if waiting := self.answers.pop(id, None):
            waiting.set_result(next(iter(values), None))

    def on_no_answer(self, id):
        if waiting := self.answers.pop(id, None):
            waiting.set_exception(ConnectionError(f"{self.name} got no answer"))
