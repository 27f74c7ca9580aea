"""The model kind "qwen_image21_vae": the VAE of Qwen-Image 2.1. It has 64 channels, and its pictures have alpha."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.conversion import converted_pieces
from latentloom.nodes.families.folder import folder_weights, read_json, said_class
from latentloom.nodes.families.header import Shapes, below, read_header, weights_facts
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.unused import warn_unused

PREFIXES = ("", "vae.", "first_stage_model.")
FACTS = {"downscale": 16, "channels": 64}
CLASS = "AutoencoderKLQwenImage21"
AUTHORS = ("decoder.upsamples.4.upsamples.0.residual.0.gamma", "encoder.conv1.weight", "decoder.head.0.gamma")
DIFFUSERS = ("decoder.up_blocks.4.resnets.0.norm1.gamma", "encoder.conv_in.weight", "decoder.norm_out.gamma")
NAMES = (  # the authors' names, and diffusers'; the first match of each name counts
    (r"conv1\.", "quant_conv."),
    (r"conv2\.", "post_quant_conv."),
    (r"(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"(encoder|decoder)\.head\.0\.", r"\1.norm_out."),
    (r"(encoder|decoder)\.head\.2\.", r"\1.conv_out."),
    (r"(encoder|decoder)\.middle\.0\.", r"\1.mid_block.resnets.0."),
    (r"(encoder|decoder)\.middle\.1\.", r"\1.mid_block.attentions.0."),
    (r"(encoder|decoder)\.middle\.2\.", r"\1.mid_block.resnets.1."),
    (r"encoder\.downsamples\.(\d+)\.downsamples\.(\d+)\.(?=residual|shortcut)", r"encoder.down_blocks.\1.resnets.\2."),
    (r"encoder\.downsamples\.(\d+)\.downsamples\.\d+\.", r"encoder.down_blocks.\1.downsampler."),
    (r"decoder\.upsamples\.(\d+)\.upsamples\.(\d+)\.(?=residual|shortcut)", r"decoder.up_blocks.\1.resnets.\2."),
    (r"decoder\.upsamples\.(\d+)\.upsamples\.\d+\.", r"decoder.up_blocks.\1.upsampler."),
)
INNER = {"residual.0.": "norm1.", "residual.2.": "conv1.", "residual.3.": "norm2.", "residual.6.": "conv2."}
INNER |= {"shortcut.": "conv_shortcut."}
MEAN = (0.5126, 0.7721, -0.0631, 1.3506, -0.7855, -2.1025, -0.3458, 1.3722)
MEAN += (1.8873, -1.7177, -0.651, 0.2732, 0.7562, -0.6163, -1.0277, 3.8363)
MEAN += (2.021, 0.0472, 0.932, 2.0087, 2.4954, -0.1391, -1.4249, 1.8464)
MEAN += (-0.5236, 1.2826, 3.7046, -1.3035, 2.7286, -1.4518, -1.9036, -1.9955)
MEAN += (-0.0342, -1.0265, -0.7636, 3.0555, 0.0746, -3.0751, -0.1076, 1.7376)
MEAN += (-1.0914, -1.9435, -0.2784, -1.368, 0.4809, -0.4433, 0.3764, 0.5729)
MEAN += (-2.0595, 1.096, -1.326, -2.0211, -5.0179, 0.5275, 4.0162, 1.8505)
MEAN += (0.3026, 1.9373, 1.4937, 0.2632, 0.5547, -1.7121, -0.1562, 0.0304)
DEVIATION = (3.2001, 3.2936, 3.4321, 3.0091, 3.1061, 4.0379, 4.0705, 3.791)
DEVIATION += (3.0785, 3.65, 3.9308, 3.0904, 2.8778, 3.7675, 3.732, 5.0756)
DEVIATION += (3.2864, 4.0397, 3.1317, 4.0443, 2.9249, 3.9454, 3.0988, 4.2489)
DEVIATION += (3.4896, 3.8513, 3.9323, 3.4719, 3.7498, 4.283, 3.5694, 4.2467)
DEVIATION += (3.9037, 3.2947, 5.077, 3.5075, 3.27, 3.4767, 2.8063, 5.1125)
DEVIATION += (3.5327, 4.7833, 3.1286, 4.1819, 3.8527, 3.8312, 3.5605, 4.3875)
DEVIATION += (3.9624, 4.0168, 3.5643, 4.055, 5.5614, 4.2963, 4.408, 3.4959)
DEVIATION += (3.8747, 3.7608, 3.5735, 3.149, 3.7662, 3.6746, 3.4563, 3.8161)


class QwenImage21Vae:
    """As one file by the authors' names or diffusers', or as a folder in diffusers' layout."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of the part "vae"; see `ModelKind`."""
        about = "VAE of Qwen-Image 2.1"
        if path.is_dir():
            return {"vae": FACTS, "about": about} if said_class(path) == CLASS else None
        header = read_header(path)
        if vae_prefix(header.shapes) is None:
            return None
        return {"vae": FACTS, "about": about, **weights_facts(header)}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """Load an `AutoencoderKLQwenImage21` for pictures."""
        return load_folder(paths[0]) if paths[0].is_dir() else load_file(paths[0])


def load_folder(folder: Path) -> Any:
    """Load the VAE of a folder in diffusers' layout."""
    from latentloom.nodes.families.qwen_image21_vae_module import TransparentVae

    config, weights = read_json(folder / "config.json"), folder_weights(folder)

    def pieces(names: list[str]) -> dict[str, Piece]:
        return {name: Piece(name) for name in names}

    made = assemble(lambda: TransparentVae.from_config(config), pieces, weights, "vae")
    warn_unused(weights)
    return made


def load_file(path: Path, others: Sequence[str] = ()) -> Any:
    """Load the VAE of a file; `others` are the prefixes of the file's other parts."""
    from latentloom.nodes.families.qwen_image21_vae_module import TransparentVae

    prefix = vae_prefix(read_header(path).shapes)
    if prefix is None:
        raise FileError(f"'{path.name}' is no VAE of Qwen-Image 2.1")
    shapes, weights = below(read_header(path).shapes, prefix), Weights(path)
    named = _renamed(dict(shapes))

    def pieces(names: list[str]) -> dict[str, Piece]:  # noqa: ARG001
        return converted_pieces(_renamed, shapes, prefix)

    def build() -> Any:
        (encoder, *_), (decoder, *_) = named["encoder.conv_in.weight"], named["decoder.norm_out.gamma"]
        return TransparentVae(base_dim=encoder, decoder_base_dim=decoder)

    made = assemble(build, pieces, weights, "vae")
    warn_unused(weights, prefix, others)
    return made


def vae_prefix(shapes: Shapes) -> str | None:
    """Return the prefix of the VAE's names; None without one."""
    for prefix, names in itertools.product(PREFIXES, (AUTHORS, DIFFUSERS)):
        if all(prefix + name in shapes for name in names):
            return prefix
    return None


def _renamed(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return tensors by diffusers' names."""
    return {_name(name): tensor for name, tensor in tensors.items()}


def _name(name: str) -> str:
    for theirs, ours in NAMES:
        found, changed = re.subn(rf"^{theirs}", ours, name)
        if changed:
            name = found
            break
    for theirs, ours in INNER.items():
        name = name.replace(f".{theirs}", f".{ours}")
    return name
