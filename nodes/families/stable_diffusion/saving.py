"""Converts loaded parts of Stable Diffusion to the tensors of a single file in the original layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.nodes.families.stable_diffusion import unet_keys, vae_keys
from latentloom.nodes.families.stable_diffusion.clip_keys import open_clip_pieces
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.encoder import Encoder

if TYPE_CHECKING:
    from torch import Tensor

UNET, VAE = "model.diffusion_model.", "first_stage_model."
_OPENAI, _OPEN_CLIP = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
_SDXL_L, _SDXL_G = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
_REFINER_G = "conditioner.embedders.0.model."
_WHOLE_H = 24  # layers of SD 2.x's text encoder in the original layout

Tensors = Mapping[str, "Tensor"]


def unet_tensors(module: Any) -> Tensors:
    """Return the weights of a UNet2DConditionModel."""
    weights = module.state_dict()
    names = unet_keys.original_names(weights)
    return {UNET + names[name]: tensor for name, tensor in weights.items()}


def vae_tensors(module: Any) -> Tensors:
    """Return the weights of an AutoencoderKL; in the original layout its attention uses 1x1 convolutions."""
    weights = module.state_dict()
    names = vae_keys.original_names(weights)
    return {VAE + names[name]: _as_convolution(name, tensor) for name, tensor in weights.items()}


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    attends = ".attentions." in name and ".group_norm." not in name and name.endswith(".weight")
    return tensor[:, :, None, None] if attends and tensor.ndim == 2 else tensor


def text_tensors(reader: TextEncoder) -> Tensors:
    """Return the weights of the text encoders: OpenAI's in transformers' layout, the others in OpenCLIP's.

    Raises BadValueError for the text encoder of SD 2.x from a diffusers folder, which lacks the last layer.
    """
    names = "".join(encoder.name for encoder in reader.encoders)
    found: dict[str, Tensor] = {}
    for encoder in reader.encoders:
        if encoder.name == "l":
            prefix = _SDXL_L if names == "lg" else _OPENAI
            found |= {prefix + name: tensor for name, tensor in encoder.model.state_dict().items()}
        else:
            prefix = {"h": _OPEN_CLIP, "g": _REFINER_G, "lg": _SDXL_G}[names]
            found |= {prefix + name: tensor for name, tensor in _open_clip(encoder)}
    return found


def _open_clip(encoder: Encoder) -> Iterator[tuple[str, Tensor]]:
    import torch

    weights = encoder.model.state_dict()
    layers = encoder.model.config.num_hidden_layers
    if encoder.name == "h" and encoder.layer == -1 and layers != _WHOLE_H:
        raise BadValueError(
            "the text encoder of SD 2.x lacks its last layer, as diffusers' folders do, and the single file needs it",
            expected=f"{_WHOLE_H} layers",
            got=str(layers),
            hint="leave `clip` unconnected, and load the text encoder from its folder",
        )
    thirds: dict[str, dict[int, Tensor]] = {}
    for name, piece in open_clip_pieces(weights).items():
        if piece.third is None:
            yield piece.source, weights[name]
        else:
            thirds.setdefault(piece.source, {})[piece.third] = weights[name]
    for source, parts in thirds.items():
        yield source, torch.cat([parts[n] for n in range(3)])
    if isinstance(encoder.projection, torch.nn.Module):
        yield "text_projection", encoder.projection.state_dict()["weight"].T
