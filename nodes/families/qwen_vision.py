"""The vision towers of Qwen2.5-VL and Qwen3-VL (Qwen team 2025) in files: recognised by keys, configured by shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
SECOND = "patch_embed.proj.second.weight"  # of the second frame, where a file has the two apart
DEEP = {27: [8, 16, 24], 24: [5, 11, 17]}  # by depth, the layers of Qwen3-VL that the language model sees as well


@dataclass(frozen=True, slots=True)
class TowerKind:
    """A kind of vision towers: a weight that only they have, how they are built, and their normalisation of colours."""

    title: str
    mark: str
    width: str  # the weight whose rows are the numbers that a token of a picture has
    build: Callable[[Shapes], Any]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


def find_tower(every: Shapes, root: str) -> tuple[str, TowerKind] | None:
    """Return the prefix of a vision tower whose names begin with `root`, and its kind; None without one."""
    places = ((root + name, kind) for name in NAMES for kind in KINDS)
    return next(((prefix, kind) for prefix, kind in places if prefix + kind.mark in every), None)


def load_tower(path: Path, every: Shapes, root: str, others: Sequence[str] = ()) -> VisionTower:
    """Load the vision tower of a file or folder; `others` are the prefixes of its other parts.

    Raises FileError if it has none or lacks a part of it.
    """
    found = find_tower(every, root)
    if found is None:
        raise FileError(f"'{path.name}' has no vision tower")
    prefix, kind = found
    shapes, weights = below(every, prefix), folder_weights(path) if path.is_dir() else Weights(path)

    def pieces(names: list[str]) -> dict[str, Piece]:
        return {name: _piece(prefix, name, shapes) for name in names}

    made = not_in_float16(assemble(lambda: kind.build(shapes), pieces, weights, "vision tower"))
    warn_unused(weights, prefix, [*others, "lm_head."])
    return VisionTower(made, kind.mean, kind.deviation)


def _piece(prefix: str, name: str, shapes: Shapes) -> Piece:
    """Return where a weight is; llama.cpp keeps queries, keys and values, and the two frames of a patch, apart."""
    if name not in shapes and ".attn.qkv." in name:
        first, *others = (prefix + name.replace("attn.qkv", f"attn.{part}") for part in "qkv")
        return Piece(first, beside=tuple(others))
    if name == "patch_embed.proj.weight" and SECOND in shapes:
        return Piece(prefix + name, beside=(prefix + SECOND,), stacked=2)
    return Piece(prefix + name)


def _shared(shapes: Shapes) -> dict[str, Any]:
    width, _, *frames, patch, _ = shapes["patch_embed.proj.weight"]
    return {
        "depth": counted(shapes, "blocks.{}."),
        "hidden_size": width,
        "num_heads": HEADS,
        "patch_size": patch,
        "temporal_patch_size": frames[0] if frames else 2,
    }


def _qwen2_5(shapes: Shapes) -> Any:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    config = Qwen2_5_VLVisionConfig(
        **_shared(shapes),
        intermediate_size=shapes["blocks.0.mlp.gate_proj.weight"][0],
        out_hidden_size=shapes["merger.mlp.2.weight"][0],
    )
    return Qwen2_5_VisionTransformerPretrainedModel(config)


def _qwen3(shapes: Shapes) -> Any:
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

    shared, count = _shared(shapes), counted(shapes, "deepstack_merger_list.{}.")
    depth = shared["depth"]
    spread = [(number + 1) * depth // (count + 1) - 1 for number in range(count)]
    config = Qwen3VLVisionConfig(
        **shared,
        intermediate_size=shapes["blocks.0.mlp.linear_fc1.weight"][0],
        out_hidden_size=shapes["merger.linear_fc2.weight"][0],
        num_position_embeddings=shapes["pos_embed.weight"][0],
        deepstack_visual_indexes=DEEP.get(depth, spread),
    )
    return Qwen3VLVisionModel(config)


HALF = (0.5, 0.5, 0.5)
KINDS = (
    TowerKind("Qwen2.5-VL", "merger.ln_q.weight", "merger.mlp.2.weight", _qwen2_5, MEAN, DEVIATION),
    TowerKind("Qwen3-VL", "merger.linear_fc2.weight", "merger.linear_fc2.weight", _qwen3, HALF, HALF),
)
