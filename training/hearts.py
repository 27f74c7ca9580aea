"""Draws the data set `hearts`: five pictures of a shape that the embedded models do not know, with captions.

python -m latentloom.training.hearts nodes/embedded/datasets/hearts.zip
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from latentloom.engine.files.picture_sets import pack
from latentloom.training.pictures import Painter
from latentloom.training.scenes import SHAPES, Scene, Thing

SHOWN = (
    ("large", "in the center", "white"),
    ("small", "on the left", "black"),
    ("large", "at the top", "gray"),
    ("small", "on the right", "brown"),
    ("large", "at the bottom", "white"),
)
"""Size, place and background of each picture."""
COLOUR = "purple"


def scene(size: str, place: str, background: str) -> Scene:
    """Return the scene of one heart."""
    return Scene((Thing("heart", COLOUR, size),), place, background)


def said(size: str, place: str, background: str) -> str:
    """Return the caption of one heart. The colour is left out: it belongs to the word."""
    return f"a {size} heart {place} on a {background} background"


def write_hearts(zipped: Path) -> None:
    """Write the data set as a ZIP file, the same one each time."""
    painter, rng = Painter((*SHAPES, "heart")), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as made:
        for n, told in enumerate(SHOWN, 1):
            Image.fromarray(painter.paint(scene(*told), rng)).save(Path(made) / f"heart{n}.png", optimize=True)
            (Path(made) / f"heart{n}.txt").write_text(said(*told) + "\n", encoding="utf-8")
        zipped.parent.mkdir(parents=True, exist_ok=True)
        pack(Path(made), zipped)


if __name__ == "__main__":
    write_hearts(Path(sys.argv[1]))
