"""What the tests of exercises are given."""

import pytest

from chatlab.course import exercise


@pytest.fixture
def little_patience(monkeypatch):
    """An answer that does not end is ended soon. Not for right answers: a machine may be busy."""
    monkeypatch.setattr(exercise, "PATIENCE", 2)
