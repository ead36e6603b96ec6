"""A million messages through fifty clients that drop all the time: all in order, memory flat.

CHATLAB_TOTAL=20000 makes it shorter.
"""

import contextlib
import itertools
import os
import random
import sqlite3

import pytest
from load import PING, ROW, Client, Crowd, frame, memory
from servers import make_log, running

TOTAL = int(os.environ.get("CHATLAB_TOTAL", "1000000"))
SENDERS, READERS, IN_FLIGHT = 5, 45, 40
"""IN_FLIGHT is how many messages of one sender are not acknowledged yet."""
LEAST, MOST = max(1000, TOTAL // 400), max(5000, TOTAL // 40)
"""After how many messages a reader drops. A million make it drop some seventy times. Engine.IO lets
go of a dead connection at its next ping only, and so a short run must have fewer drops."""
SAMPLES = 50
ROOM = 1.1
"""The server may take so many times as much memory in the second half of the run as in the first,
which is not counted until the newest messages are all there."""
PATIENCE = 3000.0

pytestmark = pytest.mark.timeout(3600)


class Reader(Client):
    """A client that checks every offset it gets."""

    drops_at, rest, wrong = 0, b"", None

    def _count(self, data):
        if PING in data:
            self.socket.sendall(frame(b"3"))
        data, end, offsets = self.rest + data, 0, []
        for event in ROW.finditer(data):
            offsets.append(int(event[1]))
            end = event.end()
        self.rest = data[end:]
        if offsets != list(range(self.offset + 1, self.offset + 1 + len(offsets))):
            self.wrong = self.wrong or f"after {self.offset} came {offsets[:5]}"
        self.offset += len(offsets)


class Run:
    """The run: who sends, who reads, and what the server's memory was."""

    def __init__(self, crowd, pid):
        self.crowd, self.pid = crowd, pid
        self.chance = random.Random(5)
        self.unsent, self.acknowledged, self.drops = itertools.repeat(None, TOTAL), 0, 0
        self.memory = []
        """In kB, whenever another part of the messages was acknowledged."""
        self.readers = [self.reader(0) for _ in range(READERS)]
        for sender in crowd.join(SENDERS):
            sender.answered = lambda count, sender=sender: self.answered(sender, count)
            self.send(sender, IN_FLIGHT)

    def reader(self, offset):
        [reader] = self.crowd.open(1, offset, kind=Reader)
        self.crowd.waiting.discard(reader)  # it waits for nothing: `over` looks at what it has
        reader.drops_at = offset + self.chance.randint(LEAST, MOST)
        return reader

    def send(self, sender, count):
        for _ in itertools.islice(self.unsent, count):
            sender.emit()

    def answered(self, sender, count):
        self.acknowledged += count
        if self.acknowledged * SAMPLES >= TOTAL * (len(self.memory) + 1):
            self.memory.append(memory(self.pid, "VmRSS"))
        self.send(sender, count)

    def over(self):
        """Let those drop and come back whose time it is; return whether all have everything."""
        for number, reader in enumerate(self.readers):
            assert reader.wrong is None
            if reader.drops_at <= reader.offset < TOTAL:
                self.crowd.drop(reader)
                self.readers[number] = self.reader(reader.offset)
                self.drops += 1
        return self.acknowledged == TOTAL and all(one.offset == TOTAL for one in self.readers)


def test_million_messages_through_fifty_clients_that_drop(tmp_path):
    """Each reader gets 1, 2, 3 to the last, over all its connections; the server stays small."""
    db = tmp_path / "chat.db"
    make_log(db, 0)
    with running("finished", db) as server, Crowd(server.port) as crowd:
        run = Run(crowd, server.pid)
        crowd.until(run.over, patience=PATIENCE)
    with contextlib.closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT min(id), max(id), count(*) FROM messages").fetchall() == [
            (1, TOTAL, TOTAL)
        ]
    assert run.drops > READERS
    first, second = run.memory[SAMPLES // 5 : SAMPLES // 2], run.memory[SAMPLES // 2 :]
    print(f"{run.drops} drops; kB at most: {max(first):,}, then {max(second):,}")
    assert max(second) < ROOM * max(first)
