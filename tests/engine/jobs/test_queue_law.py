"""The queue against a model of a dozen lines: whatever is asked in whatever order, both tell the same."""

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from queues import claim_next, new_job, opened

from latentloom.engine.jobs.attempts import Limits
from latentloom.engine.jobs.database import transaction
from latentloom.engine.jobs.faults import StaleAttempt, WrongState
from latentloom.engine.jobs.states import ACTIVE, FINAL, NEXT

STATE_OF = {
    "job_queued": "queued",
    "job_requeued": "queued",
    "job_claimed": "claimed",
    "job_running": "running",
    "job_cancelling": "cancelling",
    "job_done": "done",
    "job_failed": "failed",
    "job_cancelled": "cancelled",
}


OWNERS = st.sampled_from("xy")


@dataclass
class Expected:
    state: str
    owner: str
    priority: int
    device: bool
    place: float
    token: int = 0
    deaths: int = 0


class QueueLaw(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "queue.db"
        self.queue, self.history, self.connection = opened(self.path, limits=Limits(queued=1000, ends=10**6))
        self.model: dict[str, Expected] = {}
        self.turns: dict[str, int] = {}
        self.paused = False
        self.places = 0.0

    def teardown(self):
        self.check_history()
        self.connection.close()
        self.folder.cleanup()

    def act(self, call, *args, **kwargs):
        with transaction(self.connection, durable=False):
            return call(*args, **kwargs)

    @rule(target=jobs, owner=OWNERS, priority=st.integers(-2, 2), device=st.booleans(), front=st.booleans())
    def submit(self, owner, priority, device, front):
        id = f"job{len(self.model)}"
        self.act(self.queue.submit, new_job(id, owner=owner, priority=priority, device=device), front=front)
        self.places += 1
        self.model[id] = Expected("queued", owner, priority, device, -self.places if front else self.places)
        return id

    def order(self, turns, waiting):
        """The order of some jobs: priority, then whose turn was the longest ago, then the owner's own order."""
        if not waiting:
            return []
        first = min(waiting, key=lambda i: self.place(i, turns))
        later = {**turns, self.model[first].owner: max(turns.values(), default=0) + 1}
        return [first, *self.order(later, waiting - {first})]

    def place(self, id, turns):
        expected = self.model[id]
        return -expected.priority, turns.get(expected.owner, 0), expected.owner, expected.place

    def next_for(self, device):
        order = self.order(self.turns, {id for id, e in self.model.items() if e.state == "queued"})
        own = self.order(self.turns, {id for id in order if self.model[id].device == device})
        return next(iter(own or (order if device else [])), None)

    @rule(device=st.booleans())
    def claim(self, device):
        claim = self.act(claim_next, self.queue, "worker", device=device)
        wanted = None if self.paused else self.next_for(device)
        assert (claim and claim.job.id) == wanted
        if claim is not None:
            expected = self.model[claim.job.id]
            assert claim.token > max((e.token for e in self.model.values()), default=0)
            expected.state, expected.token = "claimed", claim.token
            self.turns[expected.owner] = claim.token

    @rule(id=jobs, late=st.booleans())
    def begin(self, id, late):
        expected = self.model[id]
        if expected.state in ACTIVE and not late:
            self.act(self.queue.begin, id, expected.token)
            expected.state = "running" if expected.state == "claimed" else expected.state
        else:
            self.refused(self.queue.begin, id, expected.token - late)

    @rule(id=jobs, state=st.sampled_from(FINAL), late=st.booleans())
    def finish(self, id, state, late):
        expected = self.model[id]
        if expected.state in ("running", "cancelling") and not late:
            self.act(self.queue.finish, id, expected.token, state, {})
            expected.state = state
        elif expected.state != "claimed" or late:
            self.refused(self.queue.finish, id, expected.token - late, state, {})

    @rule(id=jobs, counts=st.booleans())
    def release(self, id, counts):
        expected = self.model[id]
        if expected.state not in ACTIVE:
            self.refused(self.queue.release, id, expected.token, "it died")
            return
        self.act(self.queue.release, id, expected.token, "it died", counts=counts)
        self.given_up(expected, counts)

    def given_up(self, expected, counts):
        cancelled = expected.state == "cancelling"
        expected.deaths += counts
        dead = expected.deaths >= 2
        expected.state = "cancelled" if cancelled else "failed" if dead else "queued"

    @rule(data=st.data())
    def take_back(self, data):
        active = {e.token: e for e in self.model.values() if e.state in ACTIVE}
        assert self.queue.attempts() == active.keys()
        held = data.draw(st.sets(st.sampled_from(sorted(active)))) if active else set()
        self.act(self.queue.take_back, held, "it was lost")
        for token in active.keys() - held:
            self.given_up(active[token], counts=False)  # the server's own fault

    def refused(self, call, *args):
        try:
            self.act(call, *args)
        except StaleAttempt:
            return
        raise AssertionError("a stale report was taken")

    @rule(id=jobs)
    def cancel(self, id):
        expected = self.model[id]
        if expected.state in ("done", "failed"):
            try:
                self.act(self.queue.cancel, id)
            except WrongState:
                return
            raise AssertionError("a finished job was cancelled")
        self.act(self.queue.cancel, id)
        after = {"queued": "cancelled", "claimed": "cancelling", "running": "cancelling"}
        expected.state = after.get(expected.state, expected.state)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def move_before(self, data):
        waiting = sorted(id for id, e in self.model.items() if e.state == "queued")
        if len(waiting) < 2:
            return
        id, other = data.draw(st.permutations(waiting))[:2]
        self.act(self.queue.move, id, before=other)
        moved, target = self.model[id], self.model[other]
        moved.priority = target.priority
        ahead = [
            e.place
            for i, e in self.model.items()
            if e.state not in FINAL and e.priority == target.priority and i != id and e.place < target.place
        ]
        moved.place = (max(ahead) + target.place) / 2 if ahead else target.place - 1e-3

    @rule(paused=st.booleans())
    def pause(self, paused):
        self.act(self.queue.pause, paused)
        self.paused = paused

    @rule()
    def restart(self):
        self.connection.close()
        self.queue, self.history, self.connection = opened(self.path, limits=Limits(queued=1000, ends=10**6))
        self.act(self.queue.recover)
        for expected in self.model.values():
            if expected.state in ACTIVE:
                expected.state = "cancelled" if expected.state == "cancelling" else "queued"

    @invariant()
    def they_agree(self):
        assert {job.id: job.state for job in self.queue.page(limit=1000)} == {i: e.state for i, e in self.model.items()}
        assert self.queue.waiting(1000) == self.order(
            self.turns, {id for id, e in self.model.items() if e.state == "queued"}
        )

    def check_history(self):
        states: dict[str, str] = {}
        rows = self.connection.execute(
            "SELECT job, json_extract(record, '$.event') FROM events ORDER BY number"
        ).fetchall()
        for job, event in rows:
            state = STATE_OF.get(event)
            if state is not None:
                assert job not in states or state in NEXT[states[job]]
                states[job] = state
        assert states == {id: e.state for id, e in self.model.items()}


QueueLaw.TestCase.settings = settings(max_examples=30, stateful_step_count=40, suppress_health_check=list(HealthCheck))
test_the_queue_does_what_the_model_does = QueueLaw.TestCase


def test_the_database_is_an_ordinary_file(tmp_path):
    opened(tmp_path / "queue.db")[2].close()

    assert sqlite3.connect(tmp_path / "queue.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_came_in_front_of_a_running_job_stays_in_front_of_it_when_that_begins_again():
    law = QueueLaw()
    first = law.submit(owner="x", priority=0, device=False, front=False)
    law.claim(device=True)
    second = law.submit(owner="x", priority=0, device=False, front=True)
    law.restart()

    assert law.queue.waiting(10) == [second, first]
    law.teardown()
