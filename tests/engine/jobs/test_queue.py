import json
import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from queues import claim_next, new_job, opened, seen_by

from latentloom.engine.jobs.attempts import Limits
from latentloom.engine.jobs.batches import Batches
from latentloom.engine.jobs.database import VERSION, connect, transaction
from latentloom.engine.jobs.effects import Effects
from latentloom.engine.jobs.faults import DatabaseError, EffectUnknown, KeyReused, QueueFull, UnknownJob, WrongState
from latentloom.engine.jobs.history import EPOCH, RESERVE
from latentloom.engine.jobs.outputs import Outputs
from latentloom.engine.jobs.retention import Keep, prune_files, prune_jobs, prune_rest
from latentloom.engine.jobs.serving import Ownership, Serving, serving_in
from latentloom.engine.jobs.webhooks import Webhooks


@pytest.fixture
def made(tmp_path):
    queue, history, connection = opened(tmp_path / "queue.db")
    yield queue, history, connection
    connection.close()


def events(history):
    return [json.loads(stored.text)["event"] for stored in history.after(0)]


def test_a_job_from_submit_to_done(made):
    queue, history, _ = made

    queue.submit(new_job("a", name="picture"))
    claim = claim_next(queue, "w1")
    queue.begin("a", claim.token)
    done = queue.finish("a", claim.token, "done", {"outputs": {"n": 1}})

    assert (done.state, done.result) == ("done", {"outputs": {"n": 1}})
    assert events(history) == ["job_queued", "job_claimed", "job_running", "job_done"]


def test_an_event_reads_the_same_whenever_it_is_read(made):
    queue, history, _ = made
    queue.submit(new_job("a", name="ü"))

    assert history.take() == history.after(0)
    assert history.after(0)[0].text == '{"number":1,"job":"a","time":1000.0,"event":"job_queued","name":"ü"}'


def test_the_same_key_gives_the_same_job(made):
    queue, *_ = made
    queue.submit(new_job("a", idempotency_key="k", request="r"))

    assert queue.submit(new_job("b", idempotency_key="k", request="r")).id == "a"
    assert queue.submit(new_job("c", idempotency_key="k", request="r", owner="other")).id == "c"
    with pytest.raises(KeyReused, match="that idempotency key belongs to a different request"):
        queue.submit(new_job("d", idempotency_key="k", request="s"))


def test_a_full_queue_takes_no_more(tmp_path):
    queue, *_ = opened(tmp_path / "queue.db", Limits(queued=2, queued_per_owner=1))
    queue.submit(new_job("a", owner="x"))

    with pytest.raises(QueueFull, match="the share of 'x' is full"):
        queue.submit(new_job("b", owner="x"))
    queue.submit(new_job("b", owner="y"))
    with pytest.raises(QueueFull, match="the queue is full"):
        queue.submit(new_job("c", owner="z"))


def test_two_deaths_fail_a_job_and_a_stop_does_not_count(made):
    queue, *_ = made
    queue.submit(new_job("poison"))
    states = []
    for counts in (True, False, True):
        claim = claim_next(queue)
        states.append(queue.release("poison", claim.token, "signal 11", counts=counts).state)

    assert states == ["queued", "queued", "failed"]
    assert queue.job("poison").problems == (
        {"code": "worker_died", "message": "the worker died 2 times while it ran this job; the last time: signal 11"},
    )


def test_what_is_in_nobodys_hands_is_queued_again(made):
    queue, *_ = made
    for name in ("held", "loose", "leaving", "waiting"):
        queue.submit(new_job(name))
    held, loose, leaving = (claim_next(queue) for _ in range(3))
    queue.cancel("leaving")
    assert queue.attempts() == {held.token, loose.token, leaving.token}

    back = queue.take_back({held.token}, "lost")

    assert [(job.id, job.state, job.deaths) for job in back] == [("loose", "queued", 0), ("leaving", "cancelled", 0)]
    assert [queue.job(name).state for name in ("held", "waiting")] == ["claimed", "queued"]


def test_twenty_ends_of_the_server_fail_a_job(made):
    queue, *_ = made
    queue.submit(new_job("a"))
    for _ in range(19):
        claim_next(queue)
        queue.recover()
    assert queue.job("a").state == "queued"
    claim_next(queue)
    queue.recover()

    assert queue.job("a").problems[0]["code"] == "server_ended"


def test_jobs_move_into_gaps_without_end(made):
    queue, *_ = made
    for id in "abc":
        queue.submit(new_job(id))
    for n in range(100):
        queue.move("ac"[n % 2], before="b")

    assert queue.waiting() == ["a", "c", "b"]
    assert queue.move("b", to="front").id == queue.waiting()[0]


def test_what_is_not_there_or_over_cannot_be_changed(made):
    queue, *_ = made
    queue.submit(new_job("a"))
    queue.cancel("a")

    with pytest.raises(UnknownJob, match="there is no job 'b'"):
        queue.cancel("b")
    with pytest.raises(WrongState, match="the job cannot be moved: it is cancelled"):
        queue.move("a", to="front")


def test_cancel_all_spares_other_owners(made):
    queue, *_ = made
    queue.submit(new_job("a", owner="x"))
    queue.submit(new_job("b", owner="y"))

    assert seen_by("x", made).cancel_all() == ["a"]
    assert queue.counts() == {"cancelled": 1, "queued": 1}


def test_pages_go_back_in_time(made):
    queue, *_ = made
    for n in range(5):
        queue.submit(new_job(str(n), tags=("even",) if n % 2 == 0 else ()))

    assert [job.id for job in queue.page(limit=2)] == ["4", "3"]
    assert [job.id for job in queue.page(limit=2, before=queue.page(limit=2)[-1].seq)] == ["2", "1"]
    assert [job.id for job in queue.page(tag="even")] == ["4", "2", "0"]


def test_eight_who_claim_at_once_get_eight_jobs(tmp_path):
    queue, _, connection = opened(tmp_path / "queue.db")
    for n in range(40):
        queue.submit(new_job(str(n)))
    connection.close()

    def claims(worker):
        queue, _, connection = opened(tmp_path / "queue.db")
        found = []
        for _ in range(5):
            with transaction(connection, durable=False):
                claim = claim_next(queue, f"w{worker}")
            found.append((claim.job.id, claim.token))
        connection.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        found = [claim for claims in pool.map(claims, range(8)) for claim in claims]

    assert len({id for id, _ in found}) == len({token for _, token in found}) == 40


# The file


def test_a_newer_database_is_refused_and_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()

    with pytest.raises(DatabaseError, match="was written by a newer version of Latentloom"):
        connect(tmp_path / "queue.db")
    assert sqlite3.connect(tmp_path / "queue.db").execute("PRAGMA user_version").fetchone() == (VERSION + 1,)


def test_two_databases_are_two_streams(tmp_path):
    one, other = (opened(tmp_path / name)[1].stream() for name in ("a.db", "b.db"))
    assert one != other
    assert opened(tmp_path / "a.db")[1].stream() == one


def started(path, clock):
    """The next number that a server would give that starts on a database now."""
    _, history, connection = opened(path, clock=clock)
    with transaction(connection, durable=True):
        history.begin()
    number = history.append("", {"event": "queue_paused"})
    connection.close()
    return number


def test_a_number_is_never_given_twice(tmp_path):
    """After a power failure the newest numbers are gone; a copy that is put back never had them."""
    path, copy = tmp_path / "queue.db", tmp_path / "copy.db"
    first = started(path, lambda: 1000.0)
    shutil.copyfile(path, copy)
    second = started(path, lambda: 1000.0)
    now = EPOCH + second + 5  # some seconds later than so many milliseconds
    third = started(path, lambda: now)
    path.unlink()
    shutil.copyfile(copy, path)
    fourth = started(path, lambda: now + 1)

    assert (first, second) == (1, 1 + RESERVE)
    assert first < second < third < fourth


def test_a_data_folder_has_one_server_and_others_find_it(tmp_path):
    assert serving_in(tmp_path) is None
    own = Ownership(tmp_path)
    assert serving_in(tmp_path) is None

    own.tell(Serving("http://localhost:8420", ("cuda:0",)))
    with pytest.raises(DatabaseError, match="another server uses the data folder"):
        Ownership(tmp_path)
    assert serving_in(tmp_path) == Serving("http://localhost:8420", ("cuda:0",))
    own.close()
    assert serving_in(tmp_path) is None
    Ownership(tmp_path).close()


def test_a_transaction_is_all_or_nothing(made):
    queue, _, connection = made

    with pytest.raises(KeyError), transaction(connection, durable=True):
        queue.submit(new_job("a"))
        raise KeyError

    assert queue.counts() == {}


@pytest.mark.parametrize("point", ["queue.written", "queue.committed"])
def test_a_kill_around_the_commit_keeps_what_was_answered(tmp_path, point):
    script = f"""
import sys; sys.path.insert(0, {os.path.dirname(sys.modules["queues"].__file__)!r})
from pathlib import Path
from queues import new_job, opened, seen_by
from latentloom.engine.jobs.database import transaction
import os
queue, _, connection = opened(Path({str(tmp_path / "queue.db")!r}))
with transaction(connection, durable=True):
    queue.submit(new_job("a"))
print("answered", flush=True)
os.environ["LATENTLOOM_FAILPOINT"] = "{point}:kill"
with transaction(connection, durable=True):
    queue.submit(new_job("b"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    queue, *_ = opened(tmp_path / "queue.db")

    assert (done.returncode, done.stdout) == (-9, "answered\n")
    assert queue.waiting() == (["a"] if point == "queue.written" else ["a", "b"])


# Effects, outputs, retention

ABOUT = {
    "media": "image/png", "bytes": 10, "width": 2, "height": 3,
    "texts": "a red_circle\n50%", "models": ["shapes"], "choices": ["dpmpp_2m"], "seed": "7", "outputs": ["pictures"],
}  # fmt: skip


def saved(connection, queue, job, item=0, sha256="s", **fields):
    effects = Effects(connection, lambda: 1000.0)
    queue.submit(new_job(job, **fields))
    effects.intend(job, "save", item, f"{job}.png", sha256)
    effects.done(job, "save", item, ABOUT)


def test_an_effect_is_an_output_once(made):
    queue, _, connection = made
    saved(connection, queue, "a", tags=("t",), name="flow")
    Effects(connection).done("a", "save", 0, ABOUT)

    found = Outputs(connection).of_job("a")

    assert len(found) == 1
    assert (found[0].path, found[0].models, found[0].tags, found[0].workflow) == ("a.png", ("shapes",), ("t",), "flow")
    assert found[0].outputs == ("pictures",)


@pytest.mark.parametrize(
    ("conditions", "hits"),
    [
        ({"text": "circle red"}, 1),
        ({"text": "red-circle"}, 0),
        ({"text": "redxcircle"}, 0),
        ({"text": "50%"}, 1),
        ({"text": "5%0"}, 0),
        ({"text": "DPMPP_2m 7 shapes flow"}, 1),
        ({"text": "7 t euler"}, 0),
        ({"model": "shape"}, 1),
        ({"seed": "7"}, 1),
        ({"seed": "70"}, 0),
        ({"tag": "t"}, 1),
        ({"tag": "T"}, 0),
        ({"workflow": "flow"}, 1),
        ({"job": "b"}, 0),
    ],
)
def test_outputs_are_found_by(made, conditions, hits):
    queue, _, connection = made
    saved(connection, queue, "a", tags=("t",), name="flow")

    assert len(Outputs(connection).search(**conditions)) == hits


def test_a_body_whose_effect_nobody_saw_is_not_begun_twice(made):
    _, _, connection = made
    effects = Effects(connection)
    effects.begin("a", "mail")

    with pytest.raises(EffectUnknown, match="its effect may have happened"):
        effects.begin("a", "mail")


def test_old_and_many_jobs_go_and_running_ones_stay(made):
    queue, _, connection = made
    for id in "abcd":
        queue.submit(new_job(id))
    for id in "abc":
        queue.cancel(id)

    assert prune_jobs(connection, Keep(seconds=10, jobs=2), now=1000) == ["a"]
    assert sorted(job.id for job in queue.page()) == ["b", "c", "d"]
    assert sorted(prune_jobs(connection, Keep(seconds=10, jobs=2), now=1011)) == ["b", "c"]
    rows = connection.execute("SELECT DISTINCT job FROM events").fetchall()
    assert [tuple(row) for row in rows] == [("d",)]


def test_a_job_stays_while_somebody_has_yet_to_be_told_of_its_end(made):
    queue, _, connection = made
    queue.submit(new_job("a", webhook="http://example.org/"))
    queue.cancel("a")
    webhooks = Webhooks(connection, Batches(connection, queue), lambda: 1000.0)

    assert prune_jobs(connection, Keep(seconds=0, jobs=1), now=9999) == []
    (call,) = webhooks.due()
    assert call.about.id == "a"
    webhooks.told(call)
    assert prune_jobs(connection, Keep(seconds=0, jobs=1), now=9999) == ["a"]


def test_events_of_no_job_go_by_age(made):
    queue, history, connection = made
    queue.pause(True)
    queue.submit(new_job("a"))

    prune_rest(connection, Keep(seconds=10, jobs=2), now=1010)
    assert events(history) == ["queue_paused", "job_queued"]
    prune_rest(connection, Keep(seconds=10, jobs=2), now=1011)
    assert events(history) == ["job_queued"]


def test_files_go_by_bytes_only_when_asked(made):
    queue, _, connection = made
    for id in "abc":
        saved(connection, queue, id)
    outputs = Outputs(connection)

    assert prune_files(outputs, Keep(seconds=1, jobs=1)) == ()
    assert [output.job for output in prune_files(outputs, Keep(seconds=1, jobs=1, file_bytes=15))] == ["a", "b"]
    assert [output.job for output in outputs.search()] == ["c"]
