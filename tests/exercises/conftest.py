"""What the tests of exercises are given."""

import pytest

from chatlab.course import exercise


@pytest.fixture
def little_patience(monkeypatch):
    """An answer that does not end is ended soon. Not for right answers: a machine may be busy.

    But later than a right one ends as a rule: what is ended counts as refused.
    """
    monkeypatch.setattr(exercise, "PATIENCE", 5)
