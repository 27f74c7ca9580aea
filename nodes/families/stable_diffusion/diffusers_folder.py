"""The model kind "diffusers": a folder in diffusers' layout with safetensors weights, loaded without network access."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import folder_header, folder_weights, read_json, said_class
from latentloom.nodes.families.module_loading import Piece, assemble
from latentloom.nodes.families.stable_diffusion.building import (
    MODEL_MODULES,
    TEXT_MODULES,
    build_encoder,
    diffusers_pieces,
)
from latentloom.nodes.families.stable_diffusion.configs import UNetShape, native_size
from latentloom.nodes.families.stable_diffusion.facts import (
    FAMILIES,
    PARTS,
    SMALL_BYTES,
    about,
    clip_facts,
    unet_facts,
    vae_facts,
)
from latentloom.nodes.families.stable_diffusion.noise_facts import scheduler_facts
from latentloom.nodes.families.stable_diffusion.parts import NAMES, find_text
from latentloom.nodes.families.stable_diffusion.unet import UNET
from latentloom.nodes.families.unused import warn_left, warn_unused
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.clip_tokenizer import SIZE, clip_tokenizer
from latentloom.nodes.text.encoder import Encoder

TEXT_FOLDERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
CLASSES = {  # class in the configuration of a folder with one part -> the part
    "UNet2DConditionModel": "unet",
    "AutoencoderKL": "vae",
    "CLIPTextModel": "clip",
    "CLIPTextModelWithProjection": "clip",
}
WIDTHS, SCALING_FACTOR, HIDDEN, PROJECTION = (320, 640, 1280, 1280), 0.18215, 512, 512  # defaults of the
# libraries for a configuration without these keys: UNet2DConditionModel, AutoencoderKL, CLIPTextConfig


class DiffusersFolder:
    """Stable Diffusion as a folder: unet/, vae/, text_encoder/, tokenizer/, scheduler/ and model_index.json.

    A folder with the files of one of them is that part.
    """

    text_modules, model_modules = TEXT_MODULES, MODEL_MODULES
    denoiser = UNET

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return facts by component, from the folder's configurations; None for another folder.

        Raises FileError for a folder with missing parts.
        """
        present = _present(path)
        if not present:
            return None
        facts = {"unet": _unet_facts, "vae": _vae_facts, "clip": text_facts}
        found = {part: facts[part](path) for part in PARTS if part in present}
        return {**found, "about": f"{about(found)} (folder)"}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load the part of the folder that info["component"] names: "unet", "vae" or "clip"."""
        if info["component"] not in _present(paths[0]):
            raise FileError(f"'{paths[0].name}' has no {PARTS[info['component']]}")
        return _LOADERS[info["component"]](paths[0])

    def prompt_reader(self, path: Path, _info: Mapping[str, Any]) -> Any:
        """Return a PromptReader with the first encoder's vocabulary; None without a text encoder."""
        return folder_prompt_reader(path) if "clip" in _present(path) else None


def _present(path: Path) -> set[str]:
    """Return the parts of a folder. Raises FileError for a model's folder in which a part is missing."""
    if not (path / "model_index.json").is_file():
        part = CLASSES.get(said_class(path))
        return {part} if part else set()
    index = read_json(path / "model_index.json")
    if not isinstance(index, dict) or "unet" not in index:
        return set()
    said = {name for name, value in index.items() if value not in ([None, None], None)}
    texts = {"clip"} if said & TEXT_FOLDERS.keys() else set()
    if not texts and "text_encoder" not in index:
        raise FileError(f"'{path.name}' has no text encoder", expected=" or ".join(TEXT_FOLDERS))
    return said & {"unet", "vae"} | texts


def _place(path: Path, part: str) -> Path:
    """Return the folder of a part: a subfolder of a whole model, or the folder itself if it holds one part."""
    return path / part if (path / "model_index.json").is_file() else path


def _unet_facts(path: Path) -> dict[str, Any]:
    unet = read_json(_place(path, "unet") / "config.json")
    vae = _vae_config(path)
    scheduler = path / "scheduler/scheduler_config.json"
    noise = scheduler_facts(read_json(scheduler), path.name) if scheduler.is_file() else {}
    shape, downscale = _unet_shape(unet), _downscale(vae)
    preview = _place(path, "vae") != path and 0 < folder_bytes(path / "vae") < SMALL_BYTES
    prediction = noise.pop("prediction", "epsilon")
    facts = unet_facts(
        shape,
        prediction,
        zero_snr=noise.pop("zero_snr", False),
        size=_side(unet.get("sample_size")) or native_size(shape, prediction),
        preview=preview,
        downscale=downscale,
        scaling_factor=vae.get("scaling_factor", SCALING_FACTOR) if vae else None,
    )
    return {**facts, **noise}


def _vae_config(path: Path) -> Any:
    """Return the configuration of a folder's VAE; {} without a VAE."""
    place = _place(path, "vae") / "config.json"
    found = read_json(place) if place.is_file() else {}
    return found if found.get("_class_name", "AutoencoderKL") == "AutoencoderKL" else {}


def folder_bytes(folder: Path) -> int:
    """Return the size of the weights in a folder."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _downscale(vae: Any) -> int:
    """Return the pixels per cell of a VAE with that configuration; 8 without one."""
    return 2 ** (len(vae.get("block_out_channels", (64,))) - 1) if vae else 8


def _side(size: Any) -> int:
    """Return the training size in cells; the longer of two sides."""
    return max(size) if isinstance(size, list) else size or 0


def _unet_shape(config: Any) -> UNetShape:
    """Convert a UNet's configuration to a UNetShape."""
    kinds = config.get("down_block_types", ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"])
    attending = ["CrossAttn" in kind for kind in kinds]
    added = config.get("addition_embed_type") == "text_time"
    context = config.get("cross_attention_dim", 1280)
    return UNetShape(
        channels=config.get("in_channels", 4),
        out=config.get("out_channels", 4),
        widths=tuple(config.get("block_out_channels", WIDTHS)),
        layers=config.get("layers_per_block", 2),
        depths=tuple(map(int, attending)),
        middle=1,
        context=context[0] if isinstance(context, list) else context,
        linear=bool(config.get("use_linear_projection")),
        vector=config["projection_class_embeddings_input_dim"] if added else 0,
    )


def _vae_facts(path: Path) -> dict[str, Any]:
    config = _vae_config(path)
    return vae_facts(_downscale(config), config.get("latent_channels", 4))


def _text_configs(path: Path) -> dict[str, Any]:
    """Return the configuration of each text encoder by its folder; "" if the folder itself is a text encoder."""
    if not (path / "model_index.json").is_file():
        return {"": read_json(path / "config.json")}
    return {name: read_json(path / name / "config.json") for name in TEXT_FOLDERS if (path / name).is_dir()}


def _name(folder: str, config: Any) -> Any:
    """Return "l", "h" or "g": by the width of published encoders, else by folder and activation."""
    second = folder == "text_encoder_2" or (not folder and "CLIPTextModelWithProjection" in config["architectures"])
    small = "g" if second else "l" if config.get("hidden_act", "quick_gelu") == "quick_gelu" else "h"
    return NAMES.get(config.get("hidden_size", HIDDEN), small)


def text_facts(path: Path) -> dict[str, Any]:
    """Return the facts of a folder's CLIPs. Raises FileError for a folder without one."""
    found = _text_configs(path)
    if not found:
        raise FileError(f"'{path.name}' has no text encoder", expected=" or ".join(TEXT_FOLDERS))
    names = [_name(folder, config) for folder, config in found.items()]
    last, widths = list(found.values())[-1], [config.get("hidden_size", HIDDEN) for config in found.values()]
    pooled = last.get("projection_dim", PROJECTION) if names[-1] == "g" else widths[-1]
    return dict(clip_facts(names, widths, pooled))


def _unet(path: Path) -> Any:
    from diffusers import UNet2DConditionModel

    return _diffusers(UNet2DConditionModel, _place(path, "unet"), "unet")


def _vae(path: Path) -> Any:
    from diffusers import AutoencoderKL

    return _diffusers(AutoencoderKL, _place(path, "vae"), "vae")


def _diffusers(cls: Any, folder: Path, part: str) -> Any:
    config, weights = read_json(folder / "config.json"), folder_weights(folder)
    known = inspect.signature(cls.__init__).parameters
    warn_left(
        f"{folder.name}/config.json",
        [key for key in config if key not in known and not key.startswith("_")],
        config,
        "keys",
    )

    def pieces(names: list[str]) -> dict[str, Piece]:
        return diffusers_pieces(names, weights)

    made = assemble(lambda: cls.from_config(config), pieces, weights, part)
    warn_unused(weights)
    return made


def folder_prompt_reader(path: Path) -> Any:
    """Return a PromptReader with the vocabulary of a folder's first CLIP."""
    from latentloom.nodes.families.textual_inversion.prompt_reader import PromptReader

    configs = _text_configs(path)
    folder, first = next(iter(configs.items()))
    widths = {_name(name, config): config.get("hidden_size", HIDDEN) for name, config in configs.items()}
    return PromptReader(_tokenizer(path, folder, first) or clip_tokenizer("end"), widths, path.name)


def load_text(path: Path) -> TextEncoder:
    """Load the CLIPs of a folder, with their tokenizers."""
    configs = _text_configs(path)
    names = [_name(folder, config) for folder, config in configs.items()]
    family = FAMILIES.get("".join(names), "sdxl")
    return TextEncoder(tuple(_encoder(path, folder, name, family) for folder, name in zip(configs, names, strict=True)))


def _encoder(path: Path, folder: str, name: Any, family: str) -> Encoder:
    from transformers import CLIPTextConfig

    place = path / folder
    weights, config = folder_weights(place), read_json(place / "config.json")
    found = find_text(folder_header(place))
    if not found:
        raise FileError(f"'{path.name}/{folder}' contains no CLIP text model")
    part = replace(found[0], name=name)
    tokenizer = _tokenizer(path, folder, config)
    made = build_encoder(part, family, weights, CLIPTextConfig.from_dict(config), tokenizer)
    warn_unused(weights)
    return made


def _tokenizer(path: Path, folder: str, config: Any) -> Any:
    """Load the folder's tokenizer; None if it is CLIP's own, which uses the vocabulary in this package."""
    from transformers import CLIPTokenizer

    if config.get("vocab_size", SIZE) == SIZE:
        return None
    return CLIPTokenizer.from_pretrained(path / TEXT_FOLDERS.get(folder, "."), local_files_only=True)


_LOADERS = {"unet": _unet, "vae": _vae, "clip": load_text}
