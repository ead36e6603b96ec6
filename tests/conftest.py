"""What the tests are given."""

import pytest
from support import serving


@pytest.fixture
async def served(tmp_path):
    """The finished server, on the test's own loop."""
    async with serving(tmp_path / "chat.db") as server:
        yield server
