"""The model kind "diffusers": a folder in diffusers' layout with safetensors weights, read without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.stable_diffusion.building import (
    MODEL_MODULES,
    TEXT_MODULES,
    build_encoder,
    diffusers_pieces,
)
from latentloom.nodes.families.stable_diffusion.configs import UNetShape
from latentloom.nodes.families.stable_diffusion.facts import FAMILIES, SMALL_BYTES, about, clip_facts, unet_facts
from latentloom.nodes.families.stable_diffusion.parts import NAMES, find_text
from latentloom.nodes.families.stable_diffusion.unet import UNET
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.clip_tokenizer import SIZE, clip_tokenizer
from latentloom.nodes.text.encoder import Encoder

TEXT_FOLDERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


class DiffusersFolder:
    """Stable Diffusion as a folder: unet/, vae/, text_encoder/, tokenizer/, scheduler/ and model_index.json."""

    text_modules, model_modules = TEXT_MODULES, MODEL_MODULES
    denoiser = UNET

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Facts by component, from the folder's configurations; None for what is no such folder.

        Raises FileError for a folder whose parts are not all there.
        """
        if not (path / "model_index.json").is_file():
            return None
        if "unet" not in folder_json(path / "model_index.json"):
            return None
        unet, vae = folder_json(path / "unet/config.json"), folder_json(path / "vae/config.json")
        downscale = 2 ** (len(vae["block_out_channels"]) - 1)
        found = {
            "unet": _unet_facts(path, unet, vae, downscale),
            "vae": {"downscale": downscale, "channels": vae["latent_channels"]},
            "clip": _clip_facts(path),
        }
        return {**found, "about": f"{about(found)} (folder)"}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """The part of the folder that info["component"] names: "unet", "vae" or "clip"."""
        return _LOADERS[info["component"]](paths[0])

    def reader(self, path: Path, _info: Mapping[str, Any]) -> Any:
        """What tells how a prompt is read: by the first encoder's vocabulary."""
        from latentloom.nodes.families.textual_inversion.prompt_reader import PromptReader

        configs = _text_configs(path)
        folder, first = next(iter(configs.items()))
        widths = {_name(name, config): config["hidden_size"] for name, config in configs.items()}
        tokenizer = _tokenizer(path / TEXT_FOLDERS[folder], first) or clip_tokenizer("end")
        return PromptReader(tokenizer, widths, path.name)


def folder_json(path: Path) -> Any:
    """A configuration of a folder. Raises FileError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"'{path.parent.name}/{path.name}' of the model cannot be read: {error}") from None


def _unet_facts(path: Path, unet: Any, vae: Any, downscale: int) -> dict[str, Any]:
    schedule = folder_json(path / "scheduler/scheduler_config.json")
    said = schedule["prediction_type"]
    return unet_facts(
        _unet_shape(unet),
        {"v_prediction": "v"}.get(said, said),
        zero_snr=schedule.get("rescale_betas_zero_snr") or False,
        size=unet["sample_size"],
        preview=sum(file.stat().st_size for file in (path / "vae").glob("*.safetensors")) < SMALL_BYTES,
        downscale=downscale,
        scaling_factor=vae["scaling_factor"],
        betas=(schedule["beta_start"], schedule["beta_end"], schedule["num_train_timesteps"]),
    )


def _unet_shape(config: Any) -> UNetShape:
    """A UNet's shape as its configuration tells it."""
    attending = ["CrossAttn" in kind for kind in config["down_block_types"]]
    added = config.get("addition_embed_type") == "text_time"
    return UNetShape(
        channels=config["in_channels"],
        out=config["out_channels"],
        widths=tuple(config["block_out_channels"]),
        layers=config["layers_per_block"],
        depths=tuple(map(int, attending)),
        middle=1,
        context=config["cross_attention_dim"],
        linear=bool(config.get("use_linear_projection")),
        vector=config["projection_class_embeddings_input_dim"] if added else 0,
    )


def _text_configs(path: Path) -> dict[str, Any]:
    """The configuration of each text encoder by its folder."""
    return {name: folder_json(path / name / "config.json") for name in TEXT_FOLDERS if (path / name).is_dir()}


def _name(folder: str, config: Any) -> Any:
    """ "l", "h" or "g": by the width of the real ones, else by where it is and how it computes."""
    small = "g" if folder == "text_encoder_2" else "l" if config.get("hidden_act") == "quick_gelu" else "h"
    return NAMES.get(config["hidden_size"], small)


def _clip_facts(path: Path) -> Mapping[str, Any]:
    found = _text_configs(path)
    if not found:
        raise FileError(f"'{path.name}' has no text encoder", expected=" or ".join(TEXT_FOLDERS))
    names = [_name(folder, config) for folder, config in found.items()]
    last = list(found.values())[-1]
    pooled = last["projection_dim"] if names[-1] == "g" else last["hidden_size"]
    return clip_facts(names, [config["hidden_size"] for config in found.values()], pooled)


def folder_weights(folder: Path) -> Weights:
    """The safetensors weights of a part: the plain file, else a variant of it, or all of its shards."""
    files = sorted(folder.glob("*.safetensors"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise FileError(f"'{folder.parent.name}/{folder.name}' has no safetensors weights", got=_contents(folder))
    shards = [file for file in files if "-of-" in file.name]
    chosen = shards if len(shards) == len(files) else [file for file in files if file not in shards][:1]
    for file in chosen:
        read_header(file)
    return Weights(*chosen)


def _contents(folder: Path) -> str:
    return ", ".join(sorted(file.name for file in folder.glob("*"))) or "an empty folder"


def _unet(path: Path) -> Any:
    from diffusers import UNet2DConditionModel

    return _diffusers(UNet2DConditionModel, path / "unet")


def _vae(path: Path) -> Any:
    from diffusers import AutoencoderKL

    return _diffusers(AutoencoderKL, path / "vae")


def _diffusers(cls: Any, folder: Path) -> Any:
    config, weights = folder_json(folder / "config.json"), folder_weights(folder)

    def pieces(names: list[str]) -> dict[str, Piece]:
        return diffusers_pieces(names, weights)

    return assemble(lambda: cls.from_config(config), pieces, weights, folder.name)


def _clip(path: Path) -> TextEncoder:
    configs = _text_configs(path)
    names = [_name(folder, config) for folder, config in configs.items()]
    family = FAMILIES.get("".join(names), "sdxl")
    return TextEncoder(tuple(_encoder(path, folder, name, family) for folder, name in zip(configs, names, strict=True)))


def _encoder(path: Path, folder: str, name: Any, family: str) -> Encoder:
    from transformers import CLIPTextConfig

    weights, config = folder_weights(path / folder), folder_json(path / folder / "config.json")
    found = find_text(read_header(weights.paths[0]))
    if not found:
        raise FileError(f"'{path.name}/{folder}' holds no CLIP text model")
    tokenizer = _tokenizer(path / TEXT_FOLDERS[folder], config)
    part = replace(found[0], name=name)
    return build_encoder(part, family, weights, CLIPTextConfig.from_dict(config), tokenizer)


def _tokenizer(folder: Path, config: Any) -> Any:
    """The folder's tokenizer; none where it is CLIP's own, which is taken from the vocabulary that ships."""
    from transformers import CLIPTokenizer

    return None if config["vocab_size"] == SIZE else CLIPTokenizer.from_pretrained(folder, local_files_only=True)


_LOADERS = {"unet": _unet, "vae": _vae, "clip": _clip}
