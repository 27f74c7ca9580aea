"""Time of a sampling step outside the network, with and without previews; interleaved pairs, medians.

python benchmarks/sampling_bench.py [--steps 20] [--pairs 10] [--checkpoint shapes]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from latentloom.api import Session
from latentloom.engine.document.workflow import Target
from latentloom.engine.events import Event, NodeFinished, NodePreview
from latentloom.engine.settings import load_settings


class Clock:
    """Counts the seconds inside a module's forward."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.seconds, self.calls = 0.0, 0
        forward = module.forward

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            found = forward(*args, **kwargs)
            self.seconds += time.perf_counter() - begin
            self.calls += 1
            return found

        module.forward = timed


def measure(session: Session, clock: Clock, steps: int, seed: int) -> tuple[float, float, int]:
    """Seconds of the sampling node and of the network within, and the previews sent, for one run."""
    found: dict[str, float] = {}
    previews = 0

    def listen(event: Event) -> None:
        nonlocal previews
        previews += isinstance(event, NodePreview)
        if isinstance(event, NodeFinished):
            found[event.node] = event.seconds

    clock.seconds, clock.calls = 0.0, 0
    values = {Target("sample", "steps"): steps, Target("sample", "seed"): seed}
    session.run_job(session.prepare("txt2img", None, values, None), listen=listen)
    return found["sample"], clock.seconds, previews


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, Session(load_settings({}, {"LATENTLOOM_HOME": home})) as session:
        session.run("txt2img", steps=1, seed=0, out=Path(home))
        handle = session.run("txt2img", steps=1, seed=0, out=Path(home))  # everything is loaded now
        assert handle.files
        loaded = (item.model.content for item in session.engine.models._loaded.values())
        model = next(content for content in loaded if hasattr(content, "time_embedding"))
        clock = Clock(model)
        rows = [measure(session, clock, given.steps, seed + 1) for seed in range(given.pairs)]
    total, inside = (statistics.median(row[n] for row in rows) for n in (0, 1))
    outside = statistics.median((row[0] - row[1]) / given.steps for row in rows)
    print(f"steps {given.steps}, runs {given.pairs}, dtype {session.engine.environment.dtype}")
    print(f"node {total:.3f} s, network {inside:.3f} s, network per step {inside / given.steps * 1000:.2f} ms")
    print(f"outside the network {outside * 1000:.2f} ms per step, {outside * given.steps / total:.1%} of the node")
    print(f"previews {[row[2] for row in rows]}")


if __name__ == "__main__":
    main()
