"""Checkpoints with real structure and random weights, for tests and benchmarks without published weights.

Names and shapes are those of the published files; `*_tiny` recipes have the same names, fewer levels and thin layers.
Each tensor has its own seed and does not depend on the others. The scales keep activations finite and make the output
depend on the prompt and on the noise.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from latentloom.nodes.families.controlnet.t2i_adapter import AdapterPart
from latentloom.nodes.families.ip_adapter.networks import ImageProjection, IPAdapterNet, Resampler
from latentloom.nodes.families.module_loading import Piece
from latentloom.nodes.families.stable_diffusion import unet_keys, vae_keys
from latentloom.nodes.families.stable_diffusion.clip_keys import open_clip_pieces
from latentloom.nodes.families.stable_diffusion.configs import (
    TextShape,
    UNetShape,
    VaeShape,
    controlnet_config,
    text_config,
    unet_config,
    vae_config,
)

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parts of a checkpoint; text encoders are (prefix, whether in OpenCLIP's layout, shape)."""

    unet: UNetShape
    vae: VaeShape
    texts: tuple[tuple[str, bool, TextShape], ...]


_VAE = VaeShape(4, (128, 256, 512, 512), 2)
_L = TextShape(49408, 77, 768, 3072, 12, 0)
_H = TextShape(49408, 77, 1024, 4096, 24, 1024)
_G = TextShape(49408, 77, 1280, 5120, 32, 1280)
_OPENAI, _OPEN_CLIP = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
_XL_OPENAI, _XL_OPEN_CLIP = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.{}.model."
_SD1 = UNetShape(4, 4, (320, 640, 1280, 1280), 2, (1, 1, 1, 0), 1, 768, linear=False, vector=0)
_SD2 = replace(_SD1, context=1024, linear=True)
_SDXL = UNetShape(4, 4, (320, 640, 1280), 2, (0, 2, 10), 10, 2048, linear=True, vector=2816)
_REFINER = UNetShape(4, 4, (384, 768, 1536, 1536), 2, (0, 4, 4, 0), 4, 1280, linear=True, vector=2560)

_TINY_VAE = VaeShape(4, (32, 32, 32, 32), 1)
_TINY_L = TextShape(49408, 77, 64, 128, 3, 0)
_TINY_H = TextShape(49408, 77, 128, 128, 3, 128)
_TINY_G = replace(_TINY_H, projection=128)
_TINY_SD1 = UNetShape(4, 4, (32, 64), 1, (1, 0), 1, 64, linear=False, vector=0)
_TINY_SD2 = UNetShape(4, 4, (64, 128), 1, (1, 0), 1, 128, linear=True, vector=0)
_TINY_SDXL = UNetShape(4, 4, (64, 128), 1, (0, 2), 2, 192, linear=True, vector=128 + 6 * 256)
_TINY_REFINER = UNetShape(4, 4, (64, 128, 128), 1, (0, 2, 0), 2, 128, linear=True, vector=128 + 5 * 256)

RECIPES: Mapping[str, Recipe] = {
    "sd1": Recipe(_SD1, _VAE, ((_OPENAI, False, _L),)),
    "sd1_inpaint": Recipe(replace(_SD1, channels=9), _VAE, ((_OPENAI, False, _L),)),
    "sd1_instruct": Recipe(replace(_SD1, channels=8), _VAE, ((_OPENAI, False, _L),)),
    "sd2": Recipe(_SD2, _VAE, ((_OPEN_CLIP, True, _H),)),
    "sdxl": Recipe(_SDXL, _VAE, ((_XL_OPENAI, False, _L), (_XL_OPEN_CLIP.format(1), True, _G))),
    "refiner": Recipe(_REFINER, _VAE, ((_XL_OPEN_CLIP.format(0), True, _G),)),
    "sd1_tiny": Recipe(_TINY_SD1, _TINY_VAE, ((_OPENAI, False, _TINY_L),)),
    "sd1_inpaint_tiny": Recipe(replace(_TINY_SD1, channels=9), _TINY_VAE, ((_OPENAI, False, _TINY_L),)),
    "sd1_instruct_tiny": Recipe(replace(_TINY_SD1, channels=8), _TINY_VAE, ((_OPENAI, False, _TINY_L),)),
    "sd2_tiny": Recipe(_TINY_SD2, _TINY_VAE, ((_OPEN_CLIP, True, _TINY_H),)),
    "sdxl_tiny": Recipe(
        _TINY_SDXL, _TINY_VAE, ((_XL_OPENAI, False, _TINY_L), (_XL_OPEN_CLIP.format(1), True, _TINY_G))
    ),
    "refiner_tiny": Recipe(_TINY_REFINER, _TINY_VAE, ((_XL_OPEN_CLIP.format(0), True, _TINY_G),)),
}


def write_checkpoint(
    path: Path,
    recipe: str,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float16,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a random checkpoint of one of RECIPES as a single file in the original layout."""
    tensors = {name: random_tensor(name, shape, seed).to(dtype) for name, shape in checkpoint_shapes(recipe).items()}
    save_file(tensors, path, metadata=dict(metadata or {}))


def write_controlnet(path: Path, recipe: str, *, seed: int = 0, original: bool = True) -> None:
    """Write a random ControlNet for the UNet of one of RECIPES, in fp32, in the original layout or in diffusers'."""
    tensors = {name: random_tensor(name, shape, seed) for name, shape in controlnet_shapes(recipe).items()}
    if not original:
        names = {source: name for name, source in _controlnet_names(recipe).items()}
        tensors = {names[name.removeprefix("control_model.")]: tensor for name, tensor in tensors.items()}
    save_file(tensors, path)


def write_t2i_adapter(
    path: Path, kind: str, widths: Sequence[int], *, channels: int = 3, original: bool = True, seed: int = 0
) -> None:
    """Write a random T2I-Adapter in fp32 with two resnets per level; `kind` is diffusers' `adapter_type`."""
    from diffusers import T2IAdapter

    fold = 16 if kind == "full_adapter_xl" else 8
    shapes = _shapes(lambda: T2IAdapter(channels, list(widths), 2, fold, kind))
    part = AdapterPart("adapter.", original, {"adapter_type": kind, "num_res_blocks": 2})
    names = {part.source(name): shape for name, shape in shapes.items()}
    save_file({name: random_tensor(name, shape, seed) for name, shape in names.items()}, path)


def write_ip_adapter(path: Path, recipe: str, image: int, *, plus: bool = False, seed: int = 0) -> None:
    """Write a random IP-Adapter in fp32 for the UNet of one of RECIPES and an image encoder of width `image`."""
    from diffusers import UNet2DConditionModel

    unet = RECIPES[recipe].unet
    with torch.device("meta"):
        module = UNet2DConditionModel(**unet_config(unet))
    layers = [name.removesuffix(".processor") for name in module.attn_processors if "attn2" in name]
    widths = [(str(2 * n + 1), module.get_submodule(name).to_q.out_features) for n, name in enumerate(layers)]

    def build() -> Any:
        plain = ImageProjection(image, unet.context, 4)
        return IPAdapterNet(Resampler(image, unet.context, 64, 128, 3, 4, 256) if plus else plain, unet.context, widths)

    save_file({name: random_tensor(name, shape, seed) for name, shape in _shapes(build).items()}, path)


def write_clip_vision(path: Path, width: int = 64, projection: int = 48, *, seed: int = 0) -> None:
    """Write a small random CLIP image encoder in fp32: pictures of 32 x 32 pixels, two layers."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = CLIPVisionConfig(**sizes, image_size=32, patch_size=8, projection_dim=projection, hidden_act="gelu")
    shapes = _shapes(lambda: CLIPVisionModelWithProjection(config))
    save_file({name: random_tensor(name, shape, seed) for name, shape in shapes.items()}, path)


def controlnet_shapes(recipe: str) -> Shapes:
    """Return names and shapes of a ControlNet's tensors in the original layout."""
    shapes, names = _controlnet_module_shapes(recipe), _controlnet_names(recipe)
    return {f"control_model.{names[name]}": shape for name, shape in shapes.items()}


def _controlnet_names(recipe: str) -> dict[str, str]:
    return unet_keys.original_names(_controlnet_module_shapes(recipe))


def _controlnet_module_shapes(recipe: str) -> Shapes:
    from diffusers import ControlNetModel

    config = controlnet_config(RECIPES[recipe].unet, (16, 32, 96, 256))
    return _shapes(lambda: ControlNetModel(**config))


def checkpoint_shapes(recipe: str) -> Shapes:
    """Return names and shapes of a checkpoint's tensors."""
    found = RECIPES[recipe]
    shapes = {f"model.diffusion_model.{name}": shape for name, shape in unet_shapes(found.unet).items()}
    shapes |= {f"first_stage_model.{name}": shape for name, shape in vae_shapes(found.vae).items()}
    for prefix, open_clip, text in found.texts:
        shapes |= {f"{prefix}{name}": shape for name, shape in text_shapes(text, open_clip=open_clip).items()}
    return shapes


def unet_shapes(unet: UNetShape) -> Shapes:
    """Return names and shapes of a UNet in the original layout."""
    from diffusers import UNet2DConditionModel

    shapes = _shapes(lambda: UNet2DConditionModel(**unet_config(unet)))
    names = unet_keys.original_names(shapes)
    return {names[name]: shape for name, shape in shapes.items()}


def vae_shapes(vae: VaeShape) -> Shapes:
    """Return names and shapes of a VAE in the original layout, whose attention uses 1x1 convolutions."""
    from diffusers import AutoencoderKL

    shapes = _shapes(lambda: AutoencoderKL(**vae_config(vae)))
    names = vae_keys.original_names(shapes)
    return {names[name]: _as_convolution(names[name], shape) for name, shape in shapes.items()}


def _as_convolution(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1) if ".attn_1." in name and len(shape) == 2 else shape


def text_shapes(text: TextShape, *, open_clip: bool) -> Shapes:
    """Return names and shapes of a text model, in OpenCLIP's layout or in transformers'."""
    from transformers import CLIPTextConfig, CLIPTextModel

    shapes = _shapes(lambda: CLIPTextModel(CLIPTextConfig(**text_config(text, "gelu"))))
    if not open_clip:
        return {**shapes, "embeddings.position_ids": (1, text.length)}
    pieces = open_clip_pieces(shapes)
    found = {piece.source: _stacked(piece, shapes[name]) for name, piece in pieces.items()}
    return {**found, "text_projection": (text.width, text.projection), "logit_scale": ()}


def _stacked(piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if piece.third is None else (3 * shape[0], *shape[1:])


def _shapes(build: Callable[[], Any]) -> Shapes:
    with torch.device("meta"):
        module = build()
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def random_tensor(name: str, shape: Sequence[int], seed: int = 0) -> Tensor:
    """Draw a float32 tensor with a scale by its name: norms near 1, biases near 0, others by their fan-in."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ seed)
    drawn = torch.randn(tuple(shape), generator=generator)
    if name.endswith("position_ids"):
        return torch.arange(shape[-1]).expand(tuple(shape)).float()
    if len(shape) == 1 and name.endswith("weight"):
        return 1 + 0.1 * drawn
    if len(shape) < 2:
        return 0.02 * drawn
    if "embedding" in name and "time" not in name:
        return 0.1 * drawn
    return drawn / math.sqrt(math.prod(shape[1:]))
