"""Figures for the model's page: a sheet of samples, and a sheet with one caption per row at increasing guidance."""

from pathlib import Path

from PIL import Image

from latentloom.training.pictures import grid
from latentloom.training.sample import Trained, sample
from latentloom.training.scenes import caption, test_scenes

GUIDANCE = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0)
SWEEP = (
    "a large red circle at the top on a white background",
    "a small yellow star on the left on a black background",
    "a large green square left of a small orange cross on a gray background",
    "a small blue triangle above a large pink circle on a brown background",
)


def sample_sheet(model: Trained, seed: int) -> Image.Image:
    """Make a sheet of pictures for held-out captions, not cherry-picked: eight with one object, sixteen with two."""
    scenes = test_scenes(seed, 1, 8) + test_scenes(seed, 2, 16)
    return grid(sample(model, [caption(scene) for scene in scenes], seed, cfg=3.0), 8)


def guidance_sheet(model: Trained, seed: int) -> Image.Image:
    """Make a sheet with one row per caption and one column per cfg of GUIDANCE; each row uses the same noise."""
    columns = [sample(model, list(SWEEP), seed, cfg) for cfg in GUIDANCE]
    return grid([column[row] for row in range(len(SWEEP)) for column in columns], len(GUIDANCE))


def write_figures(model: Trained, folder: Path, seed: int = 7) -> None:
    """Write shapes-samples.png and shapes-guidance.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, sheet in (("samples", sample_sheet(model, seed)), ("guidance", guidance_sheet(model, seed))):
        sheet.save(folder / f"shapes-{name}.png", optimize=True)
