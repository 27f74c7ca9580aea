"""The model kind "controlnet" (Zhang et al. 2023): a safetensors file in either layout, or a diffusers folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import folder_weights
from latentloom.nodes.families.header import Header, Shapes, weights_facts
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.stable_diffusion import unet_keys
from latentloom.nodes.families.stable_diffusion.configs import UNetShape, controlnet_config, hint_widths, unet_shape
from latentloom.nodes.families.stable_diffusion.facts import TITLES
from latentloom.nodes.families.text_parts import header_of
from latentloom.nodes.families.unused import warn_unused

PREFIXES = ("control_model.", "")
CLASSES = ("ControlNetModel", "ControlNetUnionModel", "ControlNetModel_Union")


@dataclass(frozen=True, slots=True)
class ControlPart:
    """A ControlNet in a file."""

    prefix: str
    original: bool  # whether it has the original layout
    shape: UNetShape
    hints: tuple[int, ...]
    union: Mapping[str, int] | None = None  # further arguments of a union ControlNet


class ControlNetKind:
    """A ControlNet for SD 1.x, SD 2.x or SDXL."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of a "controlnet"; None for another file or folder."""
        header = _header(path)
        part = header and find_controlnet(header)
        if header is None or part is None:
            return None
        facts = {"family": part.shape.family, "context": part.shape.context, "pooled": part.shape.pooled}
        if part.union:
            facts["union"] = part.union["num_control_type"]
        about = f"{TITLES[part.shape.family]} {'union ' if part.union else ''}ControlNet"
        return {"controlnet": facts, "about": about, **weights_facts(header)}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load a diffusers ControlNetModel or ControlNetUnionModel."""
        from diffusers import ControlNetModel, ControlNetUnionModel

        path, header = paths[0], _header(paths[0])
        part = header and find_controlnet(header)
        if part is None:
            raise FileError(f"'{path.name}' contains no {info['component']}")
        found = part

        def pieces(names: list[str]) -> dict[str, Piece]:
            sources = unet_keys.original_names(names) if found.original else {name: name for name in names}
            return {name: Piece(found.prefix + source) for name, source in sources.items()}

        config = _folder_config(path)
        arguments = {**controlnet_config(part.shape, part.hints), **(part.union or {})}
        model = ControlNetUnionModel if part.union else ControlNetModel

        def build() -> Any:
            return model.from_config(config) if config and not part.union else model(**arguments)

        weights = folder_weights(path) if path.is_dir() else Weights(path)
        made = assemble(build, pieces, weights, "ControlNet")
        warn_unused(weights)
        return made


def _header(path: Path) -> Header | None:
    """Return the header of a file, or of all files of a ControlNet's folder; None for another folder."""
    return header_of(path) if path.is_file() or _folder_config(path) else None


def _folder_config(path: Path) -> Any:
    try:
        found = json.loads((path / "config.json").read_text(encoding="utf-8")) if path.is_dir() else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("_class_name") in CLASSES else {}


def find_controlnet(header: Header) -> ControlPart | None:
    """Find the ControlNet of a file, in either layout."""
    for prefix in PREFIXES:
        shapes = header.below(prefix)
        original = "zero_convs.0.0.weight" in shapes
        if not original and "controlnet_down_blocks.0.weight" not in shapes:
            continue
        names = {name: name for name in shapes} if original else unet_keys.original_names(shapes)
        known = {names[name]: size for name, size in shapes.items() if name in names}
        shape = unet_shape(known)
        if shape is not None:
            return ControlPart(prefix, original, shape, hint_widths(known), _union(shapes))
    return None


def _union(shapes: Shapes) -> Mapping[str, int] | None:
    """Return the arguments of diffusers' ControlNetUnionModel; None for a plain ControlNet."""
    if "task_embedding" not in shapes:
        return None
    types, width = shapes["task_embedding"]
    layers = {name.split(".")[1] for name in shapes if name.startswith("transformer_layes.")}
    return {
        "num_control_type": types,
        "num_trans_channel": width,
        "num_trans_layer": len(layers),
        "num_proj_channel": shapes["spatial_ch_projs.weight"][0],
    }
