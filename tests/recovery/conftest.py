"""What the tests of recovery are given."""

import pytest
from recovering import bench


@pytest.fixture
async def server(tmp_path):
    """A server with recovery, on the test's own loop and with a clock of the test's own."""
    async with bench(tmp_path) as made:
        yield made
