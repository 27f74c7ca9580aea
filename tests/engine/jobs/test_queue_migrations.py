"""Queues that older versions wrote: files of each schema, opened by today's code with everything still there."""

import sqlite3
from pathlib import Path

import pytest
from queues import claim_next, new_job, opened, seen_by

from latentloom.engine.jobs.batches import Batches
from latentloom.engine.jobs.database import VERSION, connect
from latentloom.engine.jobs.outputs import Outputs
from latentloom.engine.jobs.webhooks import Webhooks
from latentloom.web.workflow_store import WorkflowStore

FILES = Path(__file__).parents[2] / "data" / "queues"
OLD = range(1, VERSION)
JOBS = ("done", "failed", "cancelled", "running", "waiting-2", "waiting-1", "urgent")


def written(folder, schema):
    """The path of a queue that a schema wrote."""
    path = folder / "queue.db"
    connection = sqlite3.connect(path)
    connection.executescript((FILES / f"schema-{schema}.sql").read_text(encoding="utf-8"))
    connection.close()
    return path


def rows(path, statement):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def shape(path):
    """Tables with their columns, and indices with theirs, whatever the order in which they were made."""
    names = rows(path, "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    pragma = {"table": "table_info", "index": "index_info"}
    return {
        (kind, name): sorted(row[1 if kind == "table" else 2 :] for row in rows(path, f"PRAGMA {pragma[kind]}({name})"))
        for kind, name in names
    }


def test_there_is_a_file_of_each_old_schema():
    assert sorted(path.name for path in FILES.iterdir()) == [f"schema-{number}.sql" for number in OLD]


@pytest.mark.parametrize("schema", OLD)
def test_an_old_queue_becomes_like_a_new_one(tmp_path, schema):
    old = written(tmp_path, schema)
    connect(old).close()
    connect(tmp_path / "new.db").close()

    assert shape(old) == shape(tmp_path / "new.db")
    assert rows(old, "PRAGMA user_version") == [(VERSION,)]
    assert rows(old, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("schema", OLD)
def test_every_job_is_intact(tmp_path, schema):
    old = written(tmp_path, schema)
    columns = ", ".join(row[1] for row in rows(old, "PRAGMA table_info(jobs)"))
    before = rows(old, f"SELECT {columns} FROM jobs ORDER BY seq")

    made = queue, _, connection = opened(old)

    assert rows(old, f"SELECT {columns} FROM jobs ORDER BY seq") == before
    assert tuple(job.id for job in reversed(queue.page())) == JOBS
    assert [queue.job(id).state for id in JOBS] == ["done", "failed", "cancelled", "running", *["queued"] * 3]
    done = queue.job("done")
    assert (done.owner, done.tags, done.result) == ("ann", ("stars", "a'b"), {"outputs": {"n": 1}})
    assert queue.job("failed").problems == ({"code": "node_failed", "message": "broken"},)
    assert queue.submit(new_job("again", owner="ann", idempotency_key="k", request="r")).id == "done"
    assert tuple(job.id for job in seen_by("bob", made).page()) == ("waiting-1", "failed")
    assert "ü" in queue.job("running").document
    connection.close()


@pytest.mark.parametrize("schema", OLD)
def test_what_waited_and_what_ran_goes_on(tmp_path, schema):
    queue, _, connection = opened(written(tmp_path, schema))

    assert queue.paused
    queue.pause(False)
    assert queue.recover() == ["running"]
    order = queue.waiting()
    claims = [claim_next(queue) for _ in order]
    assert [claim.job.id for claim in claims[:2]] == ["urgent", "running"]
    assert sorted(claim.job.id for claim in claims) == ["running", "urgent", "waiting-1", "waiting-2"]
    assert min(claim.token for claim in claims) == 4
    queue.begin("running", claims[1].token)
    queue.finish("running", claims[1].token, "done", {})
    webhooks = Webhooks(connection, Batches(connection, queue), lambda: 2000.0)
    assert [call.about.id for call in webhooks.due()] == ["running"]
    connection.close()


@pytest.mark.parametrize("schema", OLD)
def test_events_keep_their_numbers_and_get_the_owners_of_their_jobs(tmp_path, schema):
    old = written(tmp_path, schema)
    numbers = [row[0] for row in rows(old, "SELECT number FROM events ORDER BY number")]

    _, history, connection = opened(old)

    assert [stored.number for stored in history.after(0)] == numbers
    assert {stored.job for stored in history.after(0, owner="bob")} == {"", "failed", "waiting-1"}
    assert {stored.owner for stored in history.after(0)} == {"", "ann", "bob", "local"}
    assert history.append("done", {"event": "x"}) > numbers[-1]
    connection.close()


@pytest.mark.parametrize("schema", OLD)
def test_saved_files_follow_their_jobs_and_those_of_forgotten_jobs_are_the_admins(tmp_path, schema):
    connection = opened(written(tmp_path, schema))[2]

    assert [(file.path, file.job) for file in Outputs(connection).search()] == [
        ("b.png", "forgotten"),
        ("pictures/a.png", "done"),
    ]
    assert [file.path for file in Outputs(connection, "ann").search()] == ["pictures/a.png"]
    assert [file.path for file in Outputs(connection, "local").search()] == ["b.png"]
    assert Outputs(connection).at("pictures/a.png")[0].texts == "a red star"
    connection.close()


@pytest.mark.parametrize("schema", OLD)
def test_workflows_and_drafts_are_the_admins_and_workflows_for_everybody(tmp_path, schema):
    connection = opened(written(tmp_path, schema))[2]
    admins, bob = (WorkflowStore(connection, lambda: 9.0, *owner) for owner in ((), ("bob",)))

    assert [(saved.name, saved.version) for saved in admins.names()] == [("mine", 2)]
    assert [saved.version for saved in admins.versions("mine")] == [2, 1]
    assert (bob.workflow("mine").version, "v2" in bob.workflow("mine").document) == (0, True)
    assert admins.save("gone", "{}", (0,)).version == 4
    assert [(draft.id, draft.revision) for draft in admins.drafts()] == [("draft-1", 4)]
    assert bob.drafts() == []
    connection.close()


@pytest.mark.parametrize(
    ("document", "choices"),
    [
        (
            '{"nodes": {"a": {"inputs": {"sampler": "euler"}}, "b": {"inputs": {"sampler": {"node": "x"}}}}}',
            '["euler"]',
        ),
        ("no JSON", "[]"),
    ],
)
def test_files_of_old_jobs_are_found_by_their_samplers(tmp_path, document, choices):
    old = written(tmp_path, 5)
    with sqlite3.connect(old) as before:
        before.execute("UPDATE jobs SET document = ? WHERE id = 'done'", (document,))
    before.close()

    connect(old).close()

    assert rows(old, "SELECT job, choices FROM outputs ORDER BY id") == [("done", choices), ("forgotten", "[]")]
