"""What a model file is, by its header, and the settings that suit it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentloom.engine.engine import Engine

PARTS = {"unet": "model", "clip": "clip", "vae": "vae"}  # what the Load nodes return


def model_facts(engine: Engine, path: Path) -> dict[str, Any]:
    """Return a file's "about", "weights", "parts" and "defaults", see `default_settings`.

    Raises FileError for a file that cannot be read.
    """
    kind, facts = engine.recognise(path) or ("", {"about": "unknown"})
    return {
        "about": str(facts.get("about", kind)),
        "weights": str(facts.get("weights", "")),
        "parts": [title for part, title in PARTS.items() if part in facts],
        "defaults": default_settings(facts.get("unet", {})),
    }


def default_settings(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that suit a model by its facts: steps, cfg, sampler and schedule where its family names them.

    `width` and `height` are those of its training, in pixels. {} for a file without a model.
    """
    if "size" not in info:
        return {}
    side = info["size"] * info["downscale"]
    return {**info.get("defaults", {}), "width": side, "height": side}
