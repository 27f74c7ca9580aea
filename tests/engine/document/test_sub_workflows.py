"""Sub-workflows in the document: reading, writing, flattening, validation, runs, and the law of packing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import edge, flow, use

from latentloom.api import Session
from latentloom.engine.document.flatten import flatten
from latentloom.engine.document.packing import pack
from latentloom.engine.document.reading import from_json, read
from latentloom.engine.document.resolve import resolve
from latentloom.engine.document.strict_json import Limits
from latentloom.engine.document.workflow import Edge, NamedOutput, Node, Target, Workflow
from latentloom.engine.document.writing import to_json, write
from latentloom.engine.errors import WorkflowError


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with toys.session(tmp_path_factory.mktemp("home")) as made:
        yield made


def block(inputs: dict[str, str], outputs: dict[str, str], **nodes: Any) -> dict[str, Any]:
    """A sub-workflow; ports as {"name": "node.input"}, several separated by spaces."""
    places = {name: [text.split(".") for text in texts.split()] for name, texts in inputs.items()}
    return {
        "inputs": [
            {"name": name, "to": [{"node": node, "input": input} for node, input in found]}
            for name, found in places.items()
        ],
        "outputs": [{"name": name, "from": edge(text)} for name, text in outputs.items()],
        "nodes": nodes,
    }


def of(name: str, **inputs: Any) -> dict[str, Any]:
    """A node that uses a sub-workflow."""
    return {**use("", **inputs), "type": f"graph/{name}"}


PLUS = block({"a": "first.a"}, {"sum": "second"}, first=use("Add", b=10), second=use("Add", a="@first", b=100))


def document(outputs: str, graphs: dict[str, Any], **nodes: Any) -> dict[str, Any]:
    return {**flow(outputs, **nodes), "graphs": graphs}


def problems(session: Session, data: dict[str, Any]) -> list[str]:
    return [f"{problem.code}: {problem}" for problem in session.validate(data)]


def refused(data: dict[str, Any], **limits: int) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        from_json(data, Limits(**limits))
    return [f"{problem.code}: {problem}" for problem in caught.value.problems]


# Bad input


@pytest.mark.parametrize(
    ("graphs", "text"),
    [
        ([], "bad_document: 'graphs' is malformed (expected an object, got a list of 0)"),
        ({"a/b": {}}, "bad_name: not the name of a sub-workflow (expected letters, digits, '_' and '-', at most 200,"
         " got 'a/b')"),
        ({"a": 5}, "bad_document: the sub-workflow 'a' is malformed (expected an object, got 5)"),
        ({"a": {"format": "latentloom/1"}},
         "unknown_key: the sub-workflow 'a': unknown key 'format' in the sub-workflow"),
        ({"a": {"graphs": {}}}, "unknown_key: the sub-workflow 'a': unknown key 'graphs' in the sub-workflow"),
        ({"a": {"nodes": {"n": {"type": 5}}}},
         "bad_document: node 'graph/a/n': 'type' is malformed (expected text, got 5)"),
        ({"a": {"inputs": [{"name": "x", "to": [{"node": "n", "input": "i", "item": -1}]}]}},
         "bad_document: the sub-workflow 'a': 'to' of input 'x' is malformed"
         ' (expected [{"node": ..., "input": ...}])'),
        ({"a": {"nodes": {"n": of("a")}}},
         "recursive_graph: the sub-workflow 'a' uses itself (got a -> a)\n  hint: "
         "a sub-workflow must not use itself, directly or through others"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_named(graphs: Any, text: str) -> None:
    assert refused({"format": "latentloom/1", "graphs": graphs}) == [text]


def test_an_item_of_a_list_is_a_target_in_sub_workflows_only() -> None:
    to = [{"node": "n", "input": "i", "item": 0}]
    assert refused({"format": "latentloom/1", "inputs": [{"name": "x", "to": to}]})[0].startswith("bad_document:")


def test_sub_workflows_that_use_themselves_through_others_are_refused() -> None:
    graphs = {name: {"nodes": {"n": of(other)}} for name, other in zip("abc", "bca", strict=True)}
    [text] = refused(document("", graphs))
    assert text.startswith("recursive_graph: the sub-workflow '") and text.count(" -> ") == 3


def test_a_million_nested_uses_are_refused_with_the_number() -> None:
    graphs = {"g0": block({}, {}, n=use("Add", a=1))}
    for level in range(1, 7):
        graphs[f"g{level}"] = block({}, {}, **{f"u{n}": of(f"g{level - 1}") for n in range(10)})
    assert refused(document("", graphs, top=of("g6"))) == [
        "too_large: too many nodes, counting those of each use of a sub-workflow (expected at most 1000000, "
        "got 2,111,111)"
    ]
    assert "expected at most 5000" in refused(document("", graphs, top=of("g6")), nodes=5000)[0]


def test_a_tower_of_sub_workflows_is_refused_without_being_built() -> None:
    graphs = {"g0": block({}, {}, n=use("Add", a=1))}
    for level in range(1, 32):
        graphs[f"g{level}"] = block({}, {}, **{f"u{n}": of(f"g{level - 1}") for n in range(100)})
    assert refused(document("", graphs, top=of("g31")))[0].endswith("(expected at most 1000000, got about 10^62)")


def test_too_many_levels_are_refused() -> None:
    graphs = {"g0": block({}, {}, n=use("Add", a=1))} | {
        f"g{n}": block({}, {}, n=of(f"g{n - 1}")) for n in range(1, 50_000)
    }
    assert refused(document("", graphs)) == [
        "too_large: too many levels of sub-workflows (expected at most 32, got 50000)"
    ]


def test_ports_that_are_gone_are_named(session: Session) -> None:
    broken = {
        **block({"a": "one.a", "b": "gone.a", "c": "one.d"}, {"x": "one", "y": "lost", "z": "one.sum"}),
        "nodes": {"one": use("Add", a=1)},
    }
    found = problems(session, document("u.x u.w", {"k": broken}, u=of("k", q=1)))
    assert found == [
        "unknown_node: node 'u', input 'b': the input 'b' of the sub-workflow 'k' is connected to 'gone', "
        "which is not a node."
        " Did you mean 'one'?",
        "unknown_input: node 'u', input 'c': the input 'c' of the sub-workflow 'k' is connected to 'd' of 'one', "
        "which toys/Add"
        " does not have",
        "unknown_node: node 'u': the output 'y' of the sub-workflow 'k' comes from 'lost', which is not a node",
        "unknown_output: node 'u': the output 'z' of the sub-workflow 'k' comes from 'sum' of 'one', which toys/Add"
        " does not have",
        "unknown_input: node 'u', input 'q': the sub-workflow 'k' has no input 'q'",
        "unknown_output: graph/k 'u' has no output 'w' (expected x, y, z)",
    ]


def test_an_unknown_sub_workflow_is_named(session: Session) -> None:
    assert problems(session, document("u.sum", {"plus": PLUS}, u=of("plsu", a=1))) == [
        "unknown_node_type: node 'u': there is no sub-workflow 'plsu'. Did you mean 'plus'?"
    ]


def test_problems_name_the_outer_and_the_inner_node(session: Session) -> None:
    outer = block({"a": "p.a"}, {"sum": "p.sum"}, p=of("plus"))
    graphs = {"plus": PLUS, "outer": outer}
    wrong = document("u.sum v.sum w.sum", graphs, u=of("outer", a="x"), v=of("outer"), w=of("outer", a="@i.image"),
                     i=use("MakeImage"))  # fmt: skip
    assert problems(session, wrong) == [
        "wrong_type: node 'u/p/first', input 'a': wrong type (expected an integer, got 'x')\n"
        "  hint: it is the input 'a' of 'u'",
        "missing_input: node 'v/p/first', input 'a': needs a value (expected a value)\n"
        "  hint: it is the input 'a' of 'v'",
        "type_mismatch: node 'w/p/first', input 'a': the output 'image' of 'i' does not fit (expected INT, got IMAGE)\n"
        "  hint: it is the input 'a' of 'w'",
    ]


def test_a_missing_value_names_the_input_of_the_workflow(session: Session) -> None:
    data = document("u.sum", {"plus": PLUS}, u=of("plus"))
    data["inputs"] = [{"name": "start", "to": [{"node": "u", "input": "a"}]}]
    assert problems(session, data)[0].endswith("hint: set the workflow's input 'start'")
    assert session.run(data, start=1).outputs == {"o0": 111}


# What it does


def test_a_use_runs_the_nodes_inside_and_values_come_from_outside(session: Session) -> None:
    one, x, y = use("Add", a=0), of("plus", a="@one"), of("plus", a="@x.sum")
    data = document("x.sum y.sum", {"plus": PLUS}, one=one, x=x, y=y)
    assert session.run(data).outputs == {"o0": 111, "o1": 221}
    assert [step.node for step in session.explain(data)] == [
        "one", "x/first", "x/second", "y/first", "y/second",
    ]  # fmt: skip


def test_an_input_keeps_the_inner_value_unless_it_is_given(session: Session) -> None:
    plus = block({"b": "n.b", "more": "n.a m.a"}, {"v": "n", "w": "m"}, n=use("Add", a=1, b=5), m=use("Add", a=2))
    data = document("u.v u.w v.v v.w", {"k": plus}, u=of("k"), v=of("k", b=7, more=10))
    assert list(session.run(data).outputs.values()) == [6, 3, 17, 11]


def test_an_item_of_a_list_comes_from_outside(session: Session) -> None:
    total = block({}, {"v": "n"}, n=use("Sum", items=[1, None, "@m"]), m=use("Add", a=1))
    total["inputs"] = [{"name": "x", "to": [{"node": "n", "input": "items", "item": 1}]}]
    assert session.run(document("u.v", {"k": total}, u=of("k", x=40))).outputs == {"o0": 43}
    assert problems(session, document("u.v", {"k": total}, u=of("k")))[0].startswith("wrong_type: node 'u/n'")


def test_modes_of_a_use_and_of_nodes_inside(session: Session) -> None:
    data = document("u.sum", {"plus": PLUS}, one=use("Add", a=4), u=of("plus", a="@one"))
    data["nodes"]["u"]["mode"] = "bypass"
    assert session.run(data).outputs == {"o0": 5}
    data["nodes"]["u"]["mode"] = "mute"
    assert problems(session, data)[0].startswith("muted_output: the output 'o0' depends on a muted node")
    inside = block({"a": "first.a"}, {"sum": "second"}, **PLUS["nodes"])
    inside["nodes"]["second"]["mode"] = "bypass"
    assert session.run(document("u.sum", {"k": inside}, u=of("k", a=1))).outputs == {"o0": 11}


def test_a_saving_node_inside_runs(session: Session) -> None:
    saves = block({"text": "s.text"}, {}, s=use("SaveText"))
    result = session.run(document("", {"k": saves}, u=of("k", text="hello")))
    assert [Path(path).read_text() for path in result.files] == ["hello"]


def test_a_random_seed_inside_is_drawn_once_and_one_at_a_port_for_each_use(session: Session) -> None:
    seeds = block({"own": "b.seed"}, {"a": "a", "b": "b"}, a=use("Seeded", seed="random"), b=use("Seeded"))
    data = document("u.a u.b v.a v.b", {"k": seeds}, u=of("k", own="random"), v=of("k", own="random"))
    numbers = iter(range(100))
    registry = session.engine.registry
    resolved = resolve(from_json(data), registry, draw=lambda: next(numbers))
    assert list(session.run(resolved).outputs.values()) == [2, 0, 2, 1]
    assert resolve(resolved, registry) == resolved


def test_migration_reaches_sub_workflows(session: Session) -> None:
    old = block({}, {"v": "m"}, m={"type": "toys/Moved", "version": 1, "inputs": {"number": 7}})
    assert session.run(document("u.v", {"k": old}, u=of("k"))).outputs == {"o0": 7}


def test_what_was_written_reads_equal_and_numbers_have_the_declared_type(session: Session) -> None:
    half = block({"x": "h.x"}, {"v": "h"}, h=use("Half", x=4)) | {"name": "Half", "layout": {"nodes": {}}, "extra": [1]}
    registry = session.engine.registry
    workflow = from_json(document("u.v", {"k": half}, u=of("k", x=2)))
    text = write(workflow, lambda type: registry.nodes[type].spec if type in registry.nodes else None)
    assert read(text) == workflow
    assert '"x": 2.0' in text and '"x": 4.0' in text and to_json(read(text))["graphs"]["k"]["extra"] == [1]


def test_a_picture_of_a_run_holds_the_sub_workflows(session: Session) -> None:
    data = document("u.sum", {"plus": PLUS}, u=of("plus", a=1))
    assert to_json(session.run(data).workflow)["graphs"]["plus"]["nodes"] == PLUS["nodes"]


# The law: packing changes neither results nor keys


@st.composite
def graphs_of_numbers(draw: st.DrawFn) -> dict[str, Any]:
    """A graph in which every node may read any earlier one; some of its inputs are named inputs of the workflow."""
    nodes: dict[str, Any] = {"n0": use("Add", a=1)}
    inputs = []
    for k in range(1, draw(st.integers(2, 9))):
        one, other = (f"@n{draw(st.integers(0, k - 1))}" for _ in range(2))
        kind = draw(st.sampled_from(("Add", "Sum", "Sums", "If", "Chain")))
        nodes[f"n{k}"] = {
            "Add": lambda: use("Add", a=one, b=draw(st.integers(0, 2))),  # noqa: B023
            "Sum": lambda: use("Sum", items=[one, draw(st.integers(0, 2)), other]),  # noqa: B023
            "Sums": lambda: use("Sum", items=[1, 2]),
            "If": lambda: use("If", flag=draw(st.booleans()), yes=one, no=other),  # noqa: B023
            "Chain": lambda: use("Chain", n=draw(st.integers(0, 2)), a=one),  # noqa: B023
        }[kind]()
        if kind == "Add" and draw(st.booleans()):
            nodes[f"n{k}"]["mode"] = mode = draw(st.sampled_from(("active", "bypass")))
            inputs.append({"node": f"n{k}", "input": draw(st.sampled_from("ab" if mode == "active" else "b"))})
    ends = draw(st.lists(st.sampled_from(sorted(nodes)), min_size=1, max_size=3))
    named = [{"name": f"i{n}", "to": to} for n, to in enumerate(_parts(draw, inputs))]
    return {**flow(" ".join(ends), **nodes), "inputs": named}


def _parts(draw: st.DrawFn, items: list[Any]) -> list[list[Any]]:
    cut = draw(st.integers(0, len(items)))
    return [part for part in (items[:cut], items[cut:]) if part]


@st.composite
def packed(draw: st.DrawFn, workflow: Workflow) -> Workflow:
    """The workflow with random nodes packed, some of them twice over."""
    for n in range(draw(st.integers(1, 3))):
        ids = draw(st.sets(st.sampled_from(sorted(workflow.nodes)), min_size=1))
        literals = [Target(id, name) for id in sorted(ids) for name in workflow.nodes[id].inputs]
        ports = {target: f"p{m}" for m, target in enumerate(literals) if draw(st.booleans())}
        workflow = pack(workflow, ids, f"g{n}", f"u{n}", {id: f"{id}-in" for id in ids}, ports)
    return from_json(to_json(workflow))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), graph=graphs_of_numbers(), value=st.integers(0, 3))
def test_packed_and_unpacked_give_the_same_results_and_keys(
    session: Session, data: st.DataObject, graph: dict[str, Any], value: int
) -> None:
    workflow = from_json(graph)
    blocks = data.draw(packed(workflow))
    inputs = {item.name: value for item in workflow.inputs}
    plain = session.prepare(workflow, inputs)
    first = session.run_job(plain)
    job = session.prepare(blocks, inputs)
    assert len(job.checked.steps) == len(plain.checked.steps)
    assert sorted(step.spec.type for step in job.checked.steps.values()) == sorted(
        step.spec.type for step in plain.checked.steps.values()
    )
    if first.error is None:
        again = [sorted((e.type, e.status) for e in session.engine.explain(found)) for found in (plain, job)]
        assert again[0] == again[1]
        assert session.run_job(job).outputs == session.run_job(job, cache=False).outputs == first.outputs


def test_packing_shares_a_port_and_moves_places() -> None:
    workflow = from_json(
        {
            **flow("c", a=use("Add", a=1), b=use("Add", a="@a", b="@a"), c=use("Sum", items=["@b", "@a"])),
            "layout": {"nodes": {"a": {"x": 0, "y": 0}, "b": {"x": 10, "y": 20}, "c": {"x": 30, "y": 40}}},
        }
    )
    found = to_json(pack(workflow, {"b", "c"}, "k", "u"))
    assert found["graphs"]["k"]["inputs"] == [
        {"name": "a", "to": [
            {"node": "b", "input": "a"}, {"node": "b", "input": "b"}, {"node": "c", "input": "items", "item": 1},
        ]},
    ]  # fmt: skip
    assert found["nodes"]["u"] == {"type": "graph/k", "version": 1, "inputs": {"a": edge("a")}}
    assert found["outputs"] == [{"name": "o0", "from": edge("u")}]
    assert found["layout"]["nodes"] == {"a": {"x": 0, "y": 0}, "u": {"x": 20.0, "y": 30.0}}
    assert found["graphs"]["k"]["layout"]["nodes"] == {"b": {"x": 10, "y": 20}, "c": {"x": 30, "y": 40}}


def test_flattening_leaves_a_document_without_sub_workflows_as_it_is(session: Session) -> None:
    workflow = from_json(toys.grid("chain", 5))
    assert flatten(workflow, session.engine.registry).nodes is workflow.nodes


def test_packing_names_outputs_also_unused_ones() -> None:
    node = Node("a", 1)
    workflow = Workflow({"a": node, "b": node, "c": Node("a", 1, {"x": Edge("a", "out")})})
    names = {Edge("a", "out"): "same", Edge("b", "out"): "same", Edge("b", "other"): "not a name"}
    found = pack(workflow, {"a", "b"}, "g", "use", outputs=names)
    assert found.graphs["g"].outputs == (
        NamedOutput("same", Edge("a", "out")),
        NamedOutput("same-2", Edge("b", "out")),
        NamedOutput("output", Edge("b", "other")),
    )
    assert found.nodes["c"].inputs == {"x": Edge("use", "same")}
