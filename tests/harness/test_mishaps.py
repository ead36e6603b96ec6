"""Bad days that are made up by chance."""

import pytest

from chatlab.harness.mishaps import bad_day


def test_bad_day_is_the_same_for_the_same_seed():
    """And another one for another seed; kills are spread over it."""
    day = bad_day(7, ["ann", "bob"], 100, kills=3)
    assert (
        day == bad_day(7, {"bob", "ann"}, 100, kills=3) != bad_day(8, ["ann", "bob"], 100, kills=3)
    )
    assert len(day) == 103
    kills = [place for place, mishap in enumerate(day) if mishap.kind == "kill"]
    assert [place // 25 for place in kills] == [1, 2, 3]
    assert {mishap.who for mishap in day} == {"ann", "bob", "server"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"names": "ann"}, "names is a list of names, not 'ann'"),
        ({"names": []}, "names has at least one name"),
        ({"length": 1.5}, "length is a number of mishaps, not 1.5"),
        ({"kills": -1}, "kills is a number of mishaps, not -1"),
        ({"sends": 70}, "sends is between 0 and 1, not 70"),
    ],
    ids=str,
)
def test_day_that_cannot_be_made_up_is_refused(change, sentence):
    """With the rule for what is wrong."""
    with pytest.raises(ValueError, match=sentence):
        bad_day(**{"seed": 7, "names": ["ann"], "length": 10} | change)
