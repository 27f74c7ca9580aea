"""What a run does, step by step: exact events, what runs and what does not, and how faults end it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from toys import flow, ran, use

from latentloom.api import Session
from latentloom.engine.errors import Cancelled, LoomError, MutationError, NodeError, WorkflowError
from latentloom.engine.events import Event, NodeProgress, NodeWarning, RunFinished
from latentloom.engine.execution.outcome import Outcome


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    ran()
    with toys.session(tmp_path) as made:
        yield made


def events(session: Session, document: Any, **how: Any) -> list[str]:
    """The events of a run as short texts."""
    found: list[Event] = []
    session.run_job(session.prepare(document), listen=found.append, **how)
    assert [event.number for event in found] == list(range(len(found)))
    return [" ".join([event.name, *filter(None, [getattr(event, "node", None)])]) for event in found]


def outcome(session: Session, document: Any, **how: Any) -> Outcome:
    return session.run_job(session.prepare(document), **how)


def error(session: Session, document: Any) -> LoomError:
    found = outcome(session, document)
    assert found.status == "failed" and found.error is not None
    return found.error


PAIR = flow("b", a=use("Add", a=1), b=use("Add", a="@a"))


def test_a_first_run_runs_every_step_in_order(session: Session) -> None:
    assert events(session, PAIR) == [
        "run_started",
        "node_started a",
        "node_finished a",
        "node_started b",
        "node_finished b",
        "run_finished",
    ]


def test_a_run_tells_once_of_each_deprecated_type_that_it_needs(session: Session) -> None:
    found: list[Event] = []
    old = flow("b", a=use("AddOld", a=1), b=use("AddOld", a="@a"), not_needed=use("AddOlder", a=1))
    session.run_job(session.prepare(old), listen=found.append)
    assert [event.name for event in found[:3]] == ["run_started", "node_warning", "node_started"]
    (told,) = [event for event in found if isinstance(event, NodeWarning)]
    text = "toys/AddOld is deprecated: use toys/Add (2 nodes)"
    assert (told.node, told.code, told.message) == ("a", "deprecated_node", text)
    assert list(session.run(old).outputs.values()) == [3]


def test_a_second_run_runs_nothing(session: Session) -> None:
    events(session, PAIR)
    assert events(session, PAIR) == ["run_started", "node_cached a", "node_cached b", "run_finished"]


def test_without_the_cache_everything_runs_again(session: Session) -> None:
    assert events(session, PAIR) == events(session, PAIR, cache=False)


def test_what_follows_is_cut_off_early_when_the_bytes_are_the_same(session: Session) -> None:
    document = flow(
        "m", a=use("MakeImage", level=0.1), f=use("Flat", image="@a.image"), m=use("Mean", image="@f.image")
    )
    events(session, document)
    document["nodes"]["a"]["inputs"]["level"] = 0.2
    assert events(session, document)[1:-1] == [
        "node_started a",
        "node_finished a",
        "node_started f",
        "node_finished f",
        "node_cached m",
    ]


def test_only_what_the_wanted_outputs_need_runs(session: Session) -> None:
    document = flow("a b", a=use("Count", tag="a"), b=use("Count", tag="b"), c=use("Count", tag="c"))
    assert session.run(document, outputs=["o1"]).outputs == {"o1": 0}
    assert ran() == ["b"]


def test_the_same_key_twice_in_one_graph_runs_once(session: Session) -> None:
    nodes = {f"n{k}": use("Count", tag="x") for k in range(3)}
    assert session.run(flow("n0 n1 n2", **nodes)).outputs == {"o0": 0, "o1": 0, "o2": 0}
    assert ran() == ["x"]


def test_the_same_async_key_twice_in_one_graph_runs_once(session: Session) -> None:
    nodes = {f"n{k}": use("Sleep", seconds=0.05, value=1) for k in range(3)}
    session.run(flow("n0 n1 n2", **nodes))
    assert ran() == ["sleep"]


def test_async_nodes_overlap_while_sync_nodes_run(session: Session) -> None:
    nodes = {f"s{k}": use("Await", tag="beside", value=k) for k in range(3)}
    found = events(session, flow("s0 s1 s2 c", **nodes, c=use("Count", tag="beside")))
    assert [text for text in found if text.startswith("node_started")] == [
        "node_started s0",
        "node_started s1",
        "node_started s2",
        "node_started c",
    ]
    assert {text for text in found if text.startswith("node_finished")} == {f"node_finished {n}" for n in ("c", *nodes)}


# Lazy inputs

BRANCHES = flow("i", i=use("If", flag=True, yes="@y", no="@n"), y=use("Count", tag="yes"), n=use("Count", tag="no"))


def test_a_branch_that_nobody_asks_for_never_runs(session: Session) -> None:
    assert session.run(BRANCHES).outputs == {"o0": 0}
    assert ran() == ["yes"]


def test_the_key_holds_only_what_was_asked_for(session: Session) -> None:
    session.run(BRANCHES)
    document = {**BRANCHES, "nodes": {**BRANCHES["nodes"], "n": use("Count", tag="other")}}
    assert events(session, document)[1:-1] == ["node_cached y", "node_cached i"]


def test_a_literal_can_be_a_branch(session: Session) -> None:
    assert session.run(flow("i", i=use("If", flag=False, yes="@y", no="plain"), y=use("Count", tag="y"))).outputs == {
        "o0": "plain"
    }
    assert ran() == []


def test_a_lazy_value_is_there_although_another_reader_is_through(tmp_path: Path) -> None:
    document = flow(
        "b m",
        r=use("Random"),
        m=use("Add", a="@r"),
        late=use("Count", tag="late", value="@m"),
        b=use("If", flag=True, yes="@r", no="@late"),
    )
    with toys.session(tmp_path, memory_cache_bytes=0, cache_bytes=0) as session:
        found = session.run(document).outputs
    assert found["o1"] == found["o0"] + 1


# Values of every port


def test_any_ports_take_and_give_anything(session: Session) -> None:
    nodes = {
        "i": use("MakeImage"),
        "p": use("Pass", value="@i.image"),
        "m": use("Mean", image="@p"),
        "l": use("Pass", value=[1, "x"]),
    }
    assert session.run(flow("m l", **nodes)).outputs == {"o0": 0.5, "o1": [1, "x"]}


def test_an_any_list_holds_values_of_several_kinds(session: Session) -> None:
    for _ in range(2):
        one, two, image = session.run(flow("a.values", a=use("AnyList"))).outputs["o0"]
        assert (one, two, image.shape) == (1, "two", (1, 1, 1, 3))


def test_an_optional_image_may_be_left_out(session: Session) -> None:
    for _ in range(2):
        assert session.run(flow("m n", m=use("Mean"), n=use("Mean", image=None))).outputs == {"o0": -1.0, "o1": -1.0}


def test_an_integer_goes_into_a_float(session: Session) -> None:
    assert repr(session.run(flow("h", a=use("Add", a=2), h=use("Half", x="@a"))).outputs) == "{'o0': 1.5}"


def test_values_of_edges_are_held_to_bounds(session: Session) -> None:
    found = error(session, flow("s", a=use("Add", a=100), s=use("Small", n="@a")))
    assert str(found) == "node 's', input 'n': out of range (expected 0..100, got 101)"


def test_a_choice_over_an_edge_is_held_to_the_choices(session: Session) -> None:
    good = flow(
        "c s",
        t=use("Concat", texts=["up"]),
        c=use("Choose", way="@t"),
        s=use("Sample", name="@n"),
        n=use("Concat", texts=["slow"]),
    )
    assert session.run(good).outputs == {"o0": "up", "o1": "slow"}
    bad = flow("s", n=use("Concat", texts=["slo"]), s=use("Sample", name="@n"))
    assert str(error(session, bad)) == (
        "node 's', input 'name': not one of the choices (expected slow, got 'slo'). Did you mean 'slow'?"
    )


def test_lists_travel_whole_and_by_element(session: Session) -> None:
    nodes = {
        "r": use("Range", n=4),
        "s": use("Sum", items="@r.values"),
        "t": use("Sum", items=[10, "@s", "@d.remainder"]),
        "d": use("Divide", a=17, b=5),
    }
    assert session.run(flow("s t d.quotient", **nodes)).outputs == {"o0": 6, "o1": 18, "o2": 3}


def test_what_json_returns_is_the_same_first_and_cached(tmp_path: Path) -> None:
    document = flow("t k", t=use("Odd", way="tuple"), k=use("Odd", way="keys"))
    with toys.session(tmp_path) as session:
        first = session.run(document).outputs
    with toys.session(tmp_path) as session:
        assert repr(session.run(document).outputs) == repr(first) == "{'o0': {'pair': [1, 2]}, 'o1': {'1': 'one'}}"


@pytest.mark.parametrize("way", ["set", "nan", "surrogate", "cycle", "bytes", "object"])
def test_what_json_cannot_hold_is_refused(session: Session, way: str) -> None:
    found = error(session, flow("o", o=use("Odd", way=way)))
    assert (found.code, found.problem.node) == ("node_failed", "o")
    assert found.problem.message == "toys/Odd returned a value that does not fit its output 'value'"


@pytest.mark.parametrize(
    ("type", "inputs", "expected", "got"),
    [
        ("WrongInt", {"way": "text"}, "an integer", "'five'"),
        ("WrongInt", {"way": "none"}, "an integer", "NoneType"),
        ("WrongInt", {"way": "nan"}, "an integer", "nan"),
        ("WrongInt", {"way": "image"}, "an integer", "Image"),
        ("WrongInt", {"way": "list"}, "an integer", "list"),
        ("WrongInt", {"way": "bool"}, "an integer", "True"),
        ("WrongTuple", {}, "a tuple of 2", "tuple"),
        ("WrongImage", {}, "IMAGE", "ndarray"),
        ("WrongList", {}, "a list of INT", "5"),
    ],
)
def test_a_node_that_returns_something_else_is_named(
    session: Session, type: str, inputs: dict[str, Any], expected: str, got: str
) -> None:
    output = {"WrongImage": "n.image", "WrongTuple": "n.quotient", "WrongList": "n.values"}.get(type, "n")
    found = error(session, flow(output, n=use(type, **inputs))).problem
    assert (found.node, found.expected, found.got) == ("n", expected, got)


def test_values_without_a_codec_stay_in_the_process(tmp_path: Path) -> None:
    document = flow("r", t=use("MakeToken", text="x"), r=use("ReadToken", token="@t.token"))
    with toys.session(tmp_path) as session:
        ran()
        assert [session.run(document).outputs for _ in range(2)] == [{"o0": "x"}] * 2
        assert ran() == ["token"]
    with toys.session(tmp_path) as session:
        assert session.run(document).outputs == {"o0": "x"}
        assert ran() == ["token"]


# Not pure


def test_a_nondeterministic_node_runs_once_in_every_run(session: Session) -> None:
    document = flow("a b c", r=use("Random"), a=use("Add", a="@r", b=0), b=use("Add", a="@r", b=0), c=use("Random"))
    first, second = (session.run(document).outputs for _ in range(2))
    assert first["o0"] == first["o1"] != first["o2"]
    assert first != second
    assert ran() == ["random"] * 4


def test_an_external_node_runs_when_the_world_changed(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "world"
    for text, expected in (("one", ["external"]), ("one", []), ("two", ["external"])):
        path.write_text(text)
        assert session.run(flow("e", e=use("External", path=str(path)))).outputs == {"o0": text}
        assert ran() == expected


def test_a_fingerprint_that_fails_names_its_node(session: Session, tmp_path: Path) -> None:
    found = error(session, flow("e", e=use("External", path=str(tmp_path / "none"))))
    assert found.problem.node == "e"
    assert found.problem.message.startswith("toys/External's fingerprint failed: FileNotFoundError: ")


def test_a_sink_always_runs(session: Session) -> None:
    document = flow("", a=use("Add", a=1), s=use("Sink", value="@a"))
    for _ in range(2):
        session.run(document)
    assert ran() == ["sink 2", "sink 2"]


# Expansion


@pytest.mark.parametrize("deep", [False, True])
def test_an_expansion_stands_for_its_nodes(session: Session, deep: bool) -> None:
    document = flow("c", a=use("Add", a=1), c=use("Chain", n=5, a="@a", deep=deep))
    assert session.run(document).outputs == {"o0": 7}
    assert session.run(document).nodes["c"].status == "cached"


def test_an_expansion_s_events_carry_the_ids_of_its_nodes(session: Session) -> None:
    assert events(session, flow("c", a=use("Add", a=1), c=use("Chain", n=2, a="@a")))[1:-1] == [
        "node_started a",
        "node_finished a",
        "node_started c",
        "node_started c/x0",
        "node_finished c/x0",
        "node_started c/x1",
        "node_finished c/x1",
        "node_finished c",
    ]


def test_expansions_nest_with_the_parent_s_edges_in_lists(session: Session) -> None:
    nodes = {"i": use("MakeImage", level=1.0), "j": use("MakeImage", level=0.5)}
    document = flow(
        "m", **nodes, g=use("Grow", levels=3, image="@i.image", extra=["@j.image"]), m=use("Mean", image="@g.image")
    )
    first = session.run(document, cache=False).outputs
    assert session.run(document).outputs == first == session.run(document).outputs


def test_an_expansion_without_nodes_passes_an_edge_on(session: Session) -> None:
    assert session.run(flow("c", a=use("Add", a=1), c=use("Chain", n=0, a="@a"))).outputs == {"o0": 2}


def test_sinks_inside_an_expansion_always_run(session: Session) -> None:
    for _ in range(2):
        assert session.run(flow("e", e=use("Expand", way="sink"))).outputs == {"o0": 2}
    assert ran() == ["expand", "sink 2", "sink 2"]


def test_a_nondeterministic_node_inside_an_expansion_runs_every_time(session: Session) -> None:
    first, second = (session.run(flow("e", e=use("Expand", way="random"))).outputs for _ in range(2))
    assert first != second


def test_an_endless_expansion_ends(session: Session) -> None:
    found = error(session, flow("e", e=use("Endless")))
    assert found.problem.message == "its expansions do not end"
    assert found.problem.node == "e" + "/more" * 16


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("outputs", "node 'e': its expansion has different outputs than the node (expected value, got sum)"),
        (
            "kind",
            "node 'e': its expansion returns the wrong type at its output 'value' (expected INT, got STRING)",
        ),
        ("type", "node 'e/x': there is no node type 'toys/Ad'. Did you mean 'toys/Add'?"),
        ("form", "node 'e/x': unknown key 'inpts' in the node. Did you mean 'inputs'?"),
        ("list", "node 'e': its expansion is malformed: AttributeError: 'list' object has no attribute 'items'"),
        ("edge", "node 'e': its expansion is malformed: TypeError: 'int' object is not subscriptable"),
        ("seed", "node 'e/x', input 'seed': an expansion's seed is a number, not \"random\""),
    ],
)
def test_a_bad_expansion_is_named(session: Session, way: str, text: str) -> None:
    assert str(error(session, flow("e", e=use("Expand", way=way)))) == text


# Faults


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("error", "node 'f': toys/Fail failed: ValueError: no such luck"),
        ("exit", "node 'f': toys/Fail failed: SystemExit: 3"),
        ("base", "node 'f': toys/Fail failed: BaseException: at the root"),
        ("loom", "node 'f': toys/Fail: the file is odd (expected a good one, got this)"),
    ],
)
def test_whatever_a_node_raises_is_its_error(session: Session, why: str, text: str) -> None:
    found = error(session, flow("f", f=use("Fail", why=why)))
    assert (type(found), str(found)) == (NodeError, text)
    assert found.__cause__ is not None


def test_a_failure_ends_the_run_and_keeps_what_was_done(session: Session) -> None:
    document = flow("c", a=use("Count", tag="a"), f=use("Fail", value="@a"), c=use("Count", tag="c", value="@f"))
    assert events(session, document)[1:] == [
        "node_started a",
        "node_finished a",
        "node_started f",
        "node_failed f",
        "run_finished",
    ]
    assert events(session, document)[1] == "node_cached a"
    assert ran() == ["a", "fail", "fail"]


def test_a_failed_node_is_reported_once_with_its_problem(session: Session) -> None:
    found: list[Event] = []
    session.run_job(session.prepare(flow("e", e=use("Expand", way="type"))), listen=found.append)
    (failed,) = [event.record() for event in found if event.name == "node_failed"]
    assert failed["problem"]["message"] == "there is no node type 'toys/Ad'"


def test_failures_are_not_cached(session: Session, tmp_path: Path) -> None:
    document = flow("f", f=use("FailOnce", path=str(tmp_path / "flag")))
    assert outcome(session, document).status == "failed"
    assert session.run(document).outputs == {"o0": 1}


@pytest.mark.parametrize("warm", [False, True])
def test_a_write_in_place_names_the_culprit_and_loses_nothing(session: Session, warm: bool) -> None:
    if warm:
        session.run(flow("i.image", i=use("MakeImage", level=1.0)))
    found = error(session, flow("m", i=use("MakeImage", level=1.0), m=use("Mutate", image="@i.image")))
    assert (type(found), found.code) == (MutationError, "input_mutated")
    assert str(found).startswith("node 'm', input 'image': toys/Mutate changed its input in place\n  hint: ")
    assert session.run(flow("m", i=use("MakeImage", level=1.0), m=use("Mean", image="@i.image"))).outputs == {"o0": 1.0}


def test_numpy_refuses_to_write_in_place(session: Session) -> None:
    found = error(session, flow("m", i=use("MakeImage"), m=use("Mutate", image="@i.image", way="numpy")))
    assert str(found) == "node 'm': toys/Mutate failed: ValueError: assignment destination is read-only"


def test_a_node_that_writes_into_json_writes_into_its_own_copy(session: Session) -> None:
    nodes = {
        "w": use("Words", data={"literal": {"a": 1}}),
        "m": use("MutateWords", data="@w"),
        "v": use("Words", data="@w"),
    }
    for _ in range(2):
        found = session.run(flow("m v w", **nodes), cache=True).outputs
        assert found == {"o0": 2, "o1": {"words": {"words": {"a": 1}}}, "o2": {"words": {"a": 1}}}
        found["o2"]["words"]["a"] = 5


def test_warnings_are_events(session: Session) -> None:
    assert "node_warning w" in events(session, flow("w", w=use("Warn")))


# Cancel


def test_a_run_cancelled_before_it_begins_runs_nothing(session: Session) -> None:
    cancelled = threading.Event()
    cancelled.set()
    found = outcome(session, flow("a", a=use("Count", tag="a")), cancelled=cancelled)
    assert (found.status, type(found.error), ran()) == ("cancelled", Cancelled, [])


@pytest.mark.parametrize("type", ["Busy", "Stubborn"])
def test_a_cancel_is_seen_at_the_next_report(session: Session, type: str) -> None:
    cancelled, steps = threading.Event(), []

    def listen(event: Event) -> None:
        if isinstance(event, NodeProgress):
            steps.append(event.step)
            if len(steps) == 3:
                cancelled.set()

    document = flow("b", b=use(type, steps=1000))
    found = session.run_job(session.prepare(document), listen=listen, cancelled=cancelled)
    assert (found.status, len(steps)) == ("cancelled", 3)
    assert session.run(document).nodes["b"].status == "done"


def test_a_cancel_between_nodes_keeps_what_finished(session: Session) -> None:
    cancelled = threading.Event()

    def listen(event: Event) -> None:
        if event.name == "node_finished":
            cancelled.set()

    job = session.prepare(PAIR)
    assert session.run_job(job, listen=listen, cancelled=cancelled).status == "cancelled"
    assert events(session, PAIR)[1:3] == ["node_cached a", "node_started b"]


def test_a_cancel_ends_async_nodes(session: Session) -> None:
    cancelled = threading.Event()
    found: list[Event] = []

    def listen(event: Event) -> None:
        found.append(event)
        if isinstance(event, NodeProgress):
            cancelled.set()

    session.run_job(session.prepare(flow("s", s=use("Sleep", seconds=10))), listen=listen, cancelled=cancelled)
    assert isinstance(found[-1], RunFinished) and found[-1].status == "cancelled"


# Single flight


def test_two_runs_at_once_compute_a_key_once(session: Session) -> None:
    job = session.prepare(flow("s", s=use("Sleep", seconds=0.3, value=4)))
    found: list[Outcome] = []
    threads = [threading.Thread(target=lambda: found.append(session.run_job(job))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.outputs for one in found] == [{"o0": 4}] * 3
    assert ran() == ["sleep"]


def test_when_the_leader_is_cancelled_a_waiter_takes_over(session: Session) -> None:
    job, started, cancelled = (
        session.prepare(flow("s", s=use("Sleep", seconds=2, value=4))),
        threading.Event(),
        threading.Event(),
    )
    first = threading.Thread(
        target=lambda: session.run_job(
            job, cancelled=cancelled, listen=lambda e: started.set() if isinstance(e, NodeProgress) else None
        )
    )
    first.start()
    assert started.wait(60)
    threading.Timer(0.2, cancelled.set).start()
    assert session.run_job(job).outputs == {"o0": 4}
    first.join()
    assert ran() == ["sleep", "sleep"]


def test_an_evicted_async_value_is_made_again_for_all_who_need_it(tmp_path: Path) -> None:
    """Both readers find the value gone; the second is not run before it is there again."""
    document = flow(
        "a.image b.image", s=use("SlowImage"), a=use("Invert", image="@s.image"), b=use("Flat", image="@s.image")
    )
    with toys.session(tmp_path, cache_bytes=0, memory_cache_bytes=0) as session:
        session.run(flow("s.image", s=use("SlowImage")))
        found = session.run(document).outputs
    assert [float(image.numpy().mean()) for image in found.values()] == [0.5, 0.25]


def test_a_workflow_with_problems_does_not_start(session: Session) -> None:
    with pytest.raises(WorkflowError):
        session.run({**PAIR, "nodes": {"a": use("Add", a="x")}})


# Memory


def test_a_node_that_runs_out_of_memory_runs_once_more(session: Session) -> None:
    toys.HUNGER[:] = [1]
    found: list[Event] = []
    made = session.run_job(session.prepare(flow("h", h=use("Hungry", tag="x"))), listen=found.append)
    assert (made.status, ran()) == ("done", ["x", "x"])
    assert [(event.code, event.node, event.message) for event in found if isinstance(event, NodeWarning)] == [
        ("memory_retry", "h", "toys/Hungry ran out of memory; it runs again after evicting everything not in use")
    ]


def test_a_node_that_runs_out_of_memory_again_fails_and_is_not_cached(session: Session) -> None:
    toys.HUNGER[:] = [1, 1]
    caught = error(session, flow("h", h=use("Hungry", tag="x")))
    assert (caught.code, str(caught)) == (
        "out_of_memory",
        "node 'h': toys/Hungry ran out of memory (got 'tried to allocate 7 bytes')\n"
        "  hint: use a smaller size or batch, or reduce the memory for models: --vram-budget, --ram-budget",
    )
    ran()
    assert outcome(session, flow("h", h=use("Hungry", tag="x"))).status == "done"
    assert ran() == ["x"]


def test_a_node_that_knows_a_thriftier_way_takes_it_and_keeps_to_it(session: Session) -> None:
    toys.HUNGER[:] = [1, 1, 1]
    found: list[Event] = []
    made = session.run_job(session.prepare(flow("h", h=use("Thrifty", tag="x"))), listen=found.append)
    assert (made.status, made.outputs, ran()) == ("done", {"o0": "x2"}, ["x"] * 4)
    text = "toys/Thrifty ran out of memory again; from now on it computes in smaller parts (economy {})"
    assert [(event.code, event.message) for event in found if isinstance(event, NodeWarning)] == [
        ("memory_retry", "toys/Thrifty ran out of memory; it runs again after evicting everything not in use"),
        ("memory_economy", text.format(1)),
        ("memory_economy", text.format(2)),
    ]
    job = session.prepare(flow("h", h=use("Thrifty", tag="x")))
    assert session.run_job(job).outputs == {"o0": "x2"}
    assert session.run(flow("h", h=use("Thrifty", tag="y"))).outputs == {"o0": "y2"}
    assert ran() == ["y"]
    assert [item.status for item in session.engine.explain(job)] == ["hit"]


def test_the_thriftiest_way_may_fail_too(session: Session) -> None:
    toys.HUNGER[:] = [1] * 4
    assert error(session, flow("h", h=use("Thrifty", tag="x"))).code == "out_of_memory"
    assert ran() == ["x"] * 4


def test_a_result_made_in_parts_is_not_that_made_at_once(tmp_path: Path) -> None:
    """Another program with the same cache, which never ran short, computes its own."""
    toys.HUNGER[:] = [1, 1]
    document = flow("h", h=use("Thrifty", tag="x"))
    with toys.session(tmp_path) as short:
        assert short.run(document).outputs == {"o0": "x1"}
    with toys.session(tmp_path) as roomy:
        assert roomy.run(document).outputs == {"o0": "x0"}


def test_explain_tells_that_a_node_saves_memory_now(session: Session) -> None:
    job = session.prepare({**flow("h", h=use("Thrifty", tag="x")), "name": "thrift"})
    session.run_job(job)
    session.engine.economies.raise_to(session.engine.registry.nodes["toys/Thrifty"].spec, 1)
    assert [item.reason for item in session.engine.explain(job)] == ["changed: the level of memory saving"]


def test_a_sink_that_runs_out_of_memory_does_not_run_twice(session: Session) -> None:
    toys.HUNGER[:] = [1]
    assert error(session, flow(h=use("HungrySink", tag="x"))).code == "out_of_memory"
    assert ran() == ["x"]
