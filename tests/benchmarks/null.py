"""A server that does nothing, and so shows what the load itself can take: python null.py

It stores nothing. A row is made before anybody asks for it, and an answer is given without looking
at the question. Whatever is measured with it is at least what the load can do.
"""

import asyncio
import re

from load import ACCEPTED, ACK, GREETING, TEXT

ROWS = 10_000
EVENT = b'42["chat message","%s",1]' % TEXT.encode()
OFFSET = re.compile(rb'"serverOffset":(\d+)')


def frame(packet):
    """Return a packet of less than 126 bytes in a server's WebSocket frame."""
    return bytes([0x81, len(packet)]) + packet


LOG = frame(EVENT) * ROWS


class Connection(asyncio.Protocol):
    """A client, who is answered by what its bytes look like."""

    everybody = ()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        Connection.everybody = [one for one in Connection.everybody if one is not self.transport]

    def data_received(self, data):
        if data.startswith(b"GET"):
            self.transport.write(b"HTTP/1.1 101 .\r\n\r\n" + frame(GREETING + b':""}'))
        elif offset := OFFSET.search(data):
            self.accept(int(offset[1]))
        elif count := data.count(ACK[2:]):
            self.answer(count)

    def accept(self, offset):
        missed = LOG[offset * len(frame(EVENT)) :]
        self.transport.write(frame(ACCEPTED + b':""}') + missed)
        Connection.everybody = [*Connection.everybody, self.transport]

    def answer(self, count):
        events = frame(EVENT) * count
        for transport in Connection.everybody:
            transport.write(events)
        self.transport.write(frame(ACK + b"1]") * count)


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(f":{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
