"""Hostile documents of some megabytes: read in linear time, and told in an answer that can be read."""

import json
import time
from typing import Any

import pytest

from latentloom.api import Session
from latentloom.engine.document.reading import from_json
from latentloom.engine.errors import (
    MAX_PROBLEMS,
    MAX_TEXT,
    LoomError,
    Problem,
    Problems,
    WorkflowError,
    listed,
    nearest,
)
from latentloom.engine.settings import load_settings

MANY = 300_000
SECONDS = 20  # of the processor
NODE = {"type": "CLIPEncode", "version": 1, "inputs": {}}


def document(**parts: Any) -> dict[str, Any]:
    return {"format": "latentloom/1", "name": "t", "nodes": {}, **parts}


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def numbered(count: int, **entry: Any) -> list[dict[str, Any]]:
    return [{"name": f"n{n}", **entry} for n in range(count)]


CASES: dict[str, dict[str, Any]] = {
    "keys": document(**{f"key{n}": 1 for n in range(MANY)}),
    "keys of a node": document(nodes={"a": {**NODE, **{f"key{n}": 1 for n in range(MANY)}}}),
    "inputs of a node": document(nodes={"a": {**NODE, "inputs": {f"text{n}": 1 for n in range(MANY)}}}),
    "objects": document(nodes={"a": {**NODE, "inputs": {f"text{n}": {"x": 1} for n in range(MANY)}}}),
    "bad outputs": document(outputs=numbered(4000, **{"from": 1})),
    "too many outputs": document(outputs=numbered(MANY, **{"from": 1})),
    "too many inputs": document(inputs=numbered(MANY, to=[])),
    "too many places": document(inputs=[{"name": "a", "to": [{"node": "a", "input": "b"}] * MANY}]),
    "outputs of nowhere": document(outputs=numbered(4000, **{"from": edge("x" * 90, "y")})),
    "unknown types": document(nodes={f"a{n}": {**NODE, "type": "x" * 90 + str(n)} for n in range(4000)}),
    "nodes without a value": document(
        nodes={f"a{n}": NODE for n in range(4000)},
        inputs=numbered(4000, to=[{"node": "a1", "input": "text"}] * 5),
    ),
    "a long name": document(name="x" * 3_000_000),
    "a long title": document(nodes={"a": {**NODE, "title": "x" * 3_000_000}}),
    "a long type": document(nodes={"a": {**NODE, "type": "x" * 3_000_000}}),
    "a long input": document(nodes={"a": {**NODE, "inputs": {"x" * 3_000_000: 1}}}),
    "a long edge": document(nodes={"a": {**NODE, "inputs": {"text": edge("x" * 3_000_000, "y" * 3_000_000)}}}),
    "a chain of bypasses": document(
        nodes={
            "b0": {"type": "InvertImage", "version": 1, "mode": "bypass", "inputs": {}},
            **{
                f"b{n}": {
                    "type": "InvertImage",
                    "version": 1,
                    "mode": "bypass",
                    "inputs": {"image": edge(f"b{n - 1}", "image")},
                }
                for n in range(1, 2000)
            },
            "save": {
                "type": "SaveImage",
                "version": 1,
                "inputs": {"images": [edge(f"b{n}", "image") for n in range(2000)] * 10},
            },
        }
    ),
    "missing files": document(
        nodes={f"a{n}": {"type": "LoadImage", "version": 1, "inputs": {"image": f"x{n}.png"}} for n in range(4000)}
    ),
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("limits")
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        made.settings.input.mkdir(parents=True)
        for n in range(300):
            (made.settings.input / f"{'y' * 80}{n}.png").touch()
        yield made


def problems(session: Session, data: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        workflow = from_json(data)
        return tuple(session.engine.check(workflow)[1].problems)
    except LoomError as error:
        return error.problems


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
def test_a_document_full_of_faults_is_told_in_short_and_in_linear_time(case: str, session: Session) -> None:
    begin = time.process_time()

    found = problems(session, CASES[case])
    text = json.dumps([problem.record() for problem in found])

    assert time.process_time() - begin < SECONDS
    assert 0 < len(found) <= MAX_PROBLEMS
    assert len(text) < MAX_PROBLEMS * 1000
    if len(found) == MAX_PROBLEMS:
        assert found[-1].code == "more_problems"


def test_what_is_left_out_is_counted(session: Session) -> None:
    found = problems(session, CASES["keys"])

    assert found[-1] == Problem(code="more_problems", message=f"{MANY - MAX_PROBLEMS + 1} more problems are not listed")
    assert [problem.nearest is None for problem in found[:30]].count(False) <= 20


@pytest.mark.parametrize(("count", "last"), [(1, "p0"), (5, "p4"), (6, "2 more problems are not listed")])
def test_a_list_has_the_first_problems_and_a_count(count: int, last: str) -> None:
    found = listed([Problem(code="c", message=f"p{n}") for n in range(count)], count, 5)

    assert (len(found), found[-1].message) == (min(count, 5), last)


def test_a_collector_keeps_the_first_problems_and_counts_the_others() -> None:
    problems = Problems()
    for n in range(MAX_PROBLEMS + 2):
        problems.add(Problem(code="c", message=str(n)))

    assert problems.told()[-1].message == "3 more problems are not listed"
    assert (
        str(WorkflowError(problems.told()).problem.message) == f"more than {MAX_PROBLEMS - 1} problems in the workflow"
    )


def test_a_text_of_a_problem_is_cut_and_says_how_long_it_was() -> None:
    assert Problem(code="c", message="x" * 5000).message == "x" * MAX_TEXT + "... (5000 characters)"
    assert Problem(code="c", message="x" * MAX_TEXT).message == "x" * MAX_TEXT


@pytest.mark.parametrize(("what", "size", "good"), [("name", 200, True), ("name", 201, False)])
def test_a_workflows_name_may_have_200_characters(what: str, size: int, good: bool, session: Session) -> None:
    found = [problem.code for problem in problems(session, document(**{what: "x" * size}))]

    assert ("too_large" in found) is not good


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["x" * 1_000_000, "x" * 100, "ab" * 50])
def test_the_nearest_of_many_names_is_found_in_linear_time(name: str) -> None:
    names = [f"{'ab' * 40}{n}" for n in range(100_000)]
    begin = time.process_time()

    nearest(name, names)

    assert time.process_time() - begin < SECONDS


def test_the_nearest_name_is_the_most_alike() -> None:
    names = [f"input{n}" for n in range(2000)]

    assert nearest("Checkpiont", [*names, "checkpoint", "Checker"]) == "checkpoint"
    assert nearest("zzz", names) is None
    assert nearest("steps", ["x" * 500_000, "step"]) == "step"
