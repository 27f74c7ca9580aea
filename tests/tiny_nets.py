"""Transformers of tiny size of several families, without the other parts of their models."""

from collections.abc import Callable
from typing import Any

from diffusers import (
    ChromaTransformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from tiny_transformers import chroma_names, flux_names, sd3_names, z_image_names
from torch import Tensor

from latentloom.nodes.families.chroma import Chroma
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.flux import Flux
from latentloom.nodes.families.qwen_image import QwenImage
from latentloom.nodes.families.sd3 import SD3
from latentloom.nodes.families.z_image import ZImage

State = dict[str, Tensor]
WIDTHS = {"num_layers": 1, "attention_head_dim": 32, "num_attention_heads": 2, "joint_attention_dim": 48}
AXES = {"axes_dims_rope": (4, 14, 14)}


def flux() -> Any:
    return FluxTransformer2DModel(**WIDTHS, **AXES, num_single_layers=2, pooled_projection_dim=32, guidance_embeds=True)


def chroma() -> Any:
    return ChromaTransformer2DModel(
        **WIDTHS, **AXES, num_single_layers=2, approximator_hidden_dim=40, approximator_layers=2
    )


def sd3() -> Any:
    more = {"caption_projection_dim": 64, "pooled_projection_dim": 80, "pos_embed_max_size": 12}
    more |= {"qk_norm": "rms_norm", "dual_attention_layers": (0,), "sample_size": 32}
    return SD3Transformer2DModel(**{**WIDTHS, "num_layers": 2}, **more)


def z_image() -> Any:
    sizes = {"dim": 64, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 4, "n_kv_heads": 4, "cap_feat_dim": 48}
    return ZImageTransformer2DModel(in_channels=16, **sizes, axes_dims=[4, 6, 6], axes_lens=[1536, 512, 512])


def qwen_image() -> Any:
    return QwenImageTransformer2DModel(**WIDTHS, **AXES)


FAMILIES: dict[str, tuple[Family, Callable[[], Any], Callable[[State], State]]] = {
    "flux": (Flux(), flux, flux_names),
    "chroma": (Chroma(), chroma, chroma_names),
    "sd3": (SD3(), sd3, sd3_names),
    "z_image": (ZImage(), z_image, z_image_names),
    "qwen_image": (QwenImage(), qwen_image, dict),
}
"""By name: the family, a network in diffusers' class, and its weights by its authors' names."""
