"""The model kind "wan_vae": the video VAE of Wan 2.1 and Qwen-Image, used for single pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.conversion import converted_pieces
from latentloom.nodes.families.folder import folder_weights, read_json, said_class
from latentloom.nodes.families.header import Shapes, read_header
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.unused import warn_unused

PREFIXES = ("", "vae.", "first_stage_model.")
FACTS = {"downscale": 8, "channels": 16, "latents": "wan"}
CLASSES = ("AutoencoderKLQwenImage", "AutoencoderKLWan")


class WanVae:
    """As one file by the authors' names, or as a folder in diffusers' layout."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of the part "vae"; see `ModelKind`."""
        if path.is_dir():
            found = said_class(path) in CLASSES and read_json(path / "config.json").get("z_dim", 16) == 16
        else:
            found = vae_prefix(read_header(path).shapes) is not None
        return {"vae": FACTS, "about": "VAE of Qwen-Image or Wan 2.1"} if found else None

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """Load an `AutoencoderKLQwenImage` for pictures."""
        return load_folder(paths[0]) if paths[0].is_dir() else load_file(paths[0])


def load_folder(folder: Path) -> Any:
    """Load the VAE of a folder in diffusers' layout."""
    from latentloom.nodes.families.wan_vae_module import PictureVae

    config, weights = read_json(folder / "config.json"), folder_weights(folder)
    made = assemble(lambda: PictureVae.from_config(config), lambda names: {n: Piece(n) for n in names}, weights, "vae")
    warn_unused(weights)
    return made


def load_file(path: Path, others: Sequence[str] = ()) -> Any:
    """Load the VAE of a file; `others` are the prefixes of the file's other parts."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers as convert

    from latentloom.nodes.families.wan_vae_module import PictureVae

    prefix = vae_prefix(read_header(path).shapes)
    if prefix is None:
        raise FileError(f"'{path.name}' is not a VAE of Qwen-Image or Wan 2.1")
    shapes, weights = read_header(path).below(prefix), Weights(path)

    def pieces(names: list[str]) -> dict[str, Piece]:  # noqa: ARG001
        return converted_pieces(convert, shapes, prefix)

    width = shapes["decoder.head.0.gamma"][0]
    made = assemble(lambda: PictureVae(base_dim=width), pieces, weights, "vae")
    warn_unused(weights, prefix, others)
    return made


def vae_prefix(shapes: Shapes) -> str | None:
    """Return the prefix of the VAE's names. The VAE of Wan 2.2, with 48 channels, is another network."""
    for prefix in PREFIXES:
        if (
            f"{prefix}decoder.middle.0.residual.0.gamma" in shapes
            and shapes.get(f"{prefix}conv2.weight", (0,))[0] == 16
        ):
            return prefix
    return None
