"""Builds the modules of a checkpoint's parts from the weights of a file."""

from __future__ import annotations

from typing import Any

from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.stable_diffusion import unet_keys, vae_keys
from latentloom.nodes.families.stable_diffusion.clip_keys import open_clip_pieces
from latentloom.nodes.families.stable_diffusion.configs import text_config, unet_config, vae_config
from latentloom.nodes.families.stable_diffusion.parts import TextPart, UNetPart, VaePart
from latentloom.nodes.text.clip_tokenizer import clip_tokenizer
from latentloom.nodes.text.encoder import Encoder

TEXT_MODULES = ("transformers.models.clip.tokenization_clip", "latentloom.nodes.text.token_table")
MODEL_MODULES = (
    "torch",
    "transformers.models.clip.modeling_clip",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
)
"""Modules that a worker may import in advance; see `ModelKind`."""


def build_unet(part: UNetPart, weights: Weights) -> Any:
    """Build a diffusers UNet2DConditionModel."""
    from diffusers import UNet2DConditionModel

    def pieces(names: list[str]) -> dict[str, Piece]:
        sources = unet_keys.original_names(names) if part.layout == "original" else {name: name for name in names}
        return {name: Piece(part.prefix + source) for name, source in sources.items()}

    config = unet_config(part.shape)
    return assemble(lambda: UNet2DConditionModel(**config), pieces, weights, "unet")


def build_vae(part: VaePart, weights: Weights) -> Any:
    """Build a diffusers AutoencoderKL, without an encoder if the file has none."""
    from diffusers import AutoencoderKL

    config = vae_config(part.shape)

    def build() -> Any:
        made = AutoencoderKL(**config)
        if not part.shape.encodes:
            del made.encoder, made.quant_conv
        return made

    return assemble(build, lambda names: vae_pieces(part, names, weights), weights, "vae")


def vae_pieces(part: VaePart, names: list[str], weights: Weights) -> dict[str, Piece]:
    """Return the sources of a VAE's weights."""
    if part.layout == "original":
        return {name: Piece(part.prefix + source) for name, source in vae_keys.original_names(names).items()}
    return diffusers_pieces(names, weights, part.prefix)


def diffusers_pieces(names: list[str], weights: Weights, prefix: str = "") -> dict[str, Piece]:
    """Return the sources of weights in diffusers' layout. The attention of VAEs has other names in old files."""
    sources = {name: prefix + name for name in names}
    for name in [name for name, source in sources.items() if source not in weights]:
        for new, old in vae_keys.OLD_ATTENTION:
            sources[name] = sources[name].replace(new, old)
    return {name: Piece(source) for name, source in sources.items()}


def build_encoder(part: TextPart, family: str, weights: Weights, config: Any = None, tokenizer: Any = None) -> Encoder:
    """Build a text encoder for its family: SD 2.x and SDXL use the last but one layer, SDXL without the final norm.

    The defaults for configuration and tokenizer are those of the published models.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    def pieces(names: list[str]) -> dict[str, Piece]:
        found = open_clip_pieces(names) if part.layout == "original" else {name: Piece(name) for name in names}
        return {name: Piece(part.prefix + piece.source, piece.third) for name, piece in found.items()}

    config = config or CLIPTextConfig(**text_config(part.shape, "quick_gelu" if part.name == "l" else "gelu"))
    model = assemble(lambda: CLIPTextModel(config), pieces, weights, f"text encoder '{part.name}'")
    return Encoder(
        part.name,
        model,
        tokenizer or clip_tokenizer("end" if part.name == "l" else "zero"),
        layer=_layer(part, family),
        final_norm=family not in ("sdxl", "refiner"),
        projection=_projection(part, weights),
    )


def _layer(part: TextPart, family: str) -> int:
    """Return the layer to read. diffusers stores the text encoder of SD 2.x without its last, unused layer."""
    shortened = part.name == "h" and part.layout == "diffusers" and part.shape.layers != 24
    return -1 if family == "sd1" or shortened else -2


def _projection(part: TextPart, weights: Weights) -> Any:
    from torch import nn

    if not part.shape.projection:
        return None

    def pieces(names: list[str]) -> dict[str, Piece]:
        if part.layout == "original":
            return {names[0]: Piece(f"{part.prefix}text_projection", transposed=True)}
        return {names[0]: Piece(f"{part.prefix.removesuffix('text_model.')}text_projection.weight")}

    def build() -> Any:
        return nn.Linear(part.shape.width, part.shape.projection, bias=False)

    return assemble(build, pieces, weights, "text projection")
