from latentloom.cli.progress import Bars, Lines, Meter, Warnings
from latentloom.engine.events import (
    NodeCached,
    NodeFailed,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    NodeWarning,
    RunFinished,
)


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self):
        return self.now


def steps(meter, clock, node, times, total=None):
    for step, at in times:
        clock.now = at
        meter(NodeProgress(node=node, step=step, total=total or times[-1][0]))


def test_the_first_step_does_not_count():
    clock = Clock()
    meter = Meter(clock)
    meter(NodeStarted(node="s", type="S"))
    steps(meter, clock, "s", [(1, 10.0), (2, 11.0), (3, 12.0)])
    assert (meter.steps("s"), meter.seconds("s"), meter.slowest()) == (3, 1.0, "s")


def test_a_single_step_counts_from_the_start():
    clock = Clock()
    meter = Meter(clock)
    meter(NodeStarted(node="s", type="S"))
    steps(meter, clock, "s", [(1, 4.0)])
    assert meter.seconds("s") == 4.0


def test_a_count_that_starts_anew_is_measured_anew():
    clock = Clock()
    meter = Meter(clock)
    meter(NodeStarted(node="s", type="S"))
    steps(meter, clock, "s", [(0, 1.0), (2, 9.0), (0, 10.0), (2, 11.0)], total=2)
    assert meter.seconds("s") == 0.5


def test_the_slowest_node_is_the_one_with_most_time_in_steps():
    clock = Clock()
    meter = Meter(clock)
    for node, end in (("a", 3.0), ("b", 30.0), ("c", 31.0)):
        meter(NodeStarted(node=node, type="S"))
        steps(meter, clock, node, [(0, clock.now), (2, end)])
    assert meter.slowest() == "b"


def test_no_steps_no_pace():
    meter = Meter()
    meter(NodeStarted(node="s", type="S"))
    assert (meter.steps("s"), meter.seconds("s"), meter.slowest()) == (0, None, None)


def events():
    return [
        NodeCached(node="a", type="A"),
        NodeStarted(node="b", type="B"),
        NodeWarning(node="b", code="odd", message="an odd word"),
        NodeFinished(node="b", type="B", seconds=1.25, peak_bytes=0),
        NodeWarning(node=None, code="full", message="the disk is full"),
        NodeStarted(node="c", type="C"),
        NodeFailed(node="c", type="C", problem={}),
        RunFinished(run="r", status="failed", seconds=2.0),
    ]


LINES = ["a: A, cached", "warning: b: an odd word", "b: B, 1.25 s", "warning: the disk is full", "c: C, failed"]


def test_plain_lines_tell_what_ended(capsys):
    shown = Lines(Meter())
    for event in events():
        shown(event)
    assert capsys.readouterr().err.splitlines() == LINES


def test_plain_lines_of_steps_come_every_two_seconds(capsys):
    clock = Clock()
    shown = Lines(Meter(clock), clock)
    for second in range(6):
        clock.now = float(second)
        shown(NodeProgress(node="s", step=second, total=5))
    assert capsys.readouterr().err.splitlines() == ["s: 2/5", "s: 4/5"]


def test_beside_json_only_warnings_are_shown(capsys):
    with Warnings() as shown:
        for event in events():
            shown(event)
    assert capsys.readouterr().err.splitlines() == ["warning: b: an odd word", "warning: the disk is full"]


def test_bars_leave_the_same_lines(capsys):
    with Bars(Meter()) as shown:
        for event in events():
            shown(event)
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if line in LINES] == LINES
