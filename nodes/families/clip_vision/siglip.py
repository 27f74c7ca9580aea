"""The model kind "siglip_vision": SigLIP's image encoder (Zhai et al. 2023), which Flux.1 Redux reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import folder_weights, said_class
from latentloom.nodes.families.header import Shapes, counted, weights_facts
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.text_parts import header_of
from latentloom.nodes.families.unused import warn_unused

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine import Image
    from latentloom.nodes.drawing.resize import Fit

PREFIX = "vision_model."
HEADS = {1152: 16}  # of SoViT-400m; the others have heads 64 wide
BESIDE = (f"{PREFIX}head.", "text_model.", "logit_")  # the comparison with texts, which Redux does not need


class SiglipVisionKind:
    """SigLIP's vision model, as one file with transformers' key names or as a folder."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of a "clip_vision"; None for another file or folder."""
        if path.is_dir() and said_class(path) not in ("SiglipVisionModel", "SiglipModel"):
            return None
        header = header_of(path)
        config = siglip_config(header.shapes)
        if config is None:
            return None
        facts = {"width": config["hidden_size"], "projection": 0, "side": config["image_size"], "siglip": True}
        return {"clip_vision": facts, "about": f"SigLIP vision ({facts['width']} wide)", **weights_facts(header)}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """Load a transformers SiglipVisionModel without its head."""
        from transformers import SiglipVisionConfig, SiglipVisionModel

        path = paths[0]
        config, weights = (
            siglip_config(header_of(path).shapes),
            folder_weights(path) if path.is_dir() else Weights(path),
        )
        if config is None:
            raise FileError(f"'{path.name}' is no SigLIP vision model")
        arguments = config

        def pieces(names: list[str]) -> dict[str, Piece]:
            return {name: Piece(PREFIX + name) for name in names}

        def build() -> Any:
            return SiglipVisionModel(SiglipVisionConfig(**arguments, vision_use_head=False))

        made = assemble(build, pieces, weights, "picture encoder")
        weights.taken |= {name for name in weights.keys() if name.startswith(BESIDE)}  # noqa: SIM118
        warn_unused(weights)
        return made


def siglip_config(shapes: Shapes) -> dict[str, Any] | None:
    """Return the arguments of transformers' SiglipVisionConfig from shapes; None for another network, such as CLIP."""
    try:
        width, _, patch, _ = shapes[f"{PREFIX}embeddings.patch_embedding.weight"]
        _ = shapes[f"{PREFIX}embeddings.patch_embedding.bias"]  # CLIP has none
        return {
            "hidden_size": width,
            "patch_size": patch,
            "image_size": isqrt(shapes[f"{PREFIX}embeddings.position_embedding.weight"][0]) * patch,
            "intermediate_size": shapes[f"{PREFIX}encoder.layers.0.mlp.fc1.weight"][0],
            "num_hidden_layers": counted(shapes, PREFIX + "encoder.layers.{}."),
            "num_attention_heads": HEADS.get(width, max(1, width // 64)),
        }
    except (KeyError, ValueError):
        return None


def siglip_pixels(image: Image, side: int, fit: Fit) -> Tensor:
    """Prepare pictures for SigLIP, [B, 3, side, side] in -1..1. Transparent pixels are composited over white."""
    import torch

    from latentloom.nodes.drawing.blend import flattened
    from latentloom.nodes.drawing.resize import Size, fitted

    pixels = fitted(flattened(image.numpy(), 1), Size(side, side), "bicubic", fit, 1)
    return torch.from_numpy(pixels * 2 - 1).movedim(-1, 1)
