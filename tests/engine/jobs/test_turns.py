"""Fair turns: nobody starves, whatever the others queue; and the list tells what the claims then do."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from queues import claim_next, new_job, opened

from latentloom.engine.jobs.turns import Waiting, in_turn, merged

OWNERS = "abcd"
JOBS = st.lists(st.tuples(st.sampled_from(OWNERS), st.integers(0, 1)), max_size=30).map(
    lambda pairs: [Waiting(owner, priority, str(n)) for n, (owner, priority) in enumerate(pairs)]
)
TURNS = st.dictionaries(st.sampled_from(OWNERS), st.integers(1, 9))


def own_order(jobs):
    """Jobs as an owner would have them: by priority, then as they came."""
    return sorted(jobs, key=lambda job: -job.priority)


@given(JOBS, TURNS)
def test_each_job_comes_once_and_nobodys_own_order_changes(jobs, turns):
    found = list(in_turn(own_order(jobs), turns))

    assert sorted(found) == sorted(jobs)
    for owner in OWNERS:
        assert [job for job in found if job.owner == owner] == own_order(job for job in jobs if job.owner == owner)


@given(JOBS, TURNS)
def test_a_higher_priority_comes_first(jobs, turns):
    assert [job.priority for job in in_turn(own_order(jobs), turns)] == sorted(
        (job.priority for job in jobs), reverse=True
    )


@given(JOBS, TURNS)
def test_between_two_turns_of_an_owner_everybody_who_waits_has_one(jobs, turns):
    found = list(in_turn(own_order(jobs), turns))

    for owner in OWNERS:
        own = [n for n, job in enumerate(found) if job.owner == owner]
        for last, again in itertools.pairwise(own):
            if found[last].priority == found[again].priority:
                waiting = {job.owner for job in found[again:] if job.priority == found[again].priority}
                assert waiting - {owner} <= {job.owner for job in found[last:again]}


@given(JOBS, TURNS)
def test_the_first_jobs_are_found_without_reading_the_others(jobs, turns):
    read = []
    own = [[job for job in own_order(jobs) if job.owner == owner] for owner in OWNERS]
    found = list(itertools.islice(merged([(read.append(job) or job for job in some) for some in own], turns), 3))

    assert found == list(in_turn(own_order(jobs), turns))[:3]
    assert len(read) <= len(OWNERS) + len(found)


def test_a_flood_of_one_owner_does_not_hold_up_another(tmp_path):
    queue, _, connection = opened(tmp_path / "queue.db")
    for n in range(100):
        queue.submit(new_job(f"flood{n}", owner="a"))
    claim_next(queue)
    for n in range(3):
        queue.submit(new_job(f"few{n}", owner="b"))

    assert queue.waiting(5) == ["few0", "flood1", "few1", "flood2", "few2"]
    connection.close()


def test_turns_survive_a_restart(tmp_path):
    queue, _, connection = opened(tmp_path / "queue.db")
    for id, owner in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        queue.submit(new_job(id, owner=owner))
    assert claim_next(queue).job.id == "a1"
    connection.close()

    queue, _, connection = opened(tmp_path / "queue.db")
    assert [claim_next(queue).job.id for _ in range(2)] == ["b1", "a2"]
    connection.close()


def test_the_choice_reads_few_rows_of_each_owner_however_many_wait(tmp_path):
    queue, _, connection = opened(tmp_path / "queue.db")
    plans = []
    for statement in ("SELECT min(owner) {} > ''", "SELECT id {} = 'a' ORDER BY priority DESC, position, seq"):
        text = statement.format("FROM jobs WHERE state = 'queued' AND device = 1 AND owner")
        plans += [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]

    assert all("jobs_by_turn" in plan for plan in plans), plans
    assert not any("TEMP B-TREE" in plan for plan in plans), plans
    assert claim_next(queue) is None
    connection.close()
