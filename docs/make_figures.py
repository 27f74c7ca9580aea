"""Makes the pictures of docs/how-it-works.md: `python docs/make_figures.py`. They come from workflows in the box."""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from latentloom.api import open_session

SEED = 7
MOST_BYTES = 150_000
PROMPT = "a large red circle above a small blue square on a white background"
FIGURES: Mapping[str, Mapping[str, Any]] = {
    "tokens": {"prompt": "a large red circle above a small blue dragon on a white background"},
    "forward-noising": {"prompt": PROMPT, "seed": SEED},
    "schedules": {},
    "latent-channels": {"prompt": PROMPT, "seed": SEED},
    "denoising-steps": {"prompt": PROMPT, "seed": SEED},
}
"""The workflow of each figure and its inputs."""


def main() -> None:
    """Run every workflow and write docs/images/how-NAME.png."""
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        open_session(
            metadata=False, data=Path(home), output=Path(home), cache_bytes=0, device="cpu", dtype="fp32"
        ) as s,
    ):
        for name, inputs in FIGURES.items():
            (picture,) = s.run(name, **inputs).pictures
            (folder / f"how-{name}.png").write_bytes(small_png(picture))


def small_png(picture: Image.Image) -> bytes:
    """A PNG of at most MOST_BYTES, with as many colours as fit."""
    for colours in (256, 128, 64, 32):
        out = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= MOST_BYTES:
            break
    return out.getvalue()


if __name__ == "__main__":
    main()
