"""A random checkpoint of SD 1.5's size: loading, steps against a bare loop, and weights that are fetched.

python benchmarks/checkpoint_bench.py [--folder DIR] [--pairs 10] [--size 256]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from latentloom.api import Session
from latentloom.engine import FileIdentity, Model
from latentloom.engine.document.workflow import Target
from latentloom.engine.events import Event, NodeProgress
from latentloom.engine.models.device import PlainDevice
from latentloom.engine.models.environment import probe
from latentloom.engine.models.store import Budgets, ModelStore
from latentloom.engine.settings import Settings, load_settings
from latentloom.training.random_checkpoint import write_checkpoint

FILE, IN_PLACE = "sd1.safetensors", "sd1-bf16.safetensors"  # the second in the type that is computed in
FIRST_STEP = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import checkpoint_bench as bench
import diffusers, transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer
with bench.session(Path(sys.argv[2])) as session, bench.Peak() as peak:
    print(bench.first_step(session, int(sys.argv[3])), peak.most, flush=True)
"""


def settings(folder: Path, **more: Any) -> Settings:
    """A home in the folder, bf16."""
    return load_settings({"dtype": "bf16", **more}, {"LATENTLOOM_HOME": str(folder)})


def session(folder: Path) -> Session:
    """A session that keeps nothing of what nodes made."""
    return Session(settings(folder, cache_bytes=0, memory_cache_bytes=0))


def anonymous() -> int:
    """Bytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Peak:
    """The most anonymous memory while a with-block runs, looked at every 10 ms."""

    def __enter__(self) -> "Peak":
        self.most, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, anonymous())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def sample(session: Session, size: int, steps: int, seed: int) -> list[float]:
    """Run txt2img; the clock at each of the sampler's steps."""
    times: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, NodeProgress) and event.node == "sample":
            times.append(time.perf_counter())

    values: dict[Target, Any] = {Target("sample", "steps"): steps, Target("sample", "seed"): seed}
    values |= {Target("empty", name): size for name in ("width", "height")}
    values[Target("checkpoint", "checkpoint")] = FILE
    session.run_job(session.prepare("txt2img", None, values, ["image"]), listen=listen)
    return times


def first_step(session: Session, size: int) -> float:
    """Seconds from nothing loaded to the end of the first step."""
    begin = time.perf_counter()
    return sample(session, size, 1, 0)[0] - begin


def unet(folder: Path, budget: int | None, session: Session, file: str = FILE) -> tuple[ModelStore, Model]:
    """A store with a budget, and the handle of a checkpoint's UNet."""
    path = folder / "models/checkpoints" / file
    environment = probe(settings(folder))
    store = ModelStore(
        session.engine.registry, lambda: environment, lambda name: path, Budgets(ram=budget), PlainDevice
    )
    kind, info = session.engine.recognise(path) or ("", {})
    return store, Model(kind, [FileIdentity(path.name, "0" * 64)], {**info["unet"], "component": "unet"})


def forward(size: int) -> Callable[[Any], float]:
    """A function that times one forward of cond and uncond."""
    x = torch.randn(2, 4, size // 8, size // 8, dtype=torch.bfloat16)
    context = torch.randn(2, 77, 768, dtype=torch.bfloat16)

    def seconds(module: Any) -> float:
        begin = time.perf_counter()
        with torch.no_grad():
            module(x, torch.tensor(500), encoder_hidden_states=context, return_dict=False)
        return time.perf_counter() - begin

    return seconds


def steps_against_a_bare_loop(folder: Path, size: int, pairs: int) -> None:
    """KSampler's seconds per step over those of the same network called in a bare loop, pair by pair."""
    run = forward(size)
    with session(folder) as made:
        sample(made, size, 2, 0)
        loaded = next(m.model for m in made.engine.models._loaded.values() if hasattr(m.model.content, "conv_in"))
        ratios, step = [], []
        for seed in range(pairs):
            times = sample(made, size, 4, seed + 1)
            step.append((times[-1] - times[0]) / (len(times) - 1))
            with made.engine.models.pool.use([loaded]):
                run(loaded.content)
                bare = statistics.median(run(loaded.content) for _ in range(3))
            ratios.append(step[-1] / bare)
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(
        f"seconds per step {statistics.median(step):.3f}; over a bare loop {statistics.median(ratios):.3f} ({spread})"
    )


def fetching(folder: Path, size: int, pairs: int) -> None:
    """A quarter of the weights as the budget, against everything resident."""
    run = forward(size)
    with session(folder) as made:
        whole, handle = unet(folder, None, made)
        total = whole.plan([handle]).resident_bytes
        part, _ = unet(folder, total // 4, made)
        placement = part.plan([handle])
        rate = copy_rate()
        ratios = []
        for _ in range(pairs):
            with whole.load([handle]) as (module,):
                run(module)
                resident = statistics.median(run(module) for _ in range(2))
            with part.load([handle]) as (module,):
                run(module)
                fetched = statistics.median(run(module) for _ in range(2))
            ratios.append(fetched / (resident + placement.streamed_bytes / rate))
    gib = placement.streamed_bytes / 2**30
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"budget {total / 4 / 2**20:.0f} of {total / 2**20:.0f} MiB: {gib:.2f} GiB fetched per step")
    print(f"resident {resident:.3f} s, fetched {fetched:.3f} s, copy rate {rate / 1e9:.2f} GB/s")
    print(f"fetched over (resident + bytes / rate): {statistics.median(ratios):.3f} ({spread})")


def in_place(folder: Path, size: int, pairs: int) -> None:
    """Weights that serve where they are in their file, against weights that were converted."""
    run = forward(size)
    with session(folder) as made:
        copied, handle = unet(folder, None, made)
        mapped, same = unet(folder, None, made, IN_PLACE)
        assert mapped.plan([same]).in_place_bytes > 2**30
        ratios = []
        with copied.load([handle]) as (module,), mapped.load([same]) as (other,):
            run(module), run(other)
            for _ in range(pairs):
                resident, there = (statistics.median(run(each) for _ in range(2)) for each in (module, other))
                ratios.append(there / resident)
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"in place {there:.3f} s, over resident {statistics.median(ratios):.3f} ({spread})")


def copy_rate() -> float:
    """Bytes of bf16 per second that are made of fp16, one thread of copying as a layer's."""
    source = torch.randn(8 * 2**20).half()
    target = torch.empty_like(source, dtype=torch.bfloat16)
    target.copy_(source)
    begin = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    return 10 * target.nbytes / (time.perf_counter() - begin)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        path = folder / "models/checkpoints" / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, dtype in ((path, torch.float16), (path.with_name(IN_PLACE), torch.bfloat16)):
            if not file.exists():
                write_checkpoint(file, "sd1", dtype=dtype)
                time.sleep(2.5)  # a hash is memoised once the file is that old
        arguments = [sys.executable, "-c", FIRST_STEP, str(Path(__file__).parent), str(folder), str(given.size)]
        runs = [subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split() for _ in range(3)]
        seconds, most = (statistics.median(float(run[n]) for run in runs[1:]) for n in (0, 1))
        print(f"checkpoint {path.stat().st_size / 1e9:.2f} GB, {given.size} pixels, bf16")
        print(f"load to the end of the first step {seconds:.2f} s, peak anonymous memory {most / 1e9:.2f} GB")
        steps_against_a_bare_loop(folder, given.size, given.pairs)
        fetching(folder, given.size, given.pairs)
        in_place(folder, given.size, given.pairs)


if __name__ == "__main__":
    main()
