"""A short trial of a server; `make soak` makes long ones, with sessions."""

from server_trial import ServerTrial

MOVES = ("leave", "worker", "remove", "kill", "leave", "power", "remove", "worker", "kill")


def test_random_kills_lose_nothing_and_do_nothing_twice(tmp_path):
    tally = ServerTrial(tmp_path / "home", seed=7).run(MOVES, seconds=500)

    assert tally.faults == {}
    assert (tally.moves.total(), tally.accepted > 0) == (len(MOVES), True)
