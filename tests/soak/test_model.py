"""Two tabs and a server against the simplest model of a chat: a list of what each has written.

Hypothesis makes up what happens. CHATLAB_RUNS=50 makes it fewer runs.
"""

import asyncio
import contextlib
import os
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from support import Forgetful, Keyless

from chatlab.client.outbox import Outbox
from chatlab.client.tab import ChatClient
from chatlab.lab.lab import Lab
from chatlab.log.sqlite import MessageLog
from chatlab.server.app import chat

RUNS, STEPS = int(os.environ.get("CHATLAB_RUNS", "500")), 12
tabs = st.sampled_from(["ann", "bob"])


class World:
    """One lab for all runs, since a process takes a while to start. Its log grows with them."""

    def __init__(self, outbox):
        self.tab = partial(ChatClient, outbox=outbox)
        self.written = {"ann": [], "bob": []}
        self.runner = asyncio.Runner()

    def __enter__(self):
        self.lab = self.run(Lab(chat, name="model", process=True).open())
        return self

    def __exit__(self, *exc_info):
        self.run(self.lab.close())
        self.runner.close()

    def run(self, action):
        return self.runner.run(action)

    def write(self, who):
        """Let somebody write something that nobody has written before."""
        self.written[who].append(f"{who} {len(self.written[who])}")
        self.lab.clients[who].post(self.written[who][-1])


def machine(world):
    """Make the machine whose runs happen in this world."""
    lab = world.lab

    class Chat(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            world.run(lab.join("ann", "bob", tab=world.tab))

        @rule(who=tabs, count=st.integers(1, 3))
        def write(self, who, count):
            async def write():
                for _ in range(count):
                    world.write(who)

            world.run(write())

        @rule(who=tabs)
        def drop(self, who):
            world.run(lab.clients[who].drop())

        @rule(who=tabs, how=st.sampled_from(["reconnect", "reload"]))
        def come_back(self, who, how):
            async def come_back():
                with contextlib.suppress(ConnectionError):  # the server may be away
                    await getattr(lab.clients[who], how)()

            world.run(come_back())

        @precondition(lambda self: lab.server.running)
        @rule(who=tabs, direction=st.sampled_from(["up", "down"]))
        def lose(self, who, direction):
            """Lose a message on its way to the server, or the answer on its way back."""

            async def lose():
                tab, link = lab.clients[who], lab.links[who]
                await tab.until(lambda: not tab.posting)
                link.freeze(direction)
                world.write(who)
                if tab.connected:
                    await link.lose()
                link.thaw()

            world.run(lose())

        @precondition(lambda self: lab.server.running)
        @rule(end=st.sampled_from(["kill", "stop"]))
        def end(self, end):
            world.run(getattr(lab, end)())

        @precondition(lambda self: not lab.server.running)
        @rule()
        def start(self):
            world.run(lab.start())

        def teardown(self):
            world.run(self.compare())

        async def compare(self):
            """Let everybody come back: the log and both pages hold what the model holds."""
            await lab.start()
            for tab in lab.clients.values():
                if not tab.returning:
                    await tab.reconnect()
            await lab.quiet()
            async with MessageLog(lab.db) as log:
                stored = await log.after(0)
            texts = [text for _, text in stored]
            for who, written in world.written.items():
                assert [text for text in texts if text.startswith(who)] == written
                assert lab.clients[who].shown == stored

    return Chat


def compare(outbox, runs, **options):
    steps = settings(
        max_examples=runs,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        **options,
    )
    with World(outbox) as world:
        run_state_machine_as_test(machine(world), settings=steps)


@pytest.mark.timeout(1200)
def test_chat_and_list_never_differ():
    """Write, drop, come back, kill, stop, start, lose a message or an answer, in any order."""
    compare(Outbox, RUNS)


@pytest.mark.parametrize("outbox", [Forgetful, Keyless])
def test_outbox_that_promises_less_differs(outbox):
    """The controls."""
    with pytest.raises(AssertionError):
        compare(outbox, 50, phases=[Phase.generate])
