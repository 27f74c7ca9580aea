"""Files of a job by the named outputs that they belong to."""

import pytest
from serving import flow, use

from latentloom.api.wire import Job


def done(server, document):
    """The job of a document after its end."""
    _, answer, _ = server.request("POST", "jobs?wait=60", {"workflow": document})
    assert answer.get("state") == "done", answer
    return Job.model_validate(answer)


def names(job):
    return [(file.node, file.item, file.outputs) for file in job.files]


def test_files_of_a_sink_belong_to_its_named_outputs(server):
    nodes = {name: use("SavePicture", level=0.1, count=2) for name in ("a", "b")}
    document = flow("", **nodes)
    document["outputs"] = [{"name": name, "from": {"node": "a", "output": "value"}} for name in ("one", "same")]

    job = done(server, document)

    assert sorted(names(job)) == [
        ("a", 0, ["one", "same"]), ("a", 1, ["one", "same"]), ("b", 0, []), ("b", 1, []),
    ]  # fmt: skip
    assert [file.node for file in job.files_of("same")] == ["a", "a"]
    assert job.files_of("nothing") == []


def test_a_picture_that_no_node_saved_belongs_to_its_own_output_only(server):
    document = flow("", p=use("Picture"))
    document["outputs"] = [{"name": name, "from": {"node": "p", "output": "image"}} for name in ("one", "two")]

    assert names(done(server, document)) == [("p", 0, ["one"]), ("p", 1, ["two"])]


GRAPH = {
    "inputs": [{"name": "level", "to": [{"node": "s", "input": "level"}]}],
    "outputs": [{"name": "count", "from": {"node": "s", "output": "value"}}],
    "nodes": {"s": use("SavePicture"), "other": use("SavePicture", level=0.9)},
}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ({"inputs": {"level": 0.2}}, [("line/other", []), ("line/s", ["line"])]),
        (
            {"inputs": {"level": [0.2, 0.3]}, "each": ["level"]},
            [("line/1/other", []), ("line/1/s", ["line"]), ("line/2/other", []), ("line/2/s", ["line"])],
        ),
    ],
)
def test_files_inside_a_sub_workflow_belong_to_the_outer_output(server, line, found):
    document = {**flow("line.count", line={**use("graph"), "type": "graph/g", **line}), "graphs": {"g": GRAPH}}

    assert sorted((file.node, file.outputs) for file in done(server, document).files) == found


def test_files_of_a_mapped_sink(server):
    document = flow("s", s={**use("SavePicture", level=[0.2, 0.3]), "each": ["level"]})

    assert sorted((file.node, file.outputs) for file in done(server, document).files) == [
        ("s/1", ["s"]), ("s/2", ["s"]),
    ]  # fmt: skip


def test_files_of_a_sub_workflow_inside_a_mapped_one(server):
    outer = {
        "inputs": [{"name": "level", "to": [{"node": "in", "input": "level"}]}],
        "outputs": [{"name": "count", "from": {"node": "in", "output": "count"}}],
        "nodes": {"in": {**use("graph"), "type": "graph/g"}},
    }
    line = {**use("graph", level=[0.2, 0.3]), "type": "graph/outer", "each": ["level"]}
    document = {**flow("line.count", line=line), "graphs": {"outer": outer, "g": GRAPH}}

    assert sorted((file.node, file.outputs) for file in done(server, document).files) == [
        ("line/1/in/other", []), ("line/1/in/s", ["line"]), ("line/2/in/other", []), ("line/2/in/s", ["line"]),
    ]  # fmt: skip
