"""Chaos in a real browser: what is written on the page is stored exactly once, and in order.

CHATLAB_SEEDS and CHATLAB_MESSAGES are those of test_chaos, but the messages are those of all tabs
together, apart from those that are written around each kill.
"""

import os
from collections import Counter

import pytest
from browser_tabs import Crowd
from support import WITHOUT_KEY, missing, stored

from chatlab.harness import bad_day
from chatlab.page import BROWSER_CLIENT

TABS, KILLS = 20, 3
MESSAGES = int(os.environ.get("CHATLAB_MESSAGES", "400"))
SENDS = 0.6
SEEDS = range(int(os.environ.get("CHATLAB_SEEDS", "1")))
WITHOUT_RESENDING = (
    "outbox.js",
    "(answer) => this.#answered(message, answer));",
    "() => {});\n    this.remove(message);",
)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def client():
    if not BROWSER_CLIENT.exists():
        missing("the Socket.IO browser client is not installed: npm was missing at the set-up")


def names(count):
    return [f"tab{number:02}" for number in range(count)]


async def short_day(db, change):
    """Let a few tabs live through a short day with a changed script.

    Return what was posted, and what was stored.
    """
    async with Crowd(names(4), db, change) as crowd:
        await crowd.live_through(bad_day(SEEDS[0], crowd.names, 20, kills=1, sends=SENDS))
        posted = [text for tab in crowd.tabs.values() for text in tab.posted]
    return Counter(posted), Counter(stored(db))


@pytest.mark.parametrize("seed", SEEDS)
async def test_page_stores_everything_once_in_order(seed, tmp_path):
    """Cuts, freezes, half-open links, reloads, dropped lines, three times kill -9."""
    db = tmp_path / "chat.db"
    async with Crowd(names(TABS), db) as crowd:
        length = round(MESSAGES / SENDS)
        await crowd.live_through(bad_day(seed, crowd.names, length, kills=KILLS, sends=SENDS))
        shown = await crowd.shown()
        table = stored(db)
        for tab in crowd.tabs.values():
            assert [text for text in table if text.startswith(f"{tab.name} ")] == tab.posted
        assert len(table) == sum(len(tab.posted) for tab in crowd.tabs.values())
        for tab, texts in zip(crowd.tabs, shown, strict=True):
            assert (tab, texts) == (tab, table)


async def test_page_without_keys_stores_some_twice(tmp_path):
    """The control: the same script, but what is sent again cannot be recognized."""
    posted, table = await short_day(tmp_path / "chat.db", WITHOUT_KEY)
    assert set(table) == set(posted)
    assert max(table.values()) > 1


async def test_page_without_resending_loses_some(tmp_path):
    """The control: a message is dropped once it was sent, and nothing is stored twice."""
    posted, table = await short_day(tmp_path / "chat.db", WITHOUT_RESENDING)
    assert set(table) < set(posted)
    assert max(table.values()) == 1
