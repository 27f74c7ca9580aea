"""Outputs that a node could not give: a run that reads one fails at once, any other does not notice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import toys
from toys import flow, use

from latentloom.api import Session
from latentloom.engine import Absent, Expansion, Image, node
from latentloom.engine.errors import NodeError
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.engine.types.values import VALUE_TYPES

MESSAGE, HINT = "the box has no picture", "take another box"


class Box(NamedTuple):
    number: int
    image: Image | Absent


@node("OpenBox")
def open_box(level: float = -1.0) -> Box:
    """A number and, for a level of 0 and more, a picture."""
    toys.RAN.append("open")
    return Box(7, toys.make_image(level, 2) if level >= 0 else Absent(MESSAGE, HINT))


@node("Inside")
def inside() -> Box:
    """A box in an expansion."""
    nodes = {"box": {"type": "toys/OpenBox"}}
    outputs = {name: {"node": "box", "output": name} for name in ("number", "image")}
    return Expansion(nodes, outputs)  # type: ignore[return-value]


def opened(home: Path) -> Session:
    made = Registration(Distribution("toy-nodes", "1.0", "toys", "code"))
    made.node(*toys.NODES, open_box, inside)
    for cls in (*VALUE_TYPES, toys.Token):
        made.type(cls)
    return Session(load_settings({}, {"LATENTLOOM_HOME": str(home)}), Registry([made]))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    toys.RAN.clear()
    with opened(tmp_path) as made:
        yield made


def fault(session: Session, document: dict[str, Any]) -> tuple[str, str | None, str | None, str | None]:
    """The problem of a run in which nothing but the box was opened."""
    with pytest.raises(NodeError) as caught:
        session.run(document)
    assert set(toys.ran()) <= {"open"}
    problem = caught.value.problem
    return problem.message, problem.node, problem.input, problem.hint


BOX = use("OpenBox")
NUMBER = flow("box.number", box=BOX)


def test_a_run_that_does_not_read_it_is_not_disturbed(session: Session) -> None:
    assert session.run(NUMBER)["o0"] == 7


@pytest.mark.parametrize("before", [False, True], ids=["made", "cached"])
@pytest.mark.parametrize(
    ("reader", "input"),
    [(use("Invert", image="@box.image"), "image"), (use("Blend", images=["@box.image"]), "images")],
    ids=["edge", "list"],
)
def test_a_run_that_reads_it_fails_before_anything_else_runs(
    session: Session, before: bool, reader: dict[str, Any], input: str
) -> None:
    if before:
        session.run(NUMBER)
    other = use("Count", tag="other", value="@box.number")

    found = fault(session, flow("other reader.image", box=BOX, other=other, reader=reader))

    assert found == (MESSAGE, "reader", input, HINT)


def test_an_output_of_the_workflow_names_the_node_itself(session: Session) -> None:
    assert fault(session, flow("box.image", box=BOX)) == (MESSAGE, "box", None, HINT)


def test_a_lazy_input_is_missed_only_where_it_is_asked_for(session: Session) -> None:
    def document(*, flag: bool) -> dict[str, Any]:
        return flow("choice", box=BOX, choice=use("If", flag=flag, yes="@box.image", no=5))

    assert session.run(document(flag=False))["o0"] == 5
    assert fault(session, document(flag=True)) == (MESSAGE, "choice", "yes", HINT)


def test_it_passes_through_an_expansion(session: Session) -> None:
    nodes = {"box": use("Inside"), "reader": use("Invert", image="@box.image")}
    assert session.run(flow("box.number", **nodes))["o0"] == 7
    assert fault(session, flow("reader.image", **nodes)) == (MESSAGE, "reader", "image", HINT)


def test_it_is_remembered_across_restarts(session: Session, tmp_path: Path) -> None:
    session.run(NUMBER)
    session.close()
    toys.RAN.clear()
    with opened(tmp_path) as again:
        assert fault(again, flow("box.image", box=BOX)) == (MESSAGE, "box", None, HINT)
    assert toys.ran() == []
