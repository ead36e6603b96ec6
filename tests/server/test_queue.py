"""The queue of a connection: answers to a poll are short, and CLOSE comes alone."""

import asyncio
import json

import aiohttp
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from polling import opened
from support import turns

from chatlab.client.tab import ChatClient
from chatlab.server.queue import MAX_PACKETS_OUT, PollQueue


async def test_queue_is_a_queue():
    """Everything comes out once and in order, whatever the polls."""
    queue = PollQueue()
    for number in range(40):
        queue.put_nowait(EnginePacket(MESSAGE, str(number)))
    out, polls = [], 0
    while not queue.empty():
        out.append(await queue.get())
        polls += 1
        while True:
            try:
                out.append(queue.get_nowait())
            except asyncio.QueueEmpty:
                break
    assert [packet.data for packet in out] == [str(number) for number in range(40)]
    assert queue.size == 0
    assert polls == 3


async def test_poll_answers_with_few_packets(served):
    """Fifteen at most, and the rest with the next polls, in order."""
    texts = []
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        await asyncio.gather(*(served.log.append(str(number)) for number in range(100)))
        while len(texts) < 100:
            async with session.get(address) as answer:
                got = (await answer.text()).split("\x1e")
            assert len(got) <= MAX_PACKETS_OUT
            texts += [json.loads(packet[2:])[1] for packet in got]
    assert texts == [str(number) for number in range(100)]


async def test_python_client_on_polling_gets_a_long_catch_up(served):
    """It refuses an answer with more than 16 packets."""
    await asyncio.gather(*(served.log.append(str(number)) for number in range(1000)))
    bob = await ChatClient(served.url, "bob", transports=("polling",)).open()
    assert await bob.sees(1000) == [str(number) for number in range(1000)]
    await bob.close()


async def test_end_of_a_connection_is_not_in_the_answer_with_its_messages(served):
    """The official client would show them twice. Its next poll is refused instead."""
    async with aiohttp.ClientSession() as session:
        address = await opened(session, served.url)
        [socket] = served.sio.eio.sockets.values()
        answers = asyncio.create_task(session.get(address))
        while not socket.queue.idle:
            await turns()
        for text in ("one", "two"):
            socket.queue.put_nowait(EnginePacket(MESSAGE, text))
        await socket.close(wait=False)
        assert await (await answers).text() == "4one\x1e4two"
        async with session.get(address) as answer:
            assert answer.status == 400
        await asyncio.wait_for(socket.queue.join(), 10)
