"""Nodes and sub-workflows that are repeated turn by turn."""

import gc
import resource
import threading
import time
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
from latentloom.engine.events import Event, NodeProgress


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    ran()
    with toys.session(tmp_path) as made:
        yield made


def loop(node: dict[str, Any], turns: Any, **repeat: Any) -> dict[str, Any]:
    return {**node, "repeat": repeat, "inputs": {**node["inputs"], "turns": turns}}


def of(name: str, **inputs: Any) -> dict[str, Any]:
    return {**use("", **inputs), "type": f"graph/{name}"}


BODY = {  # doubles x, notes the turn and says whether x is above 50
    "inputs": [
        {"name": "x", "to": [{"node": "double", "input": "a"}, {"node": "double", "input": "b"}]},
        {"name": "n", "to": [{"node": "note", "input": "value"}]},
    ],
    "outputs": [
        {"name": "x", "from": edge("double")},
        {"name": "n", "from": edge("note")},
        {"name": "quotient", "from": edge("share.quotient")},
    ],
    "nodes": {
        "double": use("Add", a=1, b=1),
        "note": use("Count", tag="turn", value=0),
        "share": use("Divide", a="@double", b=50),
    },
}  # fmt: skip


def body(turns: Any, inputs: dict[str, Any] | None = None, **repeat: Any) -> dict[str, Any]:
    repeat = {"carry": {"x": "x"}, **repeat}
    return {**flow("u.x", u=loop(of("body", **(inputs or {})), turns, **repeat)), "graphs": {"body": BODY}}


def problems(session: Session, data: dict[str, Any]) -> list[str]:
    return [f"{problem.code}: {problem}" for problem in session.validate(data)]


def failing(session: Session, data: dict[str, Any]) -> str:
    outcome = session.run_job(session.prepare(data))
    assert outcome.error is not None
    return str(outcome.error)


# Bad input


@pytest.mark.parametrize(
    "wrong", [5, [], {"carry": ["x"]}, {"carry": {"x": 1}}, {"collect": "x"}, {"collect": ["x", "x"]}, {"until": 1}]
)
def test_the_form_of_repeat_is_checked(wrong: Any) -> None:
    with pytest.raises(WorkflowError, match="'repeat' is malformed"):
        from_json(flow("", a={**use("Add"), "repeat": wrong}))


def test_unknown_keys_are_named() -> None:
    with pytest.raises(WorkflowError, match=r"unknown key 'cary' in 'repeat'\. Did you mean 'carry'\?"):
        from_json(flow("", a={**use("Add"), "repeat": {"cary": {}}}))


def test_carried_ports_that_do_not_exist_are_named(session: Session) -> None:
    assert problems(session, body(2, carry={"y": "x", "x": "quotent"}, collect=["z"])) == [
        "unknown_input: node 'u', input 'y': graph/body has no input 'y', to which 'repeat' carries 'x'",
        "unknown_output: node 'u': graph/body has no output 'quotent', which 'repeat' carries to 'x'. Did you mean "
        "'quotient'?",
        "unknown_output: node 'u': graph/body has no output 'z', which 'repeat' collects",
    ]


def test_ports_that_do_not_fit_are_named(session: Session) -> None:
    data = flow(
        "a b.values c d e",
        a=loop(use("Invert", image="@p.image"), 2, carry={"image": "image"}, until="image"),
        p=use("MakeImage"),
        b=loop(use("Range", n=1), 2, carry={"n": "values"}, collect=["values"]),
        c=loop(use("Count", tag="t"), 2, carry={"tag": "value"}, number="tag"),
        d=loop(use("Add", a=1), 2, carry={"a": "value"}, number="a"),
        e=loop(use("Sum", items=[1]), 2, number="items"),
    )
    data["outputs"][0]["from"]["output"] = "image"
    assert problems(session, data) == [
        "type_mismatch: node 'a': the output 'image' cannot end the loop (expected BOOLEAN, got IMAGE)",
        "type_mismatch: node 'b', input 'n': the output 'values', which 'repeat' carries to it, does not fit "
        "(expected INT, got list of INT)",
        "bad_repeat: node 'b': the output 'values' is a list already, so it cannot be collected",
        "type_mismatch: node 'c', input 'tag': the output 'value', which 'repeat' carries to it, does not fit "
        "(expected STRING, got INT)",
        "type_mismatch: node 'c', input 'tag': the number of the turn does not fit (expected STRING, got INT)",
        "bad_repeat: node 'd', input 'a': it cannot get both a carried output and the number of the turn",
        "type_mismatch: node 'e', input 'items': the number of the turn does not fit (expected list of INT, got INT)",
    ]


@pytest.mark.parametrize("turns", [0, 10_001, -1])
def test_a_count_out_of_range_is_refused(session: Session, turns: int) -> None:
    text = f"node 'u', input 'turns': out of range (expected 1..10000, got {turns})"
    assert problems(session, body(turns)) == [f"out_of_range: {text}"]
    data = body(edge("count"))
    data["nodes"]["count"] = use("Add", a=turns, b=0)
    assert failing(session, data) == text


def test_the_count_is_needed_and_is_a_number(session: Session) -> None:
    data = body(1)
    del data["nodes"]["u"]["inputs"]["turns"]
    assert problems(session, data) == ["missing_input: node 'u', input 'turns': needs a value (expected a value)"]
    assert problems(session, body("many")) == [
        "wrong_type: node 'u', input 'turns': wrong type (expected an integer, got 'many')"
    ]


def test_a_sub_workflow_with_an_input_turns_is_refused(session: Session) -> None:
    data = body(2, carry={})
    data["graphs"] = {"body": {**BODY, "inputs": [{"name": "turns", "to": [{"node": "double", "input": "a"}]}]}}
    assert problems(session, data) == [
        "bad_repeat: node 'u': graph/body has an input 'turns' itself, so it cannot be repeated"
    ]


def test_an_output_that_only_passes_an_input_on_is_refused(session: Session) -> None:
    skipped = {**BODY, "nodes": {**BODY["nodes"], "double": {**use("Add", b=1), "mode": "bypass"}}}  # type: ignore[dict-item]
    text = "bypass_impossible: node 'u', input 'x': the output 'x' is a bypassed node inside, which passes on an input"
    for data in (body(2, {"x": 1}), body(1, {"x": [1, 2]}) | {}):
        if type(data["nodes"]["u"]["inputs"]["x"]) is list:
            data = {**flow("u.x", u={**of("body", x=[1, 2]), "each": ["x"]}), "graphs": {}}
        data["graphs"] = {"body": skipped}
        assert problems(session, data)[0].startswith(text)


def test_too_many_steps_are_refused_with_the_number(session: Session) -> None:
    wide = {**BODY, "nodes": BODY["nodes"] | {f"s{n}": use("Sink", value=n) for n in range(400)}}
    data = {**body(5000), "graphs": {"body": wide}}
    assert failing(session, data) == "node 'u': too many turns (expected at most 2481, got 5000)"


# What it does


def test_what_is_carried_feeds_the_next_turn(session: Session) -> None:
    assert session.run(body(5, {"x": 1})).outputs == {"o0": 32}
    assert session.run(flow("u", u=loop(use("Add", a=1, b=2), 4, carry={"a": "value"}))).outputs == {"o0": 9}


def test_an_input_that_is_not_set_begins_with_what_is_inside(session: Session) -> None:
    inside = {**BODY, "nodes": {**BODY["nodes"], "double": use("Add", a="@one", b="@one"), "one": use("Add", a=2)}}
    assert session.run({**body(3), "graphs": {"body": inside}}).outputs == {"o0": 24}
    assert session.run(body(3)).outputs == {"o0": 8}


def test_a_declared_input_gets_another_output(session: Session) -> None:
    assert session.run(body(2, {"x": 100}, carry={"x": "quotient"})).outputs == {"o0": 8}


def test_collected_outputs_are_lists_and_turns_are_numbered(session: Session) -> None:
    data = body(4, collect=["x", "n"], number="n")
    data["outputs"] += [{"name": name, "from": edge(f"u.{name}")} for name in ("n", "quotient")]
    data["nodes"]["s"] = use("Sum", items="@u.x")
    data["outputs"].append({"name": "sum", "from": edge("s")})
    assert session.run(data).outputs == {"o0": [2, 4, 8, 16], "n": [0, 1, 2, 3], "quotient": 0, "sum": 30}


def test_a_condition_ends_the_loop(session: Session) -> None:
    body_until = {
        "inputs": [{"name": "x", "to": [{"node": "next", "input": "a"}]}],
        "outputs": [{"name": "x", "from": edge("next")}, {"name": "end", "from": edge("end")}],
        "nodes": {"next": use("Add", a=0), "end": use("Above", value="@next", limit=3)},
    }
    u = loop(of("b"), 100, carry={"x": "x"}, until="end", collect=["x"])
    events: list[Event] = []
    job = session.prepare({**flow("u.x u.end", u=u), "graphs": {"b": body_until}})
    assert session.run_job(job, listen=events.append).outputs == {"o0": [1, 2, 3, 4], "o1": True}
    assert [e.message for e in events if isinstance(e, NodeProgress)] == [f"turn {n} of 100" for n in (1, 2, 3, 4)]


def test_a_larger_count_reuses_all_turns_before(session: Session) -> None:
    def counted(turns: int) -> dict[str, Any]:
        return flow("u", u=loop(use("Count", tag="c"), turns, number="value", collect=["value"]))

    assert session.run(counted(3)).outputs == {"o0": [0, 1, 2]} and ran() == ["c", "c", "c"]
    session.engine.cache.forget_memory()
    assert {e.status for e in session.explain(counted(3))} == {"hit"}
    assert [e.status for e in session.explain(counted(4))] == ["hit", "hit", "hit", "run", "unknown"]
    assert session.run(counted(5)).outputs == {"o0": [0, 1, 2, 3, 4]} and ran() == ["c", "c"]
    assert session.run(counted(2)).outputs == {"o0": [0, 1]} and ran() == []


def test_pictures_that_the_cache_dropped_are_made_again(session: Session) -> None:
    data = flow(
        "m", p=use("MakeImage", level=0.25), u=loop(use("Invert", image="@p.image"), 3, carry={"image": "image"}),
        m=use("Mean", image="@u.image"),
    )  # fmt: skip
    assert session.run_job(session.prepare(data), cache=False).outputs == {"o0": 0.75}
    assert ran() == ["make 0.25", "invert", "invert", "invert", "mean"]
    session.run(data)
    ran()
    session.engine.cache.forget_memory()
    for blob in [path for path in session.settings.cache.rglob("*") if path.suffix == ".safetensors"]:
        blob.unlink()
    more = {**data, "nodes": {**data["nodes"], "u": loop(use("Invert", image="@p.image"), 4, carry={"image": "image"})}}
    assert session.run(more).outputs == {"o0": 0.25}


def test_a_turn_is_saved_before_the_next_one_starts(session: Session) -> None:
    saving = {
        "inputs": [{"name": "x", "to": [{"node": "c", "input": "value"}]}],
        "outputs": [{"name": "x", "from": edge("next")}],
        "nodes": {
            "c": use("Count", tag="body", value=1),
            "next": use("Add", a="@c"),
            "s": use("Sink", value="@c"),
        },
    }
    data = {**flow("", u=loop(of("g"), 3, carry={"x": "x"})), "graphs": {"g": saving}}
    session.run(data)
    assert ran() == ["body", "sink 1", "body", "sink 2", "body", "sink 3"]


def test_a_resumed_run_skips_finished_turns(session: Session, tmp_path: Path) -> None:
    once = {
        "inputs": [{"name": "x", "to": [{"node": "s", "input": "value"}]}],
        "outputs": [{"name": "x", "from": edge("next")}],
        "nodes": {
            "s": use("Sink", value=0),
            "next": use("Add", a="@f", b=1),
            "f": use("FailAt", value="@s", at=2, path=str(tmp_path / "there")),
        },
    }
    job = session.prepare({**flow("u.x", u=loop(of("g"), 4, carry={"x": "x"})), "graphs": {"g": once}})
    assert session.run_job(job, resume="r").status == "failed"
    assert ran() == ["sink 0", "sink 1", "sink 2"]
    assert session.run_job(job, resume="r").outputs == {"o0": 4}
    assert ran() == ["sink 3"]


def test_a_cancelled_loop_ends_between_turns(session: Session) -> None:
    cancelled = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, NodeProgress) and event.step == 3:
            cancelled.set()

    data = flow("u", u=loop(use("Count", tag="c"), 10, number="value"))
    assert session.run_job(session.prepare(data), listen=listen, cancelled=cancelled).status == "cancelled"
    assert ran() == ["c", "c", "c"]


def test_loops_items_and_expansions_stand_inside_each_other(session: Session) -> None:
    inner = {
        "inputs": [{"name": "x", "to": [{"node": "same", "input": "a"}]}],
        "outputs": [{"name": "x", "from": edge("again")}],
        "nodes": {
            "same": use("Add", b=0),
            "chain": use("Chain", n=2, a="@same", deep=True),
            "again": loop(use("Add", a="@chain", b=10), 2, carry={"a": "value"}),
        },
    }
    u = {**loop(of("g", x="@r.values"), 2, carry={"x": "x"}), "each": ["x"]}
    data = {**flow("u.x", r=use("Range", n=2), u=u), "graphs": {"g": inner}}
    assert session.run(data).outputs == {"o0": [44, 45]}
    data["nodes"]["u"]["inputs"]["turns"] = [1, 3]
    data["nodes"]["u"]["each"] = ["x", "turns"]
    assert session.run(data).outputs == {"o0": [22, 67]}


def test_a_failed_turn_leaves_its_item_out(session: Session) -> None:
    node = loop(use("Divide", a=[8, 0], b=[2, 1]), 2, carry={"b": "quotient"})
    data = flow("u.quotient", u={**node, "each": ["a", "b"], "on_error": "keep"})
    assert session.run(data).outputs == {"o0": [2]}


def test_a_collected_output_cannot_go_item_by_item(session: Session) -> None:
    data = flow("u", u={**loop(use("Add", a=[1]), 2, carry={"a": "value"}, collect=["value"]), "each": ["a"]})
    assert problems(session, data) == ["each_of_lists: node 'u': the output 'value' is a list already"]


def test_a_named_input_sets_the_count(session: Session) -> None:
    data = body(1, {"x": 1})
    data["inputs"] = [{"name": "turns", "to": [{"node": "u", "input": "turns"}]}]
    assert session.run(data, turns=6).outputs == {"o0": 64}


def test_files_of_a_loop_belong_to_its_outputs(session: Session) -> None:
    saving = {
        "inputs": [],
        "outputs": [{"name": "file", "from": edge("s")}],
        "nodes": {"s": use("SaveText", text="t")},
    }
    for collect, turns in (["file"], ["o0", "o0"]), ([], [None, "o0"]):
        data = {**flow("u.file", u=loop(of("g"), 2, collect=collect)), "graphs": {"g": saving}}
        checked = session.prepare(data).checked
        assert [next(iter(checked.names(f"u/{n}/s")), None) for n in (1, 2)] == turns


def test_what_was_written_reads_equal() -> None:
    repeat = {"carry": {"a": "value"}, "collect": ["value"], "until": "end", "number": "b"}
    workflow = from_json(flow("u", u={**use("Add", a=1), "repeat": repeat}, v={**use("Add"), "repeat": {}}))
    assert from_json(to_json(workflow)) == workflow
    assert to_json(workflow)["nodes"]["u"] == {**use("Add", a=1), "repeat": repeat}
    assert to_json(workflow)["nodes"]["v"] == {**use("Add"), "repeat": {}}


# Many turns


def test_ten_thousand_turns_are_linear_in_time_and_memory(session: Session) -> None:
    def seconds(turns: int) -> float:
        data = flow("u", u=loop(use("Add", a=turns), turns, carry={"a": "value"}))
        gc.collect()
        begin = time.thread_time()
        assert session.run(data).outputs == {"o0": 2 * turns}
        return time.thread_time() - begin

    seconds(10)
    few = seconds(1_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert seconds(10_000) < 40 * few
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


# The law


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 5), turns=st.integers(1, 5), deep=st.booleans(), cache=st.booleans())
def test_a_loop_gives_what_nodes_by_hand_give(
    start: int, turns: int, deep: bool, cache: bool, tmp_path_factory: Any
) -> None:
    graph = {
        "inputs": [
            {"name": "x", "to": [{"node": "s", "input": "a"}]},
            {"name": "n", "to": [{"node": "s", "input": "b"}]},
        ],
        "outputs": [{"name": "x", "from": edge("c")}],
        "nodes": {"s": use("Add"), "c": use("Chain", n=2, a="@s", deep=deep)},
    }
    by_hand: dict[str, Any] = {}
    for n in range(turns):
        before = f"@c{n - 1}" if n else start
        by_hand |= {f"s{n}": use("Add", a=before, b=n), f"c{n}": use("Chain", n=2, a=f"@s{n}", deep=deep)}
    hand = flow(f"c{turns - 1}", **by_hand)
    u = loop(of("g", x=start), turns, carry={"x": "x"}, number="n")
    with toys.session(tmp_path_factory.mktemp("law")) as session:
        wanted = session.run_job(session.prepare(hand), cache=cache).outputs
        assert wanted == {"o0": start + sum(range(turns)) + 2 * turns}
        ran()
        looped = session.prepare({**flow("u.x", u=u), "graphs": {"g": graph}})
        assert session.run_job(looped, cache=cache).outputs == wanted
        assert not cache or ran() == []
