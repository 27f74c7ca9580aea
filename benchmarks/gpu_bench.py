"""A random checkpoint of SD 1.5's size on a CUDA card, against diffusers' pipeline over the same weights.

python benchmarks/gpu_bench.py [--folder DIR] [--pairs 5] [--size 512] [--steps 20] [--batches 1,4,16]

Without a card it says so and measures nothing. `--device cpu --recipe sd1_tiny --size 64` tries the program itself.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

from latentloom.api import Session
from latentloom.engine.document.workflow import Target
from latentloom.engine.settings import load_settings
from latentloom.training.random_checkpoint import write_checkpoint

FILE = "model.safetensors"


def session(given: argparse.Namespace, folder: Path, budget: int | None = None) -> Session:
    """A session that keeps nothing of what nodes made."""
    settings = {"device": given.device, "dtype": "bf16", "cache_bytes": 0, "memory_cache_bytes": 2**30}
    return Session(load_settings({**settings, "vram_budget": budget}, {"LATENTLOOM_HOME": str(folder)}))


def synchronize(device: str) -> None:
    """Wait for the card."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def ours(made: Session, given: argparse.Namespace, batch: int, seed: int) -> float:
    """Seconds of txt2img from prompts that are encoded to pixels on the host."""
    values: dict[Target, Any] = {
        Target("checkpoint", "checkpoint"): FILE,
        Target("empty", "width"): given.size,
        Target("empty", "height"): given.size,
        Target("empty", "batch"): batch,
        Target("sample", "steps"): given.steps,
        Target("sample", "seed"): seed,
        Target("sample", "sampler"): "euler",
        Target("sample", "schedule"): "normal",
    }
    job = made.prepare("txt2img", None, values, ["image"])
    begin = time.perf_counter()
    outcome = made.run_job(job)
    if outcome.error is not None:
        raise outcome.error
    return time.perf_counter() - begin


def pipeline(made: Session, folder: Path, device: str) -> Any:
    """diffusers' pipeline over the weights of the file."""
    path = folder / "models/checkpoints" / FILE
    kind, info = made.engine.recognise(path) or ("", {})
    load = made.engine.registry.extension("model_kind", kind).load()().load
    unet, vae = (load([path], {**info[name], "component": name}) for name in ("unet", "vae"))
    clip = load([path], {**info["clip"], "component": "clip"})
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    found = StableDiffusionPipeline(
        vae, clip.encoders[0].model, None, unet, scheduler, None, None, requires_safety_checker=False
    )
    found.set_progress_bar_config(disable=True)
    return found.to(device, torch.bfloat16)


def theirs(pipe: Any, given: argparse.Namespace, batch: int) -> float:
    """Seconds of the same in diffusers."""
    width = pipe.unet.config.cross_attention_dim
    embeds = {
        name: torch.randn(1, 77, width, dtype=torch.bfloat16, device=given.device)
        for name in ("prompt_embeds", "negative_prompt_embeds")
    }
    begin = time.perf_counter()
    pipe(
        **embeds,
        num_images_per_prompt=batch,
        num_inference_steps=given.steps,
        guidance_scale=7.0,
        width=given.size,
        height=given.size,
        output_type="np",
    )
    synchronize(given.device)
    return time.perf_counter() - begin


def batches(given: argparse.Namespace, folder: Path) -> None:
    """Ours over theirs, for each batch."""
    print("| batch | ours, s | diffusers, s | ratio | spread |\n|---:|---:|---:|---:|---:|")
    with session(given, folder) as made:
        pipe = pipeline(made, folder, given.device)
        for batch in map(int, given.batches.split(",")):
            ours(made, given, batch, 0), theirs(pipe, given, batch)
            pairs = [(ours(made, given, batch, seed + 1), theirs(pipe, given, batch)) for seed in range(given.pairs)]
            ratios = [mine / other for mine, other in pairs]
            mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            print(f"| {batch} | {mine:.3f} | {other:.3f} | {statistics.median(ratios):.3f} | {spread} |")


def budgets(given: argparse.Namespace, folder: Path) -> None:
    """Seconds and the card's peak with less and less memory for weights."""
    with session(given, folder) as made:
        ours(made, given, 1, 0)
        total = made.engine.models.pool.held_bytes
    print("| budget | seconds | peak of the card, GB |\n|---:|---:|---:|")
    for share in (1.0, 0.5, 0.25):
        budget = None if share == 1 else int(total * share)
        if given.device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with session(given, folder, budget) as made:
            ours(made, given, 1, 0)
            seconds = statistics.median(ours(made, given, 1, seed + 1) for seed in range(given.pairs))
        peak = torch.cuda.max_memory_allocated() / 1e9 if given.device.startswith("cuda") else 0.0
        print(f"| {share:.0%} | {seconds:.3f} | {peak:.2f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--recipe", default="sd1")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batches", default="1,4,16")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA card: not run")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        path = folder / "models/checkpoints" / FILE
        if not path.exists():
            path.parent.mkdir(parents=True)
            write_checkpoint(path, given.recipe)
        name = torch.cuda.get_device_name() if given.device.startswith("cuda") else given.device
        print(f"{given.recipe}, {given.size} pixels, {given.steps} steps, bf16, {name}, torch {torch.__version__}")
        batches(given, folder)
        budgets(given, folder)


if __name__ == "__main__":
    main()
