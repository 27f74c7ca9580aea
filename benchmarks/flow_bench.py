"""Share of right pictures of `shapes-flow` by sampler and schedule, and by cfg, as a Markdown table.

python benchmarks/flow_bench.py [--captions 2] [--pictures 2] [--steps 20] [--samplers a,b] [--scored 0]

Captions are held out, half of them with two objects; the detector of the training judges the pictures. With --scored,
only the table by cfg is made, with so many captions of each kind.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.samplers import SAMPLERS
from latentloom.training.detector import Detector
from latentloom.training.export import load_flow
from latentloom.training.flow import GUIDANCE
from latentloom.training.scenes import Scene, caption, test_scenes
from latentloom.training.score import score, table

MODEL = Path(__file__).parents[1] / "nodes" / "embedded" / "checkpoints" / "shapes-flow"
SCHEDULES = ("simple", "beta", "normal", "sgm_uniform", "linear_quadratic", "karras")
SEED = 10


def cfg_of(sampler: str) -> float:
    """The model's default; samplers of CFG++ count on a scale of about 1."""
    return 1.0 if sampler.endswith("cfg_pp") else 2.0


def share(session: Session, scenes: list[Scene], pictures: int, **inputs: object) -> float:
    """The share of pictures that are all that their captions say, 0..1."""
    detector, right = Detector(), 0
    for scene in scenes:
        made = session.run("flow", prompt=caption(scene), seed=SEED, batch=pictures, **inputs)["image"].numpy()
        right += sum(detector.judge(pixels, scene).right for pixels in made)
    return right / (len(scenes) * pictures)


def by_sampler(given: argparse.Namespace) -> None:
    """Print a row for each sampler, with the shares in per cent by schedule."""
    ones, twos = given.captions // 2, given.captions - given.captions // 2
    scenes = [*test_scenes(1000, 1, ones), *test_scenes(1000, 2, twos)]
    print(f"| sampler | {' | '.join(SCHEDULES)} |\n|---|{' ---: |' * len(SCHEDULES)}", flush=True)
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": home})
        with Session(settings) as session:
            for sampler in given.samplers.split(","):
                more = {"sampler": sampler, "cfg": cfg_of(sampler), "steps": given.steps}
                found = [share(session, scenes, given.pictures, schedule=name, **more) for name in SCHEDULES]
                print(f"| `{sampler}` | {' | '.join(f'{one:.0%}' for one in found)} |", flush=True)


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("captions", 2), ("pictures", 2), ("steps", 20), ("scored", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--samplers", default=",".join(name for name, _, _ in SAMPLERS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.scored:
        print(table({cfg: score(load_flow(MODEL), cfg, given.scored) for cfg in GUIDANCE}))
    else:
        by_sampler(given)


if __name__ == "__main__":
    main()
