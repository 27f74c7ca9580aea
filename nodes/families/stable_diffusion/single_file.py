"""The model kind "single_file": a safetensors file with a UNet, a VAE, text encoders, or all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import Header, read_header, weights_facts
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.stable_diffusion.building import (
    MODEL_MODULES,
    TEXT_MODULES,
    build_encoder,
    build_unet,
    build_vae,
)
from latentloom.nodes.families.stable_diffusion.configs import native_size
from latentloom.nodes.families.stable_diffusion.facts import (
    FAMILIES,
    SMALL_BYTES,
    about,
    clip_facts,
    unet_facts,
    vae_facts,
)
from latentloom.nodes.families.stable_diffusion.noise_facts import yaml_beside
from latentloom.nodes.families.stable_diffusion.parts import UNetPart, VaePart, find_text, find_unet, find_vae
from latentloom.nodes.families.stable_diffusion.unet import UNET
from latentloom.nodes.families.unused import warn_unused
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.clip_tokenizer import clip_tokenizer

V_DEVIATION = 0.09  # of those biases
_UP = ("output_blocks.", "up_blocks.")
_LAST_NORM = ".transformer_blocks.0.norm1.bias"


class SingleFile:
    """Stable Diffusion 1.x, 2.x or SDXL as one safetensors file, in the original or in diffusers' layout."""

    text_modules, model_modules = TEXT_MODULES, MODEL_MODULES
    denoiser = UNET

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return facts by component ("unet", "vae", "clip"), from names, shapes and metadata; None for another file.

        Raises FileError for a pickle and for a truncated file.
        """
        if not path.is_file():
            return None
        header = read_header(path)
        unet, vae, text = find_unet(header), find_vae(header), find_text(header)
        found: dict[str, Any] = {}
        if unet is not None:
            found["unet"] = _unet_facts(unet, vae, header)
        if vae is not None:
            found["vae"] = vae_facts(vae.shape.downscale, vae.shape.channels, encodes=vae.shape.encodes)
        if text:
            last = text[-1].shape
            found["clip"] = clip_facts(
                [part.name for part in text], [part.shape.width for part in text], last.projection or last.width
            )
        return {**found, "about": about(found), **weights_facts(header)} if found else None

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load the part that info["component"] names; a "clip" may come from two files."""
        headers = [read_header(path) for path in paths]
        if info["component"] == "clip":
            return _text_encoder(headers)
        find, build = {"unet": (find_unet, build_unet), "vae": (find_vae, build_vae)}[info["component"]]
        part: Any = find(headers[0])
        if part is None:
            raise FileError(f"'{paths[0].name}' has no {info['component']}")
        weights = Weights(paths[0])
        made = build(part, weights)
        warn_unused(weights, part.prefix, _prefixes(headers[0]))
        return made

    def prompt_reader(self, path: Path, _info: Mapping[str, Any]) -> Any:
        """Return a PromptReader with CLIP's vocabulary; None for a file without a text encoder."""
        from latentloom.nodes.families.textual_inversion.prompt_reader import PromptReader

        widths = {part.name: part.shape.width for part in find_text(read_header(path))}
        return PromptReader(clip_tokenizer("end"), widths, path.name) if widths else None


def _unet_facts(part: UNetPart, vae: VaePart | None, header: Header) -> dict[str, Any]:
    beside = yaml_beside(header.path)
    said = _said(header) or beside.get("prediction")
    prediction = said or _guessed(part, header)
    facts = unet_facts(
        part.shape,
        prediction,
        zero_snr=_zero_snr(header),
        size=native_size(part.shape, prediction),
        preview=vae is not None and _numbers(header, vae.prefix) * 2 < SMALL_BYTES,
    )
    facts |= {name: value for name, value in beside.items() if name != "prediction"}
    return facts if said or part.shape.family != "sd2" else {**facts, "guessed": True}


def _numbers(header: Header, prefix: str) -> int:
    return sum(prod(shape) for shape in header.below(prefix).values())


def _said(header: Header) -> str | None:
    """Return the prediction kind from the metadata (ModelSpec) or from a trainer's marker tensor, or None."""
    said = header.metadata.get("modelspec.prediction_type", "").lower()
    architecture = header.metadata.get("modelspec.architecture", "").lower()
    if said in ("v", "v_prediction") or "v_pred" in header.shapes:
        return "v"
    if said in ("epsilon", "eps"):
        return "epsilon"
    if architecture.startswith("stable-diffusion-v2"):
        return "v" if "768-v" in architecture else "epsilon"
    return None


def _guessed(part: UNetPart, header: Header) -> str:
    """Guess the prediction kind: v for a model that looks like SD 2.x at 768 pixels, else epsilon.

    After training with v the biases of the last attention's norm have a larger deviation; ComfyUI uses the same
    criterion. A file without that attention counts as v, like most SD 2.x models.
    """
    if part.shape.family != "sd2" or part.shape.channels != 4:
        return "epsilon"
    biases = [name for name in header.shapes if name.startswith(part.prefix) and name.endswith(_LAST_NORM)]
    biases = [name for name in biases if any(part in name for part in _UP)]
    if not biases:
        return "v"
    last = max(biases, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    return "v" if float(Weights(header.path)[last].float().std(correction=0)) > V_DEVIATION else "epsilon"


def _zero_snr(header: Header) -> bool:
    return header.metadata.get("ss_zero_terminal_snr", "").lower() == "true" or "ztsnr" in header.shapes


def _prefixes(header: Header) -> list[str]:
    """Return the name prefixes of a file's parts. Tensors of parts that are not loaded cause no warning."""
    parts = [find_unet(header), find_vae(header), *find_text(header)]
    return [part.prefix for part in parts if part is not None]


def _text_encoder(headers: Sequence[Header]) -> TextEncoder:
    found = [(part, Weights(header.path)) for header in headers for part in find_text(header)]
    found.sort(key=lambda pair: "lhg".index(pair[0].name))
    family = FAMILIES.get("".join(part.name for part, _ in found), "sdxl")
    made = TextEncoder(tuple(build_encoder(part, family, weights) for part, weights in found))
    for part, weights in found:
        warn_unused(weights, part.prefix, _prefixes(read_header(weights.paths[0])))
    return made
