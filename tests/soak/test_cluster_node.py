"""The lines of docs/CLUSTER.md for a client of one's own, with the official JavaScript client."""

import asyncio
import contextlib
import re
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from chatlab.harness import BackgroundServer, Postgres
from chatlab.server import create_app

SOAK = Path(__file__).parent
DOCUMENT = (SOAK.parents[1] / "docs" / "CLUSTER.md").read_text()
COME_AGAIN, SEND = re.findall(r"^```js\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
PROGRAM = """
import { createInterface } from "node:readline";
import { io } from "socket.io-client";
const auth = { serverOffset: 9 }; // of another server: this one has to ask the database
const socket = io("URL", { transports: ["websocket"], auth });
COME_AGAIN
SEND
socket.on("connect_error", (error) => console.log("refused", error.data?.error, socket.active));
socket.on("connect", () => console.log("connected"));
for await (const text of createInterface({ input: process.stdin })) {
  send(text).then((offset) => console.log(text, offset));
}
process.exit();
"""
PATIENCE = 30

pytestmark = pytest.mark.usefixtures("official_client")


@contextlib.asynccontextmanager
async def client(url, come_again):
    """The official client with the lines of the document; two functions: what it says, and send."""
    program = PROGRAM.replace("URL", url).replace("COME_AGAIN", come_again).replace("SEND", SEND)
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "--eval", program), cwd=SOAK, **pipes
    )

    async def says(words):
        async with asyncio.timeout(PATIENCE):
            while (await process.stdout.readline()).decode().strip() != words:
                assert not process.stdout.at_eof()

    try:
        yield says, lambda text: process.stdin.write(f"{text}\n".encode())
    finally:
        process.stdin.close()
        await process.stdout.read()
        await process.wait()


@pytest.fixture
def database():
    """A database, whose server may say that it was away."""
    with Postgres() as database:
        yield database


@pytest.fixture
def server(database):
    with BackgroundServer(partial(create_app, db=database.url())) as server:
        yield server
        server.errors.clear()


async def test_client_with_these_lines_comes_again_and_stores_each_message_once(database, server):
    """It is refused while the database is away, and sends what nobody has answered again."""
    await asyncio.to_thread(database.stop, "immediate")
    async with client(server.url, COME_AGAIN) as (says, send):
        await says("refused not available false")
        await asyncio.to_thread(database.start)
        await says("connected")
        send("one")
        await says("one 1")
        await asyncio.to_thread(database.stop, "immediate")
        send("two")
        await asyncio.to_thread(database.start)
        await says("two 2")
    db = await asyncpg.connect(database.url())
    rows = await db.fetch("SELECT id, content FROM messages ORDER BY id")
    await db.close()
    assert [tuple(row) for row in rows] == [(1, "one"), (2, "two")]


async def test_client_without_the_first_of_these_lines_stays_away(database, server):
    """The control: the client itself says that it does not try again."""
    await asyncio.to_thread(database.stop, "immediate")
    async with client(server.url, "") as (says, _):
        await says("refused not available false")
    await asyncio.to_thread(database.start)
