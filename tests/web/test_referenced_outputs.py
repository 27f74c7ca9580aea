"""Outputs of jobs as inputs of others."""

import base64

import pytest
from serving import flow, use

from latentloom.api import Client


def save(name="picture"):
    """Saves a picture that is an input."""
    document = flow("", load={"type": "LoadImage", "version": 1, "inputs": {}}, s=_save("load"))
    document["inputs"] = [{"name": "image", "to": [{"node": "load", "input": "image"}]}]
    return {**document, "outputs": [{"name": name, "from": {"node": "s", "output": "images"}}]}


def _save(node):
    return {"type": "SaveImage", "version": 1, "inputs": {"images": {"node": node, "output": "image"}}}


def pair(server):
    """A job with two files of the output `n`, and the number 2 as its value."""
    with Client(server.address) as client:
        return client.submit(flow("n", n=use("SavePicture", count=2, size=16)), wait=60)


def problems(server, document, **inputs):
    status, answer, _ = server.request("POST", "jobs", {"workflow": document, "inputs": inputs})
    return status, [(one["code"], one["input"], one.get("got")) for one in answer["problems"]]


def long():
    document = flow("l.value", l=use("Long", characters=3))
    document["inputs"] = [{"name": "characters", "to": [{"node": "l", "input": "characters"}]}]
    return document


@pytest.fixture(scope="module")
def made(server):
    job = pair(server)
    assert (job.state, len(job.files_of("n"))) == ("done", 2)
    return job


def test_a_file_of_a_job_is_the_picture_of_another_one(server, made):
    with Client(server.address) as client:
        by_job = client.submit(save(), image={"output": {"job": made.id, "name": "n", "item": 1}}, wait=60)
        by_hash = client.submit(save(), image=made.files_of("n")[0], wait=60)
        client.remove_output(made.files_of("n")[0].sha256)
        documents = [client.job_workflow(job.id) for job in (by_job, by_hash)]

        assert [job.state for job in (by_job, by_hash)] == ["done", "done"]
        names = [document["nodes"]["load"]["inputs"]["image"] for document in documents]
        shas = [made.files[1].sha256, made.files[0].sha256]
        assert [name.rpartition("/")[2] for name in names] == [f"{sha256}.png" for sha256 in shas]
        # the new job does not depend on the removed file
        again = client.submit(client.job_workflow(by_hash.id), wait=60)
        assert (again.state, len(again.files_of("picture"))) == ("done", 1)


def test_what_cannot_be_used_is_told_with_the_input(server):
    made = pair(server)
    with Client(server.address) as client:
        client.pause()
        waiting = client.submit(long())
        text = client.submit(flow("s", s=use("Save", text="a")), wait=0)
        refused = [
            problems(server, save(), image={"output": reference})
            for reference in (
                {"job": "no-such-job", "name": "n"},
                {"job": waiting.id, "name": "l"},
                {"job": made.id, "name": "m"},
                {"job": made.id, "name": "n", "item": 2},
                {"sha256": "0" * 64},
                {"job": made.id},
                {"job": made.id, "name": "n", "item": -1},
                {"job": made.id, "name": "n", "sha256": "0" * 64},
                "x",
            )
        ]
        client.cancel(waiting.id)
        refused.append(problems(server, save(), image={"output": {"job": waiting.id, "name": "l"}}))
        client.pause(False)
        assert client.wait(text.id).state == "done"
        refused.append(problems(server, save(), image={"output": {"job": text.id, "name": "s"}}))

    assert {status for status, _ in refused} == {422}
    assert [found[0] for _, found in refused] == [
        ("unknown_job", "image", None),
        ("wrong_state", "image", "queued"),
        ("unusable_output", "image", None),
        ("unusable_output", "image", "2"),
        ("unusable_output", "image", "0" * 64),
        ("unusable_output", "image", "a dict of 1"),
        ("unusable_output", "image", "a dict of 3"),
        ("unusable_output", "image", "a dict of 3"),
        ("unusable_output", "image", "'x'"),
        ("wrong_state", "image", "cancelled"),
        ("unusable_output", "image", "text/plain"),
    ]


def test_a_number_of_a_job_is_an_input(server):
    with Client(server.address) as client:
        first = client.submit(flow("c", c=use("Steps", steps=4, pause=0)), wait=60)
        reference = {"output": {"job": first.id, "name": "c"}}
        second = client.submit(long(), characters=reference, wait=60)
        assert second.result["outputs"] == {"l": "xxxx"}
        assert problems(server, long(), characters={"output": {"job": first.id, "name": "c", "item": 0}}) == (
            422,
            [("unusable_output", "characters", None)],
        )
        assert client.validate(long(), characters=reference).problems == []


def test_pictures_in_lists_may_be_outputs_and_base64(server):
    made = pair(server)
    with Client(server.address) as client:
        content = client.content(made.files[0].sha256)
        document = save()
        document["nodes"]["load"]["each"], document["nodes"]["s"]["each"] = ["image"], ["images"]
        each = [made.files[0], {"base64": base64.b64encode(content).decode()}]
        job = client.submit(document, image=each, wait=60)
        names = client.job_workflow(job.id)["nodes"]["load"]["inputs"]["image"]

    assert (job.state, len(names)) == ("done", 2), job.problems
    assert all(name.startswith("by-hash/") for name in names)
