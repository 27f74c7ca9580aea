"""The model kind "clip_vision": CLIP's image encoder, as one file with transformers' key names or as a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import folder_header, folder_weights, read_json, said_class
from latentloom.nodes.families.header import Header, counted, read_header
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.unused import warn_unused

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine import Image

CLASS = "CLIPVisionModelWithProjection"
SIXTEEN_HEADS = (1024, 1280, 1664)  # the widths of ViT-L, ViT-H and ViT-bigG
OPENAI = (768, 1024)  # the widths of OpenAI's own models, whose activation differs
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class ClipVisionKind:
    """A picture encoder: what IP-Adapters read."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of a "clip_vision"; None for another file or folder."""
        header = _header(path)
        config = header and vision_config(header, _folder_config(path))
        if not config:
            return None
        facts = {"width": config["hidden_size"], "projection": config["projection_dim"], "side": config["image_size"]}
        return {"clip_vision": facts, "about": f"CLIP vision ({config['hidden_size']} wide)"}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load a transformers CLIPVisionModelWithProjection."""
        import torch
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        path, header = paths[0], _header(paths[0])
        found = header and vision_config(header, _folder_config(path))
        if not found:
            raise FileError(f"'{path.name}' contains no {info['component']}")
        config = found

        def pieces(names: list[str]) -> dict[str, Piece]:
            return {name: Piece(name) for name in names}

        def build() -> Any:
            return CLIPVisionModelWithProjection(CLIPVisionConfig(**config))

        weights = folder_weights(path) if path.is_dir() else Weights(path)
        model = assemble(build, pieces, weights, "picture encoder")
        warn_unused(weights)
        places = model.vision_model.embeddings
        places.position_ids = torch.arange(places.position_embedding.weight.shape[0])[None]  # not stored in files
        return model


def _header(path: Path) -> Header | None:
    """Return the header of a file, or of all files of an encoder's folder; None for another folder."""
    if path.is_file():
        return read_header(path)
    return folder_header(path) if said_class(path) == CLASS else None


def _folder_config(path: Path) -> dict[str, Any]:
    """Return a folder's configuration of its image encoder; {} for another folder."""
    found = read_json(path / "config.json") if said_class(path) == CLASS else {}
    return {name: found[name] for name in ("num_attention_heads", "hidden_act") if name in found}


def vision_config(header: Header, said: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments of transformers' CLIPVisionConfig, from shapes, overridden by a folder's configuration."""
    shapes = header.shapes
    try:
        width, _, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
        places = shapes["vision_model.embeddings.position_embedding.weight"][0]
        return {
            "hidden_size": width,
            "patch_size": patch,
            "image_size": isqrt(places - 1) * patch,
            "intermediate_size": shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0],
            "num_hidden_layers": counted(shapes, "vision_model.encoder.layers.{}."),
            "num_attention_heads": 16 if width in SIXTEEN_HEADS else max(1, width // 64),
            "projection_dim": shapes["visual_projection.weight"][0],
            "hidden_act": "quick_gelu" if width in OPENAI else "gelu",
            **said,
        }
    except (KeyError, ValueError):
        return None


def pixel_values(image: Image, side: int) -> Tensor:
    """Prepare pictures for CLIP, [B, 3, side, side]: resize the shorter side, crop the centre, normalise.

    Transparent pixels are composited over white.
    """
    import torch

    from latentloom.nodes.drawing.blend import flattened
    from latentloom.nodes.drawing.resize import Size, fitted

    pixels = fitted(flattened(image.numpy(), 1), Size(side, side), "bicubic", "fill", 1)
    normalised = (pixels - np.float32(MEAN)) / np.float32(DEVIATION)
    return torch.from_numpy(normalised).movedim(-1, 1)
