"""The model kind "flux2_vae": the VAE of Flux.2, whose latents are packed 2 x 2 and normalised by a batch norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import folder_weights, said_class
from latentloom.nodes.families.header import Header, Shapes, below, counted, weights_facts
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.stable_diffusion import vae_keys
from latentloom.nodes.families.text_parts import header_of
from latentloom.nodes.families.unused import warn_unused

PREFIXES = ("", "vae.", "first_stage_model.")
FACTS = {"downscale": 16, "channels": 128, "latents": "flux2"}
CLASS = "AutoencoderKLFlux2"
QUANT = ("quant_conv.", "post_quant_conv.")  # the authors' files have them within the encoder and the decoder


class Flux2Vae:
    """As one file, by the authors' names or diffusers', or as a folder in diffusers' layout."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of the part "vae"; see `ModelKind`."""
        if path.is_dir() and said_class(path) != CLASS:
            return None
        header = header_of(path)
        if vae_prefix(header.shapes) != "":
            return None
        return {"vae": FACTS, "about": "VAE of Flux.2", **weights_facts(header)}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """Load an `AutoencoderKLFlux2` that packs its latents."""
        return load_vae(paths[0])


def vae_prefix(shapes: Shapes) -> str | None:
    """Return the prefix of the VAE's names, or None without one."""
    needed = ("bn.running_mean", "encoder.conv_in.weight", "decoder.conv_in.weight")
    return next((prefix for prefix in PREFIXES if all(prefix + name in shapes for name in needed)), None)


def vae_facts_in(header: Header) -> dict[str, Any] | None:
    """Return the facts of the VAE that a file holds, or None without one."""
    return None if vae_prefix(header.shapes) is None else dict(FACTS)


def load_vae(path: Path, others: Sequence[str] = ()) -> Any:
    """Load the VAE of a file or a folder; `others` are the prefixes of the file's other parts."""
    from latentloom.nodes.families.flux2_vae_module import PackedVae

    every, weights = header_of(path).shapes, folder_weights(path) if path.is_dir() else Weights(path)
    prefix = vae_prefix(every)
    if prefix is None:
        raise FileError(f"'{path.name}' has no VAE of Flux.2")
    shapes = below(every, prefix)

    def pieces(names: list[str]) -> dict[str, Piece]:
        return {name: Piece(prefix + source) for name, source in _sources(names, shapes).items()}

    made = assemble(lambda: PackedVae(**_config(shapes)), pieces, weights, "vae")
    warn_unused(weights, prefix, others)
    return made


def _sources(names: Sequence[str], shapes: Shapes) -> dict[str, str]:
    """Map the names of the module's weights to those of the file."""
    found = dict(zip(names, names, strict=True)) if _diffusers(shapes) else vae_keys.original_names(names)
    inside = {f"{QUANT[0]}weight": f"encoder.{QUANT[0]}", f"{QUANT[1]}weight": f"decoder.{QUANT[1]}"}
    moved = {known.removesuffix("weight"): place for known, place in inside.items() if f"{place}weight" in shapes}
    for name in names:
        for known, place in moved.items():
            if name.startswith(known):
                found[name] = place + name.removeprefix(known)
    return found


def _diffusers(shapes: Shapes) -> bool:
    return "decoder.up_blocks.0.resnets.0.conv1.weight" in shapes


def _config(shapes: Shapes) -> dict[str, Any]:
    """Return the arguments of diffusers' class; the decoder may be narrower than the encoder."""
    if _diffusers(shapes):
        names = vae_keys.original_names(shapes)
        shapes = {names[name]: shape for name, shape in shapes.items()}
    levels = counted(shapes, "encoder.down.{}.")
    down, up = (
        tuple(shapes.get(f"{side}.{level}.block.0.conv1.weight", (0,))[0] for level in range(levels))
        for side in ("encoder.down", "decoder.up")
    )
    quant = any(name in shapes for name in ("quant_conv.weight", "encoder.quant_conv.weight"))
    return {
        "block_out_channels": down,
        "decoder_block_out_channels": up,
        "layers_per_block": counted(shapes, "encoder.down.0.block.{}."),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "use_quant_conv": quant,
        "use_post_quant_conv": quant,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
    }
