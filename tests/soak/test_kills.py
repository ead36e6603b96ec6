"""A server that is killed a hundred times while it stores: nothing is lost, nothing is there twice.

CHATLAB_LOOPS=10 makes it ten times.
"""

import asyncio
import contextlib
import os
import random
import sqlite3
from dataclasses import dataclass
from functools import partial

import pytest

from chatlab.client.tab import ChatClient
from chatlab.harness.background import BackgroundServer
from chatlab.harness.network import Link
from chatlab.messages import CHAT_MESSAGE
from chatlab.server.app import create_app

LOOPS = int(os.environ.get("CHATLAB_LOOPS", "100"))
FEW_LOOPS = min(LOOPS, 10)
SENDERS, MESSAGES = 4, 200
"""How many send at the same time, and how much each of them, between two kills."""
SEED = 9

pytestmark = pytest.mark.timeout(600)


@dataclass
class Sent:
    """A message of a sender, the key it is sent with, and the offset that was acknowledged."""

    text: str
    key: str | None
    offset: int | None = None

    async def through(self, client):
        """Send it, again if need be; return the offset, or None if the connection is lost."""
        with contextlib.suppress(ConnectionError):
            self.offset = await client.call(CHAT_MESSAGE, self.text, self.key)
        return self.offset


class Kills:
    """Senders that send without waiting, and a server that is killed under them."""

    def __init__(self, db, keyed):
        self.db, self.keyed = db, keyed
        self.server = BackgroundServer(partial(create_app, db=db), name="kills", process=True)
        self.chance = random.Random(SEED)
        self.sent = [[] for _ in range(SENDERS)]
        self.clients = []
        self.unheard = self.unstored = 0
        """Messages that a killed server had stored but not acknowledged, and those it had not."""

    async def live(self, loops, enough=lambda rows: False):
        """Live through so many kills; then stop, with everything acknowledged.

        Stop earlier when there is `enough` in the table.
        """
        with self.server:
            self.link = await Link(self.server.port)
            for number in range(SENDERS):
                self.clients.append(await ChatClient(self.link.url, f"sender{number}").open())
            for loop in range(loops):
                await self.kill_while_sending(loop)
                before = await self.start_again()
                await self.send_again(before)
                self.server.check()
                if enough(self.rows()):
                    break
            for client in self.clients:
                await client.sees(len(self.rows()))
                await client.close()
            await self.link.close()

    async def kill_while_sending(self, loop):
        """Let all send at once, and kill the server at a bad moment.

        When so many acknowledgements have come, no other one passes the link, and one more message
        of each sender is sent. As soon as anything is stored after that, the server is killed.
        """
        due = self.chance.randint(1, SENDERS * MESSAGES // 2)
        enough = asyncio.Event()
        sending = []

        async def send(message, client):
            nonlocal due
            acknowledged = await message.through(client) is not None
            due -= acknowledged
            if due <= 0:
                enough.set()

        def send_next(number):
            for sender, (client, messages) in enumerate(zip(self.clients, self.sent, strict=True)):
                text = f"{sender}: {loop * MESSAGES + number}"
                messages.append(Sent(text, f"key of {text}" if self.keyed else None))
                sending.append(asyncio.create_task(send(messages[-1], client)))

        for number in range(MESSAGES - 1):
            send_next(number)
        await enough.wait()
        self.link.freeze("down")
        stored = len(self.rows())
        send_next(MESSAGES - 1)
        while len(self.rows()) == stored:  # noqa: ASYNC110 - another process stores
            await asyncio.sleep(0.001)
        self.server.kill()
        self.link.cut()
        self.link.thaw()
        await asyncio.gather(*sending)

    async def start_again(self):
        """Start the server on the same database; return what is in it when all are back."""
        await asyncio.to_thread(self.server.start)
        for client in self.clients:
            await client.until(lambda client=client: client.connected, "is back")
        return self.rows()

    async def send_again(self, before):
        """Check what was acknowledged against the table, and send the rest again, in order."""
        if self.keyed:
            self.check_acknowledged(before)
        waiting = [
            (client, [message for message in messages if message.offset is None])
            for client, messages in zip(self.clients, self.sent, strict=True)
        ]
        again = [message for _, messages in waiting for message in messages]
        stored = {key: offset for offset, key, _ in before if key}
        self.unheard += sum(message.key in stored for message in again)
        self.unstored += sum(message.key not in stored for message in again)
        await asyncio.gather(*(m.through(client) for client, messages in waiting for m in messages))
        assert all(message.offset is not None for message in again)
        if self.keyed:
            for message in again:
                assert message.offset == stored.get(message.key, message.offset)
            self.check_acknowledged(rows := self.rows())
            assert [offset for offset, _, _ in rows] == list(range(1, len(rows) + 1))
            assert len(rows) == sum(map(len, self.sent))
            for messages in self.sent:
                offsets = [message.offset for message in messages]
                assert offsets == sorted(set(offsets))

    def check_acknowledged(self, rows):
        """Every acknowledged message is in the table once, under its offset."""
        acknowledged = {
            (message.offset, message.key, message.text)
            for messages in self.sent
            for message in messages
            if message.offset is not None
        }
        assert acknowledged <= set(rows)
        assert len({text for _, _, text in rows}) == len(rows)

    def rows(self):
        """Read the table, while the server has it open: so nothing is tidied up by reading it."""
        with contextlib.closing(sqlite3.connect(self.db)) as database:
            return database.execute("SELECT * FROM messages ORDER BY id").fetchall()


async def test_acknowledged_messages_survive_every_kill(tmp_path):
    """With keys every message is there once, in its sender's order, and every tab shows that."""
    kills = Kills(tmp_path / "chat.db", keyed=True)
    await kills.live(LOOPS)
    texts = [text for _, _, text in kills.rows()]
    assert len(texts) == LOOPS * SENDERS * MESSAGES
    assert [client.messages for client in kills.clients] == [texts] * SENDERS
    assert kills.unheard > 0 and kills.unstored > 0  # the kills came at bad moments


def repeated(rows):
    """Whether a text is there more than once: each is written once."""
    return len({text for _, _, text in rows}) < len(rows)


async def test_messages_without_keys_are_stored_twice(tmp_path):
    """The control: who sends again what was not acknowledged may send what was stored."""
    kills = Kills(tmp_path / "chat.db", keyed=False)
    await kills.live(FEW_LOOPS, enough=repeated)
    rows = kills.rows()
    assert {text for _, _, text in rows} == {m.text for messages in kills.sent for m in messages}
    assert repeated(rows)
