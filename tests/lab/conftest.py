"""Every test of the lab ends with no lab, no server and no thread more than before."""

import pytest


@pytest.fixture(autouse=True)
def ends_clean(request):
    """A kernel is another process; the client of Jupyter keeps a thread of its own here."""
    if "kernel" not in request.fixturenames:
        request.getfixturevalue("nothing_left")
