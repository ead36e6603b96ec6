import pytest

import chatlab.course.ladder
import chatlab.lab.quiet

LONG = 60.0


@pytest.fixture
def unhurried(monkeypatch):
    """A server may take its time: on a busy machine, one that is right would fall by the clock."""
    monkeypatch.setattr(chatlab.course.ladder, "PATIENCE", LONG)
    monkeypatch.setattr(chatlab.lab.quiet, "PATIENCE", LONG)
