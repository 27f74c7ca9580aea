"""A short trial of `tests/kills.py`; the long ones are run by hand."""

from kills import Trial


def test_random_kills_lose_nothing_and_do_nothing_twice(tmp_path):
    tally = Trial(tmp_path / "home", seed=7).run(kills=6, seconds=500)

    assert tally.faults() == {}
    assert (tally.kills, tally.accepted > 0) == (6, True)
