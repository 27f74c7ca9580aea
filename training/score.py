"""The score: the share of the model's pictures that match held-out captions."""

from dataclasses import dataclass, fields

import numpy as np

from latentloom.training.detector import Detector, Report
from latentloom.training.pictures import Pixels
from latentloom.training.sample import Trained, sample
from latentloom.training.scenes import Scene, caption, test_scenes

SEED = 1000
BATCH = 25


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of correct pictures, 0..1: with all attributes right, and by attribute."""

    right: float
    attributes: dict[str, float]
    pictures: int


def score_scenes(model: Trained, scenes: list[Scene], cfg: float, steps: int = 20, seed: int = SEED) -> list[Report]:
    """Return one report per scene; picture i starts from seed + i."""
    detector = Detector()
    pictures: list[Pixels] = []
    for first in range(0, len(scenes), BATCH):
        part = scenes[first : first + BATCH]
        pictures.extend(sample(model, [caption(scene) for scene in part], seed + first, cfg, steps))
    return [
        detector.judge(picture.astype(np.float32) / 255, scene) for picture, scene in zip(pictures, scenes, strict=True)
    ]


def summarise(reports: list[Report]) -> Score:
    """Compute the shares of the reports."""
    attributes = {
        field.name: float(np.mean([getattr(report, field.name) for report in reports])) for field in fields(Report)
    }
    return Score(float(np.mean([report.right for report in reports])), attributes, len(reports))


def score(model: Trained, cfg: float, each: int = 200, seed: int = SEED) -> dict[str, Score]:
    """Return the scores on `each` held-out captions with one object and as many with two."""
    return {
        name: summarise(score_scenes(model, test_scenes(seed, count, each), cfg, seed=seed))
        for name, count in (("one object", 1), ("two objects", 2))
    }


def table(scores: dict[float, dict[str, Score]]) -> str:
    """Return a Markdown table with one row per cfg and number of objects."""
    names = [field.name for field in fields(Report)]
    rows = [f"| cfg | captions | all right | {' | '.join(names)} |", "|" + " ---: |" * (3 + len(names))]
    for cfg, kinds in scores.items():
        for kind, result in kinds.items():
            shares = [result.right, *(result.attributes[name] for name in names)]
            rows.append(f"| {cfg:g} | {kind} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    return "\n".join(rows) + "\n"
