"""A bad day: the mishaps happen to the tabs, their links and the server of a lab."""

import pytest
from labs import kinds

from chatlab.harness import Mishap, bad_day
from chatlab.lab.lab import Lab
from chatlab.server.app import chat

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_bad_day_is_lived_through():
    """Whatever happens, at its end every tab is back, and the finished server has lost nothing."""
    async with Lab(chat, process=True, heartbeat=1) as lab:
        await lab.join("ann", "bob")
        day = bad_day(1, ["ann", "bob"], 60, kills=1)
        await lab.live_through([*day, Mishap("freeze", "ann"), Mishap("drop", "bob")])
        assert (await lab.verdict()).valid
        assert all(tab.connected for tab in lab.clients.values())
        assert kinds(lab, "server") == ["kill", "start"]
        assert len(kinds(lab, "ann")) > 30


async def test_bad_day_with_outboxes_loses_nothing():
    """Nobody waits for a connection, and every message is there in the end, also one that the last
    mishap has left in a frozen line."""
    async with Lab(chat, process=True, heartbeat=1) as lab:
        await lab.join("ann", "bob")
        day = bad_day(2, ["ann", "bob"], 60, kills=1)
        end = [Mishap("freeze", "ann"), Mishap("send", "ann"), Mishap("drop", "bob")]
        await lab.live_through([*day, *end, Mishap("send", "bob")], post=True)
        verdict = await lab.verdict(promised=True)
        assert (verdict.valid, verdict.unacknowledged) == (True, ())
        sent = sum(mishap.kind == "send" for mishap in day) + 2
        assert len(lab.clients["ann"].shown) == sent


async def test_bad_day_with_a_kill_needs_a_process():
    """A server in a thread goes on, and no kill is recorded that did not happen."""
    async with Lab(chat) as lab:
        with pytest.raises(RuntimeError, match="killed"):
            await lab.live_through([Mishap("kill", "server")])
        assert lab.server.running
        assert kinds(lab, "server") == []
