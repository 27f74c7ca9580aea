"""Differences between workflows: what changed, whatever the ids, the defaults and the sub-workflows."""

from collections.abc import Iterator
from typing import Any

import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import edge, flow, use

from latentloom.api import Session
from latentloom.engine.document.difference import Change, Difference, NodeChange, NodeName, Rename, difference
from latentloom.engine.document.packing import pack
from latentloom.engine.document.reading import from_json


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with toys.session(tmp_path_factory.mktemp("home")) as made:
        yield made


def compared(session: Session, before: dict[str, Any], after: dict[str, Any]) -> Difference:
    return difference(from_json(before), from_json(after), session.engine.registry)


BASE = flow("end", one=use("Add", a=1, b=2), two=use("Add", a="@one", b=3), end=use("Sum", items=["@two", 4]))
NONE = Difference((), (), (), (), (), (), None, layout=False)


def with_nodes(**nodes: Any) -> dict[str, Any]:
    return {**BASE, "nodes": {**BASE["nodes"], **nodes}}


def test_a_workflow_does_not_differ_from_itself(session: Session) -> None:
    assert compared(session, BASE, BASE) == NONE
    assert NONE.same_results


def test_a_changed_literal_and_a_changed_list_are_told_with_both_values(session: Session) -> None:
    after = with_nodes(one=use("Add", a=1, b=7), end=use("Sum", items=["@two", 4, 5]))
    found = compared(session, BASE, after)
    assert found.changed == (
        NodeChange("one", "toys/Add", (Change("b", 2, 7),), ()),
        NodeChange("end", "toys/Sum", (Change("items", [edge("two"), 4], [edge("two"), 4, 5]),), ()),
    )
    assert not found.same_results


def test_a_default_that_is_given_or_left_out_is_the_same(session: Session) -> None:
    before, after = flow("a", a=use("Add", a=1)), flow("a", a=use("Add", a=1, b=1))
    assert compared(session, before, after) == NONE
    assert compared(session, before, flow("a", a=use("Add", a=1, b=2))).changed[0].inputs == (Change("b", 1, 2),)


def test_true_is_not_one_and_a_whole_number_is_the_same_number(session: Session) -> None:
    assert compared(session, flow("a", a=use("Pass", value=1)), flow("a", a=use("Pass", value=1.0))) == NONE
    assert compared(session, flow("a", a=use("Pass", value=1)), flow("a", a=use("Pass", value=True))).changed


def test_renamed_nodes_are_the_same_nodes(session: Session) -> None:
    after = flow("z", x=use("Add", a=1, b=2), y=use("Add", a="@x", b=3), z=use("Sum", items=["@y", 4]))
    found = compared(session, BASE, after)
    assert sorted(found.renamed) == [Rename("end", "z"), Rename("one", "x"), Rename("two", "y")]
    assert found.same_results


def test_a_renamed_node_with_another_value_is_found_by_its_edges(session: Session) -> None:
    after = flow("end", x=use("Add", a=9, b=2), two=use("Add", a="@x", b=3), end=use("Sum", items=["@two", 4]))
    found = compared(session, BASE, after)
    assert found.renamed == (Rename("one", "x"),)
    assert found.changed == (NodeChange("x", "toys/Add", (Change("a", 1, 9),), ()),)
    assert not (found.added or found.removed)


def test_exchanged_ids_are_renames(session: Session) -> None:
    before = flow("end", a=use("Add", a=1), b=use("Add", a=2), end=use("Sum", items=["@a", "@b"]))
    after = flow("end", b=use("Add", a=1), a=use("Add", a=2), end=use("Sum", items=["@b", "@a"]))
    found = compared(session, before, after)
    assert sorted(found.renamed) == [Rename("a", "b"), Rename("b", "a")]
    assert found.same_results


def test_a_node_between_two_others_is_added_and_the_edge_changes(session: Session) -> None:
    after = with_nodes(new=use("Add", a="@one", b=0), two=use("Add", a="@new", b=3))
    found = compared(session, BASE, after)
    assert found.added == (NodeName("new", "toys/Add"),)
    assert found.changed == (NodeChange("two", "toys/Add", (Change("a", edge("one"), edge("new")),), ()),)
    assert compared(session, after, BASE).removed == (NodeName("new", "toys/Add"),)


def test_another_type_under_the_same_id_is_another_node(session: Session) -> None:
    found = compared(session, flow("a", a=use("Add", a=1)), flow("a", a=use("Half", x=1)))
    assert (found.removed, found.added) == ((NodeName("a", "toys/Add"),), (NodeName("a", "toys/Half"),))


def test_modes_versions_and_titles_are_properties(session: Session) -> None:
    after = with_nodes(two={**use("Add", a="@one", b=3), "mode": "bypass", "title": "Twice"})
    (changed,) = compared(session, BASE, after).changed
    assert changed.properties == (Change("mode", "active", "bypass"), Change("title", None, "Twice"))
    titled = compared(session, BASE, with_nodes(two={**use("Add", a="@one", b=3), "title": "Twice"}))
    assert titled.same_results and titled.changed


def test_named_inputs_and_outputs_are_compared_by_what_they_lead_to(session: Session) -> None:
    named = {**BASE, "inputs": [{"name": "start", "to": [{"node": "one", "input": "a"}]}]}
    found = compared(session, BASE, named)
    assert found.inputs == (Change("start", None, [{"node": "one", "input": "a"}]),)
    other = {**named, "outputs": [{"name": "o0", "from": edge("two")}]}
    assert compared(session, named, other).outputs == (Change("o0", edge("end"), edge("two")),)


def test_name_and_layout_change_no_results(session: Session) -> None:
    found = compared(session, BASE, {**BASE, "name": "B", "layout": {"nodes": {"one": {"x": 1, "y": 2}}}})
    assert (found.name, found.layout) == (Change("name", "test", "B"), True)
    assert found.same_results


def test_documents_that_cannot_run_are_compared_too(session: Session) -> None:
    before = flow("a", a=use("Nothing", x="@ghost"), b=use("Add", a="@c"), c=use("Add", a="@b"))
    assert compared(session, before, before) == NONE
    after = {**before, "nodes": {**before["nodes"], "a": use("Nothing", x="@other")}}
    assert compared(session, before, after).changed[0].inputs == (Change("x", edge("ghost"), edge("other")),)


def test_thousands_of_equal_nodes_are_compared(session: Session) -> None:
    before = {f"n{k}": use("Add", a=1) for k in range(5000)}
    after = {f"m{k}": use("Add", a=1) for k in range(5001)}
    found = compared(session, flow("n0", **before), flow("m0", **after))
    assert len(found.renamed) == 5000
    assert len(found.added) == 1


@st.composite
def chains(draw: st.DrawFn) -> dict[str, Any]:
    nodes: dict[str, Any] = {"n0": use("Add", a=draw(st.integers(0, 1)))}
    for k in range(1, draw(st.integers(2, 8))):
        one, other = (f"@n{draw(st.integers(0, k - 1))}" for _ in range(2))
        nodes[f"n{k}"] = draw(
            st.sampled_from([use("Add", a=one, b=1), use("Sum", items=[one, other]), use("Add", a=1, b=other)])
        )
    targets = draw(st.sets(st.sampled_from([id for id, node in nodes.items() if node["type"] == "toys/Add"])))
    inputs = [{"name": f"i{id}", "to": [{"node": id, "input": "b"}]} for id in sorted(targets)]
    ends = draw(st.lists(st.sampled_from(sorted(nodes)), min_size=1, max_size=3))
    return {**flow(" ".join(ends), **nodes), "inputs": inputs}


@settings(max_examples=80, deadline=None)
@given(data=st.data(), graph=chains())
def test_packed_and_renamed_nodes_make_the_same_results(
    session: Session, data: st.DataObject, graph: dict[str, Any]
) -> None:
    workflow = from_json(graph)
    ids = data.draw(st.sets(st.sampled_from(sorted(workflow.nodes)), min_size=1))
    names = data.draw(st.permutations(sorted(ids)))
    found = difference(
        workflow, pack(workflow, ids, "g", "u", dict(zip(sorted(ids), names, strict=True))), session.engine.registry
    )
    assert found.same_results
    assert {item.before for item in found.renamed} >= ids


@settings(max_examples=80, deadline=None)
@given(data=st.data(), graph=chains())
def test_one_changed_literal_is_the_only_change(session: Session, data: st.DataObject, graph: dict[str, Any]) -> None:
    adds = [id for id, node in graph["nodes"].items() if node["type"] == "toys/Add"]
    id = data.draw(st.sampled_from(adds))
    after = {
        **graph,
        "nodes": {**graph["nodes"], id: {**graph["nodes"][id], "inputs": {**graph["nodes"][id]["inputs"], "b": 50}}},
    }
    found = compared(session, graph, after)
    assert not found.same_results
    assert [node.node for node in found.changed] == [id]
    assert not (found.added or found.removed or found.renamed or found.inputs or found.outputs)


def test_a_node_that_runs_item_by_item_is_compared_with_what_is_inside(session: Session) -> None:
    graph = {
        "inputs": [{"name": "a", "to": [{"node": "n", "input": "a"}]}],
        "outputs": [{"name": "v", "from": edge("n")}],
    }
    u = {**use("", a=[1, 2]), "type": "graph/g", "each": ["a"]}
    before = {**flow("u.v", u=u), "graphs": {"g": {**graph, "nodes": {"n": use("Add", b=1)}}}}
    after = {**before, "graphs": {"g": {**graph, "nodes": {"n": use("Add", b=2)}}}}
    assert compared(session, before, before).same_results
    [found] = compared(session, before, after).changed
    assert found.properties == (Change("graph", "g", "g, changed inside"),)
    kept = {**before, "nodes": {"u": {**u, "on_error": "keep"}}}
    [found] = compared(session, before, kept).changed
    assert found.properties == (Change("on_error", "stop", "keep"),)
