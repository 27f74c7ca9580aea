"""Nodes and sub-workflows that run once for each item of their lists."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import edge, flow, ran, use

from latentloom.api import Session
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.writing import to_json
from latentloom.engine.errors import WorkflowError
from latentloom.engine.events import Event, NodeProgress, NodeWarning


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    ran()
    with toys.session(tmp_path) as made:
        yield made


def each(node: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    """The node, once for each item of these inputs."""
    return {**node, "each": list(names), **more}


def of(name: str, **inputs: Any) -> dict[str, Any]:
    return {**use("", **inputs), "type": f"graph/{name}"}


LINE = {  # counts, and keeps the number
    "inputs": [{"name": "why", "to": [{"node": "count", "input": "tag"}, {"node": "last", "input": "tag"}]},
               {"name": "n", "to": [{"node": "count", "input": "value"}]}],
    "outputs": [{"name": "n", "from": edge("last")}],
    "nodes": {"count": use("Count"), "sink": use("Sink", value="@count"), "last": use("Count", value="@count")},
}  # fmt: skip


def line(**inputs: Any) -> dict[str, Any]:
    return {**flow("u.n", u=each(of("line", **inputs), *inputs)), "graphs": {"line": LINE}}


def problems(session: Session, data: dict[str, Any]) -> list[str]:
    return [f"{problem.code}: {problem}" for problem in session.validate(data)]


def failing(session: Session, data: dict[str, Any]) -> str:
    outcome = session.run_job(session.prepare(data))
    assert outcome.error is not None
    return str(outcome.error)


# Bad input


def test_lists_of_different_lengths_are_refused(session: Session) -> None:
    data = flow("u", r=use("Range", n=3), u=each(use("Add", a="@r.values", b=[1, 2]), "a", "b"))
    assert failing(session, data) == (
        "node 'u': its lists have different lengths (expected lists of one length, got a 3, b 2)"
    )


def test_what_cannot_go_item_by_item_is_named(session: Session) -> None:
    data = flow(
        "a b c.values d",
        a=each(use("Add", a=[1]), "x"),
        b=each(use("Sum", items=[1]), "items"),
        c=each(use("Range", n=[1, 2]), "n"),
        d=each(use("Add", a=[1]), "a", "b"),
    )
    assert problems(session, data) == [
        "wrong_type: node 'a', input 'a': wrong type (expected an integer, got a list of 1)",
        "unknown_input: node 'a', input 'x': toys/Add has no input 'x', which 'each' names",
        "each_of_lists: node 'b', input 'items': it takes a whole list, which cannot go item by item",
        "each_of_lists: node 'c': the output 'values' is a list already",
        "missing_input: node 'd', input 'b': needs a value (expected a value)",
    ]


@pytest.mark.parametrize("wrong", [5, ["a", "a"], [1], "a"])
def test_the_form_of_each_is_checked(wrong: Any) -> None:
    with pytest.raises(WorkflowError, match="'each' is malformed"):
        from_json(flow("", a={**use("Add"), "each": wrong}))
    with pytest.raises(WorkflowError, match="unknown 'on_error'"):
        from_json(flow("", a={**use("Add"), "on_error": wrong}))


def test_problems_inside_are_named(session: Session) -> None:
    broken = {**LINE, "nodes": {**LINE["nodes"], "bad": use("Add", a="x")}}
    data = {**line(why=["a"], n=[1]), "graphs": {"line": broken}}
    assert problems(session, data) == ["wrong_type: node 'u/bad', input 'a': wrong type (expected an integer, got 'x')"]
    assert problems(session, line(why=["a"]))[:1] == []
    assert problems(session, line(n=[1]))[0].startswith("missing_input: node 'u', input 'why'")


def test_too_many_items_are_refused_with_the_number(session: Session) -> None:
    items = [0] * 400_001
    assert failing(session, line(why=[str(n) for n in items], n=items)) == (
        "node 'u': too many items (expected at most 333333, got 400001)"
    )


def test_a_value_out_of_bounds_is_named_with_its_item(session: Session) -> None:
    data = flow(
        "u", l=use("Range", n=3), a=each(use("Add", a="@l.values", b=99), "a"), u=each(use("Small", n="@a"), "n")
    )
    assert failing(session, data) == "node 'u/3', input 'n': out of range (expected 0..100, got 101)"


# What it does


def test_outputs_become_lists_and_lists_are_zipped(session: Session) -> None:
    data = flow(
        "u s",
        r=use("Range", n=3),
        u=each(use("Add", a="@r.values", b=[10, 20, 30]), "a", "b"),
        s=use("Sum", items="@u"),
    )
    assert session.run(data).outputs == {"o0": [10, 21, 32], "o1": 63}
    assert session.run(flow("u", u=each(use("Add", a=[], b=1), "a"))).outputs == {"o0": []}


def test_pictures_go_item_by_item_and_are_not_loaded_for_a_known_result(session: Session) -> None:
    split = {"p": use("MakeImage", level=1.0), "s": use("Split", image="@p.image", n=3)}
    i, m = each(use("Invert", image="@s.images"), "image"), each(use("Mean", image="@i.image"), "image")
    data = flow("m.value", **split, i=i, m=m)
    assert session.run(data).outputs["o0"] == pytest.approx([0.0, 0.5, 2 / 3], abs=1e-6)
    assert ran() == ["make 1", *["invert"] * 3, *["mean"] * 3]
    session.engine.cache.forget_memory()
    assert {e.status for e in session.explain(data)} == {"hit"}
    session.run(data)
    assert ran() == []


def test_an_item_is_saved_before_the_next_one_starts(session: Session) -> None:
    session.run(line(why=["a", "b", "c"], n=[1, 2, 3]))
    assert ran() == ["a", "sink 1", "b", "sink 2", "c", "sink 3"]


def test_progress_counts_items(session: Session) -> None:
    events: list[Event] = []
    session.run_job(session.prepare(line(why=["a", "b"], n=[1, 2])), listen=events.append)
    found = [(e.node, e.message) for e in events if isinstance(e, NodeProgress)]
    assert found == [("u", "item 1 of 2"), ("u", "item 2 of 2")]
    nodes = [e.node for e in events if e.name == "node_finished"]  # type: ignore[attr-defined]
    assert nodes == ["u/1/count", "u/1/sink", "u/2/count", "u/2/sink", "u"]


def test_only_changed_items_run_again(session: Session) -> None:
    session.run(line(why=["a", "b"], n=[1, 2]))
    ran()
    session.run(line(why=["x", "b"], n=[9, 2]))
    assert ran() == ["x", "sink 9", "sink 2"]


def test_an_error_stops_the_run_or_leaves_the_item_out(session: Session) -> None:
    graph = {
        "inputs": [{"name": "b", "to": [{"node": "s", "input": "value"}]}],
        "outputs": [{"name": "v", "from": edge("d.quotient")}],
        "nodes": {"d": use("Divide", a=6, b="@s"), "s": use("Sink"), "t": use("Sink", value="@d.quotient")},
    }
    data = {**flow("u.v s", u=each(of("g", b=[1, 0, 2]), "b"), s=use("Sum", items="@u.v")), "graphs": {"g": graph}}
    assert "node 'u/2/d', input 'b': out of range (expected at least 1, got 0)" in failing(session, data)
    assert ran() == ["sink 1", "sink 6", "sink 0"]

    data["nodes"]["u"]["on_error"] = "keep"
    events: list[Event] = []
    outcome = session.run_job(session.prepare(data), listen=events.append)
    assert outcome.outputs == {"o0": [6, 3], "o1": 9}
    [warning] = [e for e in events if isinstance(e, NodeWarning)]
    assert (warning.node, warning.code) == ("u", "item_failed")
    assert warning.message == "item 2 of 3 failed at 'u/2/d' and is left out: out of range"
    assert [e.message for e in events if isinstance(e, NodeProgress)] == [f"item {n} of 3" for n in (1, 2, 3)]
    assert outcome.nodes["u/2/d"].status == "failed" and outcome.nodes["u"].status == "done"


def test_if_all_items_fail_the_node_fails(session: Session) -> None:
    data = flow("u", u=each(use("Fail", value=[1, 2]), "value", on_error="keep"))
    assert failing(session, data) == "node 'u': all of its items failed"
    assert ran() == ["fail", "fail"]


def test_an_item_that_fails_inside_of_another_leaves_the_inner_one_out(session: Session) -> None:
    inner = {
        "inputs": [{"name": "b", "to": [{"node": "d", "input": "b"}]}],
        "outputs": [{"name": "sum", "from": edge("s")}],
        "nodes": {
            "d": each(use("Divide", a=[4, 8], b=0), "a"),
            "s": use("Sum", items="@d.quotient"),
        },
    }
    u = each(of("g", b="@r.values"), "b", on_error="keep")
    data = {**flow("u.sum", r=use("Range", n=3), u=u), "graphs": {"g": inner}}
    assert session.run(data).outputs == {"o0": [12, 6]}


def test_a_resumed_run_skips_finished_items(session: Session, tmp_path: Path) -> None:
    once = {
        "inputs": [{"name": "path", "to": [{"node": "f", "input": "path"}]}],
        "outputs": [],
        "nodes": {"f": use("FailOnce"), "s": use("Sink", value="@f")},
    }
    (tmp_path / "a").touch()
    paths = [str(tmp_path / name) for name in "ab"]
    job = session.prepare({**flow("", u=each(of("g", path=paths), "path")), "graphs": {"g": once}})
    assert session.run_job(job, resume="r").status == "failed"
    assert ran() == ["sink 1"]
    assert session.run_job(job, resume="r").status == "done"
    assert ran() == ["sink 1"]


def test_a_named_input_takes_a_list(session: Session) -> None:
    data = flow("u", u=each(use("Add", a=[1], b=1), "a"))
    data["inputs"] = [{"name": "numbers", "to": [{"node": "u", "input": "a"}]}]
    assert session.run(data, numbers=[5, 6]).outputs == {"o0": [6, 7]}


def test_what_was_written_reads_equal() -> None:
    workflow = from_json(flow("u", u=each(use("Add", a=[1]), "a", on_error="keep")))
    assert from_json(to_json(workflow)) == workflow
    assert to_json(workflow)["nodes"]["u"] == {**use("Add", a=[1]), "each": ["a"], "on_error": "keep"}


# The law


@settings(max_examples=40, deadline=None)
@given(
    a=st.lists(st.integers(0, 9), max_size=4),
    b=st.integers(0, 3),
    deep=st.booleans(),
    cache=st.booleans(),
)
def test_mapped_gives_what_nodes_by_hand_give(
    a: list[int], b: int, deep: bool, cache: bool, tmp_path_factory: Any
) -> None:
    graph = {
        "inputs": [
            {"name": "a", "to": [{"node": "x", "input": "a"}]},
            {"name": "b", "to": [{"node": "x", "input": "b"}]},
        ],
        "outputs": [{"name": "v", "from": edge("c")}],
        "nodes": {"x": use("Add"), "c": use("Chain", n=2, a="@x", deep=deep)},
    }
    by_hand: dict[str, Any] = {}
    for n, value in enumerate(a):
        by_hand |= {f"x{n}": use("Add", a=value, b=b), f"c{n}": use("Chain", n=2, a=f"@x{n}", deep=deep)}
    hand = flow("s", s=use("Sum", items=[f"@c{n}" for n in range(len(a))]), **by_hand)
    mapped = {**flow("s", u=each(of("g", a=a, b=b), "a"), s=use("Sum", items="@u.v")), "graphs": {"g": graph}}
    with toys.session(tmp_path_factory.mktemp("law")) as session:
        wanted = session.run_job(session.prepare(hand), cache=cache).outputs
        ran()
        assert session.run_job(session.prepare(mapped), cache=cache).outputs == wanted
        assert not cache or ran() == []
