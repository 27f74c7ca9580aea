"""Finds the parts of a single-file checkpoint: UNet, VAE and text encoders, with their prefixes and layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentloom.nodes.families.header import Header, Shapes, counted
from latentloom.nodes.families.stable_diffusion import unet_keys, vae_keys
from latentloom.nodes.families.stable_diffusion.configs import TextShape, UNetShape, VaeShape, unet_shape, vae_shape

Layout = Literal["original", "diffusers"]
UNET_PREFIXES = ("model.diffusion_model.", "", "unet.", "diffusion_model.")
VAE_PREFIXES = ("first_stage_model.", "", "vae.")
OPENAI_PREFIXES = (
    "cond_stage_model.transformer.text_model.",
    "cond_stage_model.transformer.",
    "conditioner.embedders.0.transformer.text_model.",
    "text_model.",
    "clip_l.transformer.text_model.",
    "clip_g.transformer.text_model.",
    "text_encoders.clip_l.transformer.text_model.",
    "text_encoders.clip_g.transformer.text_model.",
    "",
)
OPEN_CLIP_PREFIXES = (
    "cond_stage_model.model.",
    "conditioner.embedders.1.model.",
    "conditioner.embedders.0.model.",
    "model.",
    "",
)
NAMES: dict[int, Literal["l", "g", "h"]] = {768: "l", 1024: "h", 1280: "g"}  # by the width of the published encoders


@dataclass(frozen=True, slots=True)
class UNetPart:
    """A UNet in a file."""

    prefix: str
    layout: Layout
    shape: UNetShape


@dataclass(frozen=True, slots=True)
class VaePart:
    """A VAE in a file."""

    prefix: str
    layout: Layout
    shape: VaeShape


@dataclass(frozen=True, slots=True)
class TextPart:
    """A CLIP text model in a file; "original" is OpenCLIP's layout, "diffusers" that of transformers."""

    prefix: str
    layout: Layout
    name: Literal["l", "g", "h"]
    shape: TextShape


def find_unet(header: Header) -> UNetPart | None:
    """Find the UNet of a file, in either layout."""
    for prefix in UNET_PREFIXES:
        shapes = header.below(prefix)
        if "input_blocks.0.0.weight" in shapes and (shape := unet_shape(shapes)) and shape.out:
            return UNetPart(prefix, "original", shape)
        if "down_blocks.0.resnets.0.conv1.weight" in shapes and "conv_out.weight" in shapes:
            names = unet_keys.original_names(shapes)
            shape = unet_shape({names[name]: size for name, size in shapes.items() if name in names})
            if shape and shape.out:
                return UNetPart(prefix, "diffusers", shape)
    return None


def find_vae(header: Header) -> VaePart | None:
    """Find the VAE of a file, in either layout."""
    for prefix in VAE_PREFIXES:
        shapes = header.below(prefix)
        if shape := vae_shape(shapes):
            return VaePart(prefix, "original", shape)
        if "decoder.up_blocks.0.resnets.0.conv1.weight" in shapes:
            names = vae_keys.original_names(shapes)
            if shape := vae_shape({names[name]: size for name, size in shapes.items()}):
                return VaePart(prefix, "diffusers", shape)
    return None


def find_text(header: Header) -> tuple[TextPart, ...]:
    """Find the CLIP text models of a file, "l" first. A model is found only once, even if two prefixes match."""
    found: dict[str, TextPart] = {}
    for prefix in OPENAI_PREFIXES:
        part = _openai_part(header, prefix)
        if part is not None:
            found.setdefault(part.name, part)
    for prefix in OPEN_CLIP_PREFIXES:
        part = _open_clip_part(header, prefix)
        if part is not None:
            found.setdefault(part.name, part)
    return tuple(sorted(found.values(), key=lambda part: "lhg".index(part.name)))


def _openai_part(header: Header, prefix: str) -> TextPart | None:
    shapes = header.below(prefix)
    tokens = shapes.get("embeddings.token_embedding.weight")
    if tokens is None or "encoder.layers.0.mlp.fc1.weight" not in shapes:
        return None
    projection = header.shapes.get(f"{prefix.removesuffix('text_model.')}text_projection.weight", (0,))[0]
    name = NAMES.get(tokens[1], "g" if projection else "l")
    shape = TextShape(
        vocabulary=tokens[0],
        length=shapes["embeddings.position_embedding.weight"][0],
        width=tokens[1],
        inner=shapes["encoder.layers.0.mlp.fc1.weight"][0],
        layers=counted(shapes, "encoder.layers.{}."),
        projection=projection if name == "g" else 0,
    )
    return TextPart(prefix, "diffusers", name, shape)


def _open_clip_part(header: Header, prefix: str) -> TextPart | None:
    shapes = header.below(prefix)
    tokens = shapes.get("token_embedding.weight")
    if tokens is None or "transformer.resblocks.0.mlp.c_fc.weight" not in shapes:
        return None
    name = NAMES.get(tokens[1], "g" if prefix.startswith("conditioner.") else "h")
    shape = TextShape(
        vocabulary=tokens[0],
        length=shapes["positional_embedding"][0],
        width=tokens[1],
        inner=shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        layers=counted(shapes, "transformer.resblocks.{}."),
        projection=_projection(shapes) if name == "g" else 0,
    )
    return TextPart(prefix, "original", name, shape)


def _projection(shapes: Shapes) -> int:
    return shapes["text_projection"][1] if "text_projection" in shapes else 0
