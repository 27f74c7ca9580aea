"""The vision tower of Qwen2.5-VL (Qwen team 2025) in files: recognised by keys, configured by shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.engine.models.weights import not_in_float16
from latentloom.nodes.families.clip_vision.kind import DEVIATION, MEAN
from latentloom.nodes.families.folder import folder_weights
from latentloom.nodes.families.header import Shapes, below, counted
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.unused import warn_unused
from latentloom.nodes.text.vision_tower import VisionTower

NAMES = ("visual.", "model.visual.")
HEADS = 16  # of every size; shapes do not tell it


def vision_prefix(every: Shapes, root: str) -> str | None:
    """Return the prefix of a vision tower whose names begin with `root`; None without one."""
    return next((root + name for name in NAMES if f"{root}{name}merger.ln_q.weight" in every), None)


def vision_config(shapes: Shapes) -> dict[str, Any]:
    """Return the arguments of transformers' configuration class."""
    width, _, frames, patch, _ = shapes["patch_embed.proj.weight"]
    return {
        "depth": counted(shapes, "blocks.{}."),
        "hidden_size": width,
        "intermediate_size": shapes["blocks.0.mlp.gate_proj.weight"][0],
        "num_heads": HEADS,
        "patch_size": patch,
        "temporal_patch_size": frames,
        "out_hidden_size": shapes["merger.mlp.2.weight"][0],
    }


def load_tower(path: Path, every: Shapes, root: str, others: Sequence[str] = ()) -> VisionTower:
    """Load the vision tower of a file or folder; `others` are the prefixes of its other parts.

    Raises FileError if it has none or lacks a part of it.
    """
    prefix = vision_prefix(every, root)
    if prefix is None:
        raise FileError(f"'{path.name}' has no vision tower")
    shapes, weights = below(every, prefix), folder_weights(path) if path.is_dir() else Weights(path)

    def pieces(names: list[str]) -> dict[str, Piece]:
        return {name: Piece(prefix + name) for name in names}

    made = not_in_float16(assemble(lambda: _built(shapes), pieces, weights, "vision tower"))
    warn_unused(weights, prefix, [*others, "lm_head."])
    return VisionTower(made, MEAN, DEVIATION)


def _built(shapes: Shapes) -> Any:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    return Qwen2_5_VisionTransformerPretrainedModel(Qwen2_5_VLVisionConfig(**vision_config(shapes)))
