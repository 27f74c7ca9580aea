"""Trivial graphs in process: what the engine itself costs per node.

    python benchmarks/graph_bench.py [--sizes 100 1000 10000 100000] [--repeat 5]

Prints a Markdown table: medians of CPU seconds (this thread's process time, so that other programs on the machine count
little), and the ratio of each size to the one before, which is 10 when growth is linear.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from latentloom.api import Session
from latentloom.engine import node
from latentloom.engine.keys import literal_digest
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration, Registry

KINDS = ("chain", "wide", "grid", "blocks")
INSIDE = 20  # nodes of the sub-workflow
COLUMNS = ("validate+plan+key", "first run", "fully cached", "one leaf changed")


@node("Add")
def add(a: int, b: int = 1) -> int:
    """Add two integers."""
    return a + b


def document(kind: str, size: int, last: int = 1) -> dict[str, Any]:
    """A chain, single nodes side by side, a grid of chains of ten, or uses of a sub-workflow that is a chain of 20.

    `last` is what the first chain's end adds.
    """
    if kind == "blocks":
        return blocks(size, last)
    length = {"chain": size, "wide": 1, "grid": 10}[kind]
    nodes: dict[str, Any] = {}
    outputs = []
    for column in range(size // length):
        for row in range(length):
            source: Any = {"node": f"c{column}r{row - 1}", "output": "value"} if row else column * 1000
            nodes[f"c{column}r{row}"] = {"type": "bench/Add", "inputs": {"a": source, "b": 1}}
        outputs.append({"name": f"o{column}", "from": {"node": f"c{column}r{length - 1}", "output": "value"}})
    nodes[f"c0r{length - 1}"]["inputs"]["b"] = last
    return {"format": "latentloom/1", "name": kind, "nodes": nodes, "outputs": outputs}


def blocks(size: int, last: int) -> dict[str, Any]:
    """Uses of one sub-workflow, side by side."""
    chain = document("chain", INSIDE)
    end = f"c0r{INSIDE - 1}"
    inputs = [
        {"name": "a", "to": [{"node": "c0r0", "input": "a"}]},
        {"name": "last", "to": [{"node": end, "input": "b"}]},
    ]
    outputs = [{"name": "sum", "from": {"node": end, "output": "value"}}]
    graph = {"nodes": chain["nodes"], "inputs": inputs, "outputs": outputs}
    uses = {f"u{n}": {"type": "graph/chain", "inputs": {"a": n * 1000}} for n in range(size // INSIDE)}
    uses["u0"]["inputs"] = {"a": 0, "last": last}
    named = [{"name": f"o{n}", "from": {"node": id, "output": "sum"}} for n, id in enumerate(uses)]
    return {
        "format": "latentloom/1", "name": "blocks", "nodes": uses, "outputs": named, "graphs": {"chain": graph},
    }  # fmt: skip


def open_session(home: str) -> Session:
    """A session that knows one node, with a memory and a disk tier."""
    made = Registration(Distribution("bench", "1", "bench", "code"))
    made.node(add)
    return Session(load_settings({}, {"LATENTLOOM_HOME": home}), Registry([made]))


def seconds(act: Callable[[], Any]) -> float:
    begin = time.process_time()
    act()
    return time.process_time() - begin


def plan_and_key(session: Session, workflow: dict[str, Any]) -> None:
    """Read, validate, order, and find the key of the first step and digests of every literal."""
    job = session.prepare(workflow)
    for step in job.checked.steps.values():
        for value in step.literals.values():
            literal_digest("INT", value)


def measured(kind: str, size: int) -> tuple[float, ...]:
    """Seconds for each column, in a fresh home."""
    with tempfile.TemporaryDirectory() as home, open_session(home) as session:
        workflow, changed = document(kind, size), document(kind, size, last=-(10**9))
        return (
            seconds(lambda: plan_and_key(session, workflow)),
            seconds(lambda: session.run(workflow)),
            seconds(lambda: session.run(workflow)),
            seconds(lambda: session.run(changed)),
        )


def rows(sizes: list[int], repeat: int) -> Iterator[str]:
    """The table, row by row."""
    yield f"| graph | nodes | {' | '.join(COLUMNS)} |"
    yield "|---" * (2 + len(COLUMNS)) + "|"
    for kind in KINDS:
        before: tuple[float, ...] | None = None
        for size in sizes:
            runs = [measured(kind, size) for _ in range(repeat if size <= 10_000 else min(repeat, 2))]
            median = tuple(statistics.median(column) for column in zip(*runs, strict=True))
            ratios = [f" (x{now / then:.1f})" for now, then in zip(median, before, strict=True)] if before else [""] * 4
            cells = [f"{value:.3f} s{ratio}" for value, ratio in zip(median, ratios, strict=True)]
            yield f"| {kind} | {size:,} | {' | '.join(cells)} |"
            before = median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    for row in rows(options.sizes, options.repeat):
        print(row, flush=True)


if __name__ == "__main__":
    main()
