"""The load: one process that opens many connections to a server and counts what it is sent.

As a program it takes a load as JSON, `{"do": "ingest", "port": 3000, ...}`, and prints what it has
measured as JSON. It must not be slower than the servers, so it reads raw sockets and counts the
beginnings of events in what it reads: nothing is decoded while the clock runs.
"""

import itertools
import json
import re
import selectors
import socket
import struct
import sys
import time
import uuid
from collections import deque
from functools import partial
from pathlib import Path
from statistics import median, quantiles

ACK_ID = 777_777_777_777_777
"""The id of every question. Nobody needs to know which one an answer belongs to."""
EVENT, ACK = b'42["chat message",', b"43%d[" % ACK_ID
"""How an event and an acknowledgement begin: equally long, so that one tail serves both."""
TAIL = len(EVENT) - 1
"""Bytes of what was read that are read again, since a beginning may come in two pieces."""
ROW = re.compile(EVENT.replace(b"[", rb"\[") + rb'"[^"]*",(\d+)(?:,"[0-9.]+")?\]')
"""A whole event, and its offset. A server with recovery puts the position behind that."""
GREETING, ACCEPTED, PING = b'0{"sid"', b'40{"sid"', b"\x81\x012"
CHUNK = 1 << 18
"""Bytes that are read from a socket at a time."""
PATIENCE = 120.0
"""Seconds after which a load is given up."""
SILENCE = 2.0
"""Seconds without an event after which no more are expected: a server may have lost some."""
WARM_UP = 2.5
"""Seconds in which senders send before the clock runs. Node.js compiles what is hot meanwhile, and
chatlab's server looks at its file more closely in the first two seconds."""
TEXT = "a message as long as those that people write in a chat"
UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def frame(packet):
    """Return a packet in a client's WebSocket frame. A mask of zeros leaves the packet as it is."""
    size = len(packet)
    length = struct.pack("!B", 128 + size) if size < 126 else struct.pack("!BH", 254, size)
    return b"\x81" + length + bytes(4) + packet


class Client:
    """A connection: how many events have come, and when the last one came that it waits for."""

    def __init__(self, crowd, offset, goal, keep=False):
        self.offset, self.goal, self.reached = offset, goal, None
        self.events = 0
        self.kept = [] if keep else None
        self.answered = lambda count: None
        """Called when so many messages are acknowledged."""
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._waiting, self._tail = crowd.waiting, b""
        self._waiting.add(self)
        self._take, self._accepted = self._greeted, False

    def greet(self):
        """Ask for a WebSocket, as soon as there is a connection."""
        self.socket.sendall(UPGRADE)

    def emit(self):
        """Send a message that is to be acknowledged."""
        event = json.dumps(["chat message", TEXT, str(uuid.uuid4())])
        self.socket.sendall(frame(b"42%d%s" % (ACK_ID, event.encode())))

    def expect(self, count):
        """Wait for so many more events."""
        self.goal, self.reached = self.events + count, None
        self._waiting.add(self)

    def read(self):
        """Take what has come. Raises ConnectionError if the server has hung up."""
        if not (data := self.socket.recv(CHUNK)):
            raise ConnectionError("the server has hung up")
        self._take(data)

    def offsets(self):
        """Return the offsets of all events, in the order in which they came."""
        return list(map(int, ROW.findall(b"".join(self.kept))))

    def _greeted(self, data):
        self._tail += data
        if GREETING in self._tail:
            self._tail, self._take = b"", self._count
            self.socket.sendall(frame(b'40{"serverOffset":%d}' % self.offset))

    def _count(self, data):
        if self.kept is not None:
            self.kept.append(data)
        if PING in data:
            self.socket.sendall(frame(b"3"))
        data = self._tail + data
        self._tail = data[-TAIL:]
        self.events += data.count(EVENT)
        # A server may send events before it accepts: chapter 03 does.
        self._accepted = self._accepted or ACCEPTED in data
        if self._accepted and self.reached is None and self.events >= self.goal:
            self.reached = time.perf_counter()
            self._waiting.discard(self)
        if count := data.count(ACK):
            self.answered(count)


class Crowd:
    """Many connections to a server, read in one loop. Leaving it closes them.

    With several ports, the connections take turns.
    """

    def __init__(self, port):
        self.ports = itertools.cycle(port if isinstance(port, list) else [port])
        self.clients = set()
        self.waiting = set()
        """Those who have not got yet what they wait for."""
        self._ready = selectors.DefaultSelector()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for client in list(self.clients):
            self.drop(client)
        self._ready.close()

    def open(self, count, offset=0, goal=0, keep=False, kind=None):
        """Let clients connect, all at once; return them. Each waits for `goal` events."""
        new = [(kind or Client)(self, offset, goal, keep) for _ in range(count)]
        for client in new:
            client.socket.connect_ex(("127.0.0.1", next(self.ports)))
            self._ready.register(client.socket, selectors.EVENT_WRITE, client)
        self.clients.update(new)
        return new

    def join(self, count, offset=0):
        """Let clients connect that have missed nothing; return them when they are accepted."""
        new = self.open(count, offset)
        self.wait()
        return new

    def drop(self, client):
        """Close a connection without a goodbye."""
        self.clients.discard(client)
        self._ready.unregister(client.socket)
        client.socket.close()

    def wait(self):
        """Read until everybody has what it waits for."""
        self.until(lambda: not self.waiting)

    def until(self, done, pause=1.0, patience=PATIENCE):
        """Read until it is done; ask that every `pause` seconds at least. Raises TimeoutError."""
        given_up = time.perf_counter() + patience
        while not done():
            if time.perf_counter() > given_up:
                raise TimeoutError(f"{len(self.waiting)} clients wait after {patience:.0f} s")
            for key, writable in self._ready.select(pause):
                if writable == selectors.EVENT_WRITE:
                    key.data.greet()
                    self._ready.modify(key.fileobj, selectors.EVENT_READ, key.data)
                else:
                    key.data.read()


# The loads: each returns what it has measured, by its unit. The log of the server is empty where no
# offset is named. What comes first warms up both sides, and does not count.


def ingest(port, pid, senders, seconds, in_flight=1, readers=0):
    """Let each sender have so many messages under way: it sends one for each acknowledgement.

    All clients get all messages; `readers` are clients that send none.
    """
    with Crowd(port) as crowd:
        times, began = [], {}
        crowd.join(readers)

        def send(sender, count):
            for _ in range(count):
                began[sender].append(time.perf_counter())
                sender.emit()

        def answered(sender, count):
            now = time.perf_counter()
            times.extend(now - began[sender].popleft() for _ in range(count))
            send(sender, count)

        for sender in crowd.join(senders):
            began[sender] = deque()
            sender.answered = partial(answered, sender)
            send(sender, in_flight)
        _for(crowd, WARM_UP)
        times.clear()
        took = _for(crowd, seconds)
        slow = quantiles(times, n=100)[-1]
        return {
            "messages/s": len(times) / took,
            "ms": 1000 * median(times),
            "ms at p99": 1000 * slow,
        }


def _for(crowd, seconds):
    """Go on for some seconds; return how many it were."""
    start = time.perf_counter()
    crowd.until(lambda: time.perf_counter() - start >= seconds, pause=seconds)
    return time.perf_counter() - start


def fan_out(port, pid, clients, messages, in_flight):
    """Let one client send, so many messages unacknowledged at a time, until all have them all."""
    with Crowd(port) as crowd:
        readers = crowd.join(clients)
        for count in (messages // 4, messages):
            for reader in readers:
                reader.expect(count)
            start = time.perf_counter()
            _burst(readers[0], count, in_flight)
            crowd.wait()
        return {"events/s": clients * messages / (time.perf_counter() - start)}


def _burst(sender, messages, in_flight):
    """Let a client send so many messages: the next whenever one is acknowledged."""
    unsent = iter(range(messages))

    def send(count):
        for _ in itertools.islice(unsent, count):
            sender.emit()

    sender.answered = send
    send(in_flight)


def catch_up(port, pid, clients, offset, missed, times=1):
    """Let clients come, all at once, and get what they have missed."""
    seconds = []
    for _ in range(times + 1):
        with Crowd(port) as crowd:
            start = time.perf_counter()
            crowd.open(clients, offset, goal=missed)
            crowd.wait()
            seconds.append(time.perf_counter() - start)
    took = median(seconds[1:])
    rate, peak = clients * missed / took, memory(pid, "VmHWM") / 1024
    return {"rows/s": rate, "ms": 1000 * took, "MB at most": peak}


def returns(port, pid, offset, missed, times):
    """Let a client drop and come back, time after time: from the drop until it has caught up."""
    seconds = []
    with Crowd(port) as crowd:
        [client] = crowd.join(1, offset + missed)
        for _ in range(times):
            start = time.perf_counter()
            crowd.drop(client)
            [client] = crowd.open(1, offset, goal=missed)
            crowd.wait()
            seconds.append(time.perf_counter() - start)
    return {"ms": 1000 * median(seconds)}


def idle(port, pid, clients, offset):
    """Open connections on which nothing is said."""
    before = memory(pid, "VmRSS")
    with Crowd(port) as crowd:
        crowd.join(clients, offset)
        return {"kB": (memory(pid, "VmRSS") - before) / clients}


def storm(port, pid, clients, behind, rate):
    """Let all clients come back at once, messages behind, while `rate` a second are sent."""
    with Crowd(port) as crowd:
        [sender] = crowd.join(1, behind)
        start = time.perf_counter()
        returning = crowd.open(clients, goal=behind, keep=True)
        sent, answers = 0, []
        sender.answered = answers.append

        def caught_up():
            nonlocal sent
            while crowd.waiting and sent < rate * (time.perf_counter() - start):
                sender.emit()
                sent += 1
            return not crowd.waiting

        crowd.until(caught_up, pause=1 / rate)
        took = [client.reached - start for client in returning]
        _settle(crowd, returning, behind + sent)
    stored = max(behind + sum(answers), *(client.events for client in returning))
    in_order = sum(client.offsets() == list(range(1, stored + 1)) for client in returning)
    return {
        "s": median(took),
        "slowest / median": max(took) / median(took),
        "clients not in order": clients - in_order,
        "messages unanswered": sent - sum(answers),
        "MB at most": memory(pid, "VmHWM") / 1024,
    }


def _settle(crowd, clients, total):
    """Read until all have everything, or nothing comes any more: a server may have lost some."""
    before = -1
    while sum(client.events for client in clients) not in (before, total * len(clients)):
        before = sum(client.events for client in clients)
        _for(crowd, SILENCE)


def crosses(port, pid, times):
    """Let a client send to one server; say when a client of another one has it.

    "ms more" is how much later that is than at the sender's own server.
    """
    with Crowd(port) as crowd:
        here, there = crowd.join(2)
        whole, added = [], []
        for _ in range(times + times // 4):
            for client in (here, there):
                client.expect(1)
            began = time.perf_counter()
            here.emit()
            crowd.wait()
            whole.append(there.reached - began)
            added.append(there.reached - here.reached)
        first = times // 4
        return {"ms": 1000 * median(whole[first:]), "ms more": 1000 * median(added[first:])}


def memory(pid, kind):
    """Return the memory of a process in kB: VmRSS is what it has now, VmHWM the most it has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{kind}:")))


LOADS = {load.__name__: load for load in (ingest, fan_out, catch_up, returns, idle, storm, crosses)}

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(LOADS[asked.pop("do")](**asked)))
