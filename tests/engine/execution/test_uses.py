"""What a step used beside its inputs: a stored result is used again only while it holds. On is what off is."""

from pathlib import Path
from typing import Any

import pytest
import toys
from toys import flow, ran, use
from two_plugins import WORLD, in_plugin, opened

from latentloom.api import Session


@pytest.fixture(autouse=True)
def _fresh() -> None:
    toys.RAN.clear()
    WORLD.update(patch=1, child=1, about="known")


def value(session: Session, document: dict[str, Any]) -> Any:
    """What a run with the cache gives, which is what one without it gives."""
    found = session.run(document).outputs["o0"]
    assert found == session.run(document, cache=False).outputs["o0"]
    return found


def wired(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def reasons(session: Session, document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(item.node, item.status, item.reason) for item in session.explain(document)]


def test_a_patch_of_another_code_is_applied_anew(tmp_path: Path) -> None:
    document = flow("u", m=in_plugin("p/Patched"), u=use("UsePatch", model="@m.model"))
    for code, number in (("P1", 1), ("P2", 2), ("P1", 1)):
        WORLD["patch"] = number
        with opened(tmp_path, p=code) as session:
            assert value(session, document) == number


def test_explain_names_what_changed(tmp_path: Path) -> None:
    document = flow("u", m=use("Pass", value=1), u=use("Facts", name="s"))
    with opened(tmp_path, samplers="one") as session:
        session.run(document)
        assert reasons(session, document)[-1][:2] == ("u", "hit")
    with opened(tmp_path, q="Q2", samplers="two") as session:
        assert reasons(session, document)[-1] == ("u", "run", "changed: the code of the sampler 's'")


def test_an_extension_that_came_or_went_counts(tmp_path: Path) -> None:
    document = flow("u", u=use("Facts", name="s"))
    for mark in (None, "one", None):
        with opened(tmp_path, samplers=mark) as session:
            assert value(session, document) == (mark or "none")


@pytest.mark.parametrize("kinds", [(True, True), (False, True), (True, False)])
def test_a_file_is_recognised_anew_when_the_kinds_of_models_change(tmp_path: Path, kinds: tuple[bool, bool]) -> None:
    place = tmp_path / "input" / "m.safetensors"
    place.parent.mkdir()
    place.write_text("x")
    document = flow("a", a=use("About", file="m.safetensors"))
    for n, has in enumerate(kinds):
        WORLD["about"] = f"known {n}"
        with opened(tmp_path, p=f"P{n}", kinds=has) as session:
            assert value(session, document) == (f"known {n}" if has else "nothing")


def test_what_an_expansion_stands_for_has_the_code_of_its_own_plugin(tmp_path: Path) -> None:
    document = flow("n", a=use("Add", a=4), n=in_plugin("p/Parent", a=wired("a", "value")))
    for code, factor in (("Q1", 1), ("Q2", 100), ("Q1", 1)):
        WORLD["child"] = factor
        with opened(tmp_path, q=code) as session:
            assert value(session, document) == 5 * factor


def test_a_known_expansion_runs_neither_its_node_nor_those_inside(tmp_path: Path) -> None:
    document = flow("n", a=use("Add", a=4), n=in_plugin("p/Parent", a=wired("a", "value")))
    with opened(tmp_path) as session:
        session.run(document)
    assert ran() == ["parent", "child"]
    with opened(tmp_path) as session:
        found: list[str] = []
        session.run_job(session.prepare(document), listen=lambda event: found.append(event.name))
        assert found == ["run_started", "node_cached", "node_cached", "node_cached", "run_finished"]
        assert [(*item[:2], item[2].rpartition(" in ")[0] or item[2]) for item in reasons(session, document)[1:]] == [
            ("n/x", "hit", "computed before"),
            ("n", "hit", "every node of its expansion was computed before"),
        ]
    with opened(tmp_path, q="Q2") as session:
        assert [item[:2] for item in reasons(session, document)] == [("a", "hit"), ("n/x", "run"), ("n", "unknown")]
        session.run(document)
    assert ran() == ["child"]


def test_a_known_expansion_is_wired_as_the_workflow_is_now(tmp_path: Path) -> None:
    """Same values, other nodes, and two inputs that were one edge."""
    grow = {"levels": 1, "image": "@i.image", "extra": ["@i.image"]}
    first = flow("g.image", i=use("MakeImage", level=0.5), g=use("Grow", **grow))
    other = {"levels": 1, "image": "@j.image", "extra": ["@k.image"]}
    second = flow("g.image", j=use("MakeImage", level=0.5), k=use("Flat", image="@j.image"), g=use("Grow", **other))
    with opened(tmp_path) as session:
        session.run(first)
        for document in (second, first):
            on, off = (session.run(document, cache=cache).outputs["o0"].numpy() for cache in (True, False))
            assert on.tobytes() == off.tobytes()


def test_a_file_that_a_node_inside_names_is_read_as_it_is_now(tmp_path: Path) -> None:
    place = tmp_path / "input" / "a.png"
    place.parent.mkdir()
    document = flow("n", n=in_plugin("p/ByName", name="a.png"))
    with opened(tmp_path) as session:
        for text in ("first", "second, longer"):
            place.write_text(text)
            assert value(session, document) == text


def test_the_name_of_a_file_counts_where_a_node_inside_may_be_told_it(tmp_path: Path) -> None:
    """The key knows the content alone, which b.png has when a.png has another."""
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "a.png").write_text("one")
    with opened(tmp_path) as session:
        assert value(session, flow("n", n=in_plugin("p/ByFile", file="a.png"))) == "one"
        (folder / "b.png").write_text("one")
        (folder / "a.png").write_text("another")
        assert value(session, flow("n", n=in_plugin("p/ByFile", file="b.png"))) == "one"


def test_a_node_inside_that_ran_short_of_memory_once_is_computed_whole_where_there_is_enough(tmp_path: Path) -> None:
    document = flow("n", n=in_plugin("p/Thrift", tag="t"))
    toys.HUNGER[:] = [1, 1]
    with opened(tmp_path) as short:
        assert short.run(document).outputs == {"o0": "t1"}
    with opened(tmp_path) as roomy:
        assert value(roomy, document) == "t0"


def test_a_sink_that_stands_for_others_saves_once_in_a_run_that_is_taken_up_again(tmp_path: Path) -> None:
    document = flow("e", e=use("Expand", way="sink"))
    with opened(tmp_path) as session:
        for _ in range(2):
            session.run_job(session.prepare(document), resume="job")
    assert ran() == ["expand", "sink 2"]
