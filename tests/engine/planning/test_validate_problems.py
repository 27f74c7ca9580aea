"""The validator: every problem with its code, place and text, all at once, and no recursion."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from toys import edge, flow, use

from latentloom.api import Session
from latentloom.engine.errors import WorkflowError


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with toys.session(tmp_path_factory.mktemp("home")) as made:
        yield made


def texts(session: Session, document: dict[str, Any], **inputs: Any) -> list[str]:
    return [f"{problem.code}: {problem}" for problem in session.validate(document, **inputs)]


def alone(type: str, **inputs: Any) -> dict[str, Any]:
    return flow("", n=use(type, **inputs), s=use("Sink", value="@ok"), ok=use("Add", a=1))


@pytest.mark.parametrize(
    ("type", "inputs", "text"),
    [
        ("Ad", {}, "unknown_node_type: node 'n': there is no node type 'toys/Ad'. Did you mean 'toys/Add'?"),
        ("Add", {"a": 1, "c": 2}, "unknown_input: node 'n', input 'c': toys/Add has no input 'c'"),
        (
            "Blend",
            {"images": [], "image": []},
            "unknown_input: node 'n', input 'image': toys/Blend has no input 'image'. Did you mean 'images'?",
        ),
        ("Add", {}, "missing_input: node 'n', input 'a': needs a value (expected a value)"),
        ("Invert", {}, "missing_input: node 'n', input 'image': needs a value (expected an edge from a IMAGE output)"),
        (
            "Invert",
            {"image": 5},
            "missing_input: node 'n', input 'image': needs a value (expected an edge from a IMAGE output)",
        ),
        ("Add", {"a": "x"}, "wrong_type: node 'n', input 'a': wrong type (expected an integer, got 'x')"),
        ("Add", {"a": "--5"}, "wrong_type: node 'n', input 'a': wrong type (expected an integer, got '--5')"),
        ("Add", {"a": True}, "wrong_type: node 'n', input 'a': wrong type (expected an integer, got True)"),
        ("Add", {"a": 1.5}, "wrong_type: node 'n', input 'a': wrong type (expected an integer, got 1.5)"),
        ("Add", {"a": None}, "wrong_type: node 'n', input 'a': wrong type (expected an integer, got None)"),
        (
            "Half",
            {"x": 10**390},
            "wrong_type: node 'n', input 'x': wrong type (expected a number, got an integer of 1296 bits)",
        ),
        ("Small", {"n": 101}, "out_of_range: node 'n', input 'n': out of range (expected 0..100, got 101)"),
        (
            "Divide",
            {"a": 1, "b": 0},
            "out_of_range: node 'n', input 'b': out of range (expected at least 1, got 0)",
        ),
        (
            "Choose",
            {"way": "dwn"},
            "unknown_choice: node 'n', input 'way': not one of the choices (expected up, down, got 'dwn')."
            " Did you mean 'down'?",
        ),
        (
            "Sample",
            {"name": "slowly"},
            "unknown_choice: node 'n', input 'name': not one of the choices (expected slow, got 'slowly')."
            " Did you mean 'slow'?",
        ),
        ("Sum", {"items": 5}, "wrong_type: node 'n', input 'items': wrong type (expected a list of INT, got int)"),
        ("Sum", {"items": [1, "x"]}, "wrong_type: node 'n', input 'items': wrong type (expected an integer, got 'x')"),
        (
            "Sum",
            {"items": "@ok"},
            "type_mismatch: node 'n', input 'items': the output 'value' of 'ok' does not fit"
            " (expected list of INT, got INT)\n  hint: put the edge into a list",
        ),
        (
            "Invert",
            {"image": "@ok"},
            "type_mismatch: node 'n', input 'image': the output 'value' of 'ok' does not fit (expected IMAGE, got INT)",
        ),
        (
            "Add",
            {"a": "@okay"},
            "unknown_node: node 'n', input 'a': there is no node 'okay'. Did you mean 'ok'?",
        ),
        (
            "Add",
            {"a": "@ok.values"},
            "unknown_output: node 'n', input 'a': toys/Add 'ok' has no output 'values' (expected value)."
            " Did you mean 'value'?",
        ),
        (
            "ReadFile",
            {"file": "../secret"},
            "path_refused: node 'n', input 'file': the name points outside its folder"
            " (expected a name inside the folder, with '/' between its parts, got '../secret')",
        ),
    ],
)
def test_one_problem(session: Session, type: str, inputs: dict[str, Any], text: str) -> None:
    assert texts(session, alone(type, **inputs)) == [text]


def test_a_type_of_a_plugin_that_is_not_there_says_so(session: Session) -> None:
    document = flow("n", n={"type": "vignette/Vignette"})
    assert session.validate(document)[0].hint == "it comes from the plugin 'vignette', which is not installed"


def test_a_list_output_fits_no_single_input(session: Session) -> None:
    (problem,) = session.validate(flow("n", r=use("Range", n=2), n=use("Add", a="@r.values")))
    assert (problem.expected, problem.got) == ("INT", "list of INT")
    assert problem.hint == "the output is a list; this input takes one value"


def test_an_element_of_a_list_is_one_value(session: Session) -> None:
    (problem,) = session.validate(flow("n", r=use("Range", n=2), n=use("Sum", items=["@r.values"])))
    assert (problem.code, problem.expected, problem.got) == ("type_mismatch", "INT", "list of INT")


# Versions


def test_an_old_version_is_brought_up_to_date(session: Session) -> None:
    document = flow("m", m={"type": "toys/Moved", "version": 1, "inputs": {"number": 7}})
    assert session.run(document).outputs == {"o0": 7}
    assert session.prepare(document).workflow.nodes["m"].inputs == {"n": 7, "was": 1}


def test_migrations_that_fail_are_all_named(session: Session) -> None:
    old = {"type": "toys/Moved", "version": 2, "inputs": {"broken": 1}}
    assert texts(session, flow("a", a=old, b=old)) == [
        f"older_version: node '{id}': toys/Moved could not be migrated from version 2 to 3: nothing to be done"
        for id in "ab"
    ]


@pytest.mark.parametrize(
    ("version", "code", "hint"),
    [
        (1, "older_version", "this version cannot be migrated"),
        (3, "newer_version", "update the distribution that brings it"),
    ],
)
def test_another_version_is_a_problem(session: Session, version: int, code: str, hint: str) -> None:
    (problem,) = session.validate(flow("f", f={"type": "toys/Fixed", "version": version}))
    assert (problem.code, problem.expected, problem.got, problem.hint) == (code, "2", str(version), hint)
    assert problem.message == f"toys/Fixed was saved with version {version}"


# The whole


def test_a_cycle_is_shown_with_its_path(session: Session) -> None:
    document = flow("c", a=use("Add", a="@c"), b=use("Add", a="@a"), c=use("Add", a="@b"))
    (problem,) = session.validate(document)
    assert (problem.code, problem.node) == ("cycle", "a")
    assert problem.got == "a -> b -> c -> a"


def test_a_node_that_needs_itself_is_a_cycle(session: Session) -> None:
    assert session.validate(flow("a", a=use("Add", a="@a")))[0].got == "a -> a"


def test_a_cycle_through_a_lazy_branch_is_a_cycle(session: Session) -> None:
    document = flow("i", i=use("If", flag=True, yes=1, no="@a"), a=use("Pass", value="@i"))
    assert [problem.code for problem in session.validate(document)] == ["cycle"]


def test_nothing_to_make_is_a_problem(session: Session) -> None:
    assert texts(session, flow("", a=use("Add", a=1))) == [
        "no_outputs: there is nothing to run\n  hint: add a SaveImage node, or name an output"
    ]


def test_named_inputs_and_outputs_are_checked(session: Session) -> None:
    document = flow("a", a=use("Add", a=1))
    document["inputs"] = [
        {"name": "x", "to": [{"node": "b", "input": "a"}, {"node": "a", "input": "c"}, {"node": "a", "input": "b"}]}
    ]
    document["outputs"].append({"name": "y", "from": edge("nowhere")})
    assert texts(session, document) == [
        "unknown_node: the input 'x' is connected to 'b', which is not a node",
        "unknown_input: the input 'x' is connected to 'c' of 'a', which toys/Add does not have",
        "unknown_node: there is no node 'nowhere'",
    ]


def test_unknown_names_are_refused(session: Session) -> None:
    document = {**flow("a", a=use("Add", a=1)), "inputs": [{"name": "first", "to": [{"node": "a", "input": "a"}]}]}
    with pytest.raises(WorkflowError) as caught:
        session.run(document, firts=2)
    assert str(caught.value) == "the workflow has no input 'firts' (expected first). Did you mean 'first'?"
    with pytest.raises(WorkflowError) as caught:
        session.run(document, outputs=["o1"])
    assert str(caught.value) == "the workflow has no output 'o1' (expected o0)"


def test_a_named_input_is_held_to_its_bounds(session: Session) -> None:
    document = {**flow("a", a=use("Small", n=1)), "inputs": [{"name": "n", "to": [{"node": "a", "input": "n"}]}]}
    assert texts(session, document, n=200) == [
        "out_of_range: node 'a', input 'n': out of range (expected 0..100, got 200)"
    ]


def test_all_problems_come_at_once(session: Session) -> None:
    document = flow("a", a=use("Ad"), b=use("Add", a="x", c=1), c=use("Add", a="@zz", b="@b.q"), d=use("Half"))
    assert [(problem.code, problem.node) for problem in session.validate(document)] == [
        ("unknown_node_type", "a"),
        ("unknown_input", "b"),
        ("wrong_type", "b"),
        ("unknown_node", "c"),
        ("unknown_output", "c"),
        ("missing_input", "d"),
    ]


# Mute and bypass


def muted(document: dict[str, Any], id: str, mode: str = "mute") -> dict[str, Any]:
    return {**document, "nodes": {**document["nodes"], id: {**document["nodes"][id], "mode": mode}}}


CHAIN = flow("a c", a=use("Add", a=1), b=use("Add", a="@a"), c=use("Add", a="@b"))


def test_a_muted_node_and_what_needs_it_do_not_run(session: Session) -> None:
    document = muted({**CHAIN, "outputs": CHAIN["outputs"][:1]}, "b")
    assert set(session.run(document).nodes) == {"a"}


def test_a_muted_node_need_not_be_installed(session: Session) -> None:
    document = muted(flow("a", a=use("Add", a=1), b=use("Ad", a="@a.value"), c=use("Add", a="@b.value")), "b")
    assert texts(session, document) == []
    assert session.run(document).outputs == {"o0": 2}


def test_a_wanted_output_that_needs_a_muted_node_is_a_problem(session: Session) -> None:
    assert texts(session, muted(CHAIN, "b")) == [
        "muted_output: the output 'o1' depends on a muted node (got c)\n  hint: unmute it, or ask for other outputs"
    ]


def test_a_bypassed_node_passes_its_first_edge_of_the_type_on(session: Session) -> None:
    assert session.run(muted(CHAIN, "b", "bypass")).outputs == {"o0": 2, "o1": 3}
    assert session.run(muted(CHAIN, "c", "bypass")).outputs == {"o0": 2, "o1": 3}
    assert session.run(muted(muted(CHAIN, "b", "bypass"), "c", "bypass")).outputs == {"o0": 2, "o1": 2}


def test_a_bypassed_node_with_nothing_to_pass_on_is_a_problem(session: Session) -> None:
    document = flow("i.image", m=use("MakeImage"), i=use("Invert", image="@m.image"))
    assert texts(session, muted(document, "m", "bypass")) == [
        "bypass_impossible: node 'i', input 'image': the bypassed node 'm' has no edge of type IMAGE to pass on"
        "\n  hint: give it an input of that type, or mute it"
    ]
    document = flow("m.image", m=use("MakeImage"))
    assert texts(session, muted(document, "m", "bypass")) == [
        "bypass_impossible: the output 'o0' is a bypassed node that has nothing of its type to pass on (got m)"
    ]


def test_bypassed_nodes_in_a_circle_are_a_problem(session: Session) -> None:
    document = flow("c", a=use("Add", a="@b"), b=use("Add", a="@a"), c=use("Add", a="@a"))
    document = muted(muted(document, "a", "bypass"), "b", "bypass")
    assert [problem.code for problem in session.validate(document)] == ["bypass_impossible"]


def test_what_a_bypassed_node_passes_on_must_fit(session: Session) -> None:
    document = flow("i.image", n=use("Add", a=1), p=use("Pass", value="@n"), i=use("Invert", image="@p"))
    (problem,) = session.validate(muted(document, "p", "bypass"))
    assert (problem.code, problem.expected, problem.got) == ("type_mismatch", "IMAGE", "INT")


@pytest.mark.parametrize("broken", ["@ghost", "@a.ghost"])
def test_what_a_bypassed_node_passes_on_must_exist(session: Session, broken: str) -> None:
    document = flow("c b", a=use("Add", a=1), b=use("Add", a=broken), c=use("Add", a="@b"))
    codes = {problem.code for problem in session.validate(muted(document, "b", "bypass"))}
    assert codes == {"unknown_node" if broken == "@ghost" else "unknown_output"}


# Size


def test_a_chain_of_many_nodes_needs_no_recursion(session: Session) -> None:
    limit = sys.getrecursionlimit()
    document = toys.grid("chain", 10_000)
    assert session.validate(document) == []
    document["nodes"]["c0r0"]["inputs"]["a"] = edge("c0r9999")
    (problem,) = session.validate(document)
    assert (problem.code, len(str(problem.got).split(" -> "))) == ("cycle", 14)
    document["nodes"]["c0r5"]["mode"] = "mute"
    assert [problem.code for problem in session.validate(document)] == ["muted_output"]
    assert sys.getrecursionlimit() == limit


def test_many_problems_do_not_cost_a_search_each(session: Session) -> None:
    nodes = {f"n{k}": use("Add", a=f"@m{k}") for k in range(5000)}
    problems = session.validate(flow("n0", **nodes))
    assert problems[-1].message == "4801 more problems are not listed"
    assert [problem.nearest for problem in problems[20:]] == [None] * 180


def test_a_file_is_found_below_its_folder_only(session: Session) -> None:
    folder = Path(session.settings.input)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "note.png").write_text("hello")
    assert session.run(flow("r", r=use("ReadFile", file="note.png"))).outputs == {"o0": "hello"}
    (problem,) = session.validate(flow("r", r=use("ReadFile", file="nota.png")))
    assert (problem.code, problem.nearest) == ("missing_file", "note.png")
