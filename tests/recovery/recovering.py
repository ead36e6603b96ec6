"""A server with recovery in the hands of a test, and what its clients get."""

import asyncio
import contextlib
import json
from functools import partial

from support import Clock, here, serving, turns

from chatlab.recovery.recovery import Recovery, recovered


@contextlib.asynccontextmanager
async def life(place, store, handlers=lambda sio, log: None, **options):
    """One life of a server whose log is at a place, and its sessions where `store` puts them."""
    made = partial(Recovery, store=store(place) if store else None, **options)
    async with serving(place, handlers, recovery=made) as served:
        yield served


async def value(wire):
    """Return the value in the next event, and its offset."""
    _, found, offset = json.loads((await wire.packet()).removeprefix("42"))
    return found, offset


class Bench:
    """A server with recovery, and what its handlers saw."""

    def __init__(self, served, recovery, clock, handlers):
        self.url, self.sio, self.recovery, self.clock = served.url, served.sio, recovery, clock
        self.manager, self.registry, self.seen = recovery.manager, recovery.registry, handlers
        self.hold = None

    async def emit(self, count, first=0, **options):
        for number in range(first, first + count):
            await self.sio.emit("tick", number, **options)

    async def gone(self, sid):
        """Wait until the server has noticed that a client is gone."""
        async with asyncio.timeout(5):
            while sid in self.registry.connected:
                await turns()


@contextlib.asynccontextmanager
async def bench(tmp_path, **options):
    clock, seen, made = Clock(), [], []
    recovery = Recovery(clock=clock, first=0)

    def handlers(sio, log):
        @sio.event
        async def connect(sid, environ, auth):
            seen.append(("connect", sid, recovered(sio, sid)))
            if made[0].hold:
                await made[0].hold.here()
            if auth and auth.get("refuse"):
                return False
            if auth and auth.get("fail"):
                raise LookupError("the handler fails")

        @sio.event
        async def disconnect(sid, reason):
            seen.append(("disconnect", sid))

        @sio.event
        async def join(sid, room):
            await sio.enter_room(sid, room)
            await sio.save_session(sid, {"room": room})

        made.append(None)

    async with serving(
        tmp_path / "chat.db", handlers, recovery=lambda: recovery, **options
    ) as served:
        made[0] = Bench(served, recovery, clock, seen)
        yield made[0]


async def come_and_go(server, auth=None, count=0):
    """Connect, be sent `count` events, and break off; return the answer and the last offset."""
    async with here(server, auth) as (wire, answer):
        await server.emit(count)
        offset = [(await event(wire))[1] for _ in range(count)][-1:]
        wire.ws._response.connection.transport.abort()
    await server.gone(answer["sid"])
    return answer, offset[0] if offset else None


async def event(wire):
    """Return the next event's value and its offset."""
    name, value, offset = json.loads((await wire.packet()).removeprefix("42"))
    assert name == "tick"
    return value, offset


async def events(wire, count):
    return [(await event(wire))[0] for _ in range(count)]


async def nothing_more(server, wire):
    """Assert that nothing waits: the next event is one that is emitted now."""
    await server.sio.emit("tick", "last")
    assert (await event(wire))[0] == "last"
