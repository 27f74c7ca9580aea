"""The model kind "diffusers": a folder in diffusers' layout with safetensors weights, read without a network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.text_encoder import Encoder, TextEncoder


class DiffusersFolder:
    """Stable Diffusion as a folder: unet/, vae/, text_encoder/, tokenizer/, scheduler/ and model_index.json."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Facts from the folder's configurations. Raises FileError for a folder whose parts are not all there."""
        if not (path / "model_index.json").is_file():
            return None
        index = _json(path / "model_index.json")
        if "unet" not in index:
            return None
        unet, vae, schedule = (_json(path / part) for part in _CONFIGS)
        return {
            "prediction": {"v_prediction": "v"}.get(schedule["prediction_type"], schedule["prediction_type"]),
            "channels": unet["in_channels"],
            "size": unet["sample_size"],
            "downscale": 2 ** (len(vae["block_out_channels"]) - 1),
            "scaling_factor": vae["scaling_factor"],
            "betas": [schedule["beta_start"], schedule["beta_end"], schedule["num_train_timesteps"]],
            "preview": _is_small(path / "vae"),
        }

    def load(self, paths: Sequence[Path], info: Mapping[str, Any], dtype: Any, device: str) -> Any:
        """The part of the folder that info["component"] names: "unet", "vae" or "clip"."""
        try:
            return _LOADERS[info["component"]](paths[0], dtype, device)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise FileError(
                f"the {info['component']} of '{paths[0].name}' cannot be loaded: {error}",
                hint="the folder needs the safetensors weights of every part",
            ) from error


SMALL_BYTES = 16 * 2**20
_CONFIGS = ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json")


def _is_small(folder: Path) -> bool:
    """Whether a VAE is so small that decoding a preview costs less than a step."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) < SMALL_BYTES


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"'{path.parent.name}/{path.name}' of the model cannot be read: {error}") from None


def _unet(path: Path, dtype: Any, device: str) -> Any:
    from diffusers import UNet2DConditionModel

    return _diffusers(UNet2DConditionModel, path / "unet", dtype, device)


def _vae(path: Path, dtype: Any, device: str) -> Any:
    from diffusers import AutoencoderKL

    return _diffusers(AutoencoderKL, path / "vae", dtype, device)


def _diffusers(cls: Any, path: Path, dtype: Any, device: str) -> Any:
    model = cls.from_pretrained(
        path, local_files_only=True, use_safetensors=True, torch_dtype=dtype, low_cpu_mem_usage=False
    )
    return model.to(device).eval()


def _clip(path: Path, dtype: Any, device: str) -> TextEncoder:
    from transformers import CLIPTextModel, CLIPTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # runs have progress of their own
    model = CLIPTextModel.from_pretrained(
        path / "text_encoder", local_files_only=True, use_safetensors=True, dtype=dtype
    )
    tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)
    return TextEncoder((Encoder("l", model.to(device).eval(), tokenizer),))


_LOADERS = {"unet": _unet, "vae": _vae, "clip": _clip}
