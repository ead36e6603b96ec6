"""Bad days that are made up by chance."""

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
