"""Names of Flux's weights: from those of its authors (Black Forest Labs) to diffusers'.

The authors keep query, key and value in one tensor, and in single blocks the first layer of the MLP as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = (
    (r"time_in\.in_layer", "time_text_embed.timestep_embedder.linear_1"),
    (r"time_in\.out_layer", "time_text_embed.timestep_embedder.linear_2"),
    (r"vector_in\.in_layer", "time_text_embed.text_embedder.linear_1"),
    (r"vector_in\.out_layer", "time_text_embed.text_embedder.linear_2"),
    (r"guidance_in\.in_layer", "time_text_embed.guidance_embedder.linear_1"),
    (r"guidance_in\.out_layer", "time_text_embed.guidance_embedder.linear_2"),
    (r"txt_in", "context_embedder"),
    (r"img_in", "x_embedder"),
    (r"final_layer\.linear", "proj_out"),
    (r"final_layer\.adaLN_modulation\.1", "norm_out.linear"),
    (r"double_blocks\.(\d+)\.img_mod\.lin", r"transformer_blocks.\1.norm1.linear"),
    (r"double_blocks\.(\d+)\.txt_mod\.lin", r"transformer_blocks.\1.norm1_context.linear"),
    (r"double_blocks\.(\d+)\.img_attn\.proj", r"transformer_blocks.\1.attn.to_out.0"),
    (r"double_blocks\.(\d+)\.txt_attn\.proj", r"transformer_blocks.\1.attn.to_add_out"),
    (r"double_blocks\.(\d+)\.img_attn\.norm\.query_norm", r"transformer_blocks.\1.attn.norm_q"),
    (r"double_blocks\.(\d+)\.img_attn\.norm\.key_norm", r"transformer_blocks.\1.attn.norm_k"),
    (r"double_blocks\.(\d+)\.txt_attn\.norm\.query_norm", r"transformer_blocks.\1.attn.norm_added_q"),
    (r"double_blocks\.(\d+)\.txt_attn\.norm\.key_norm", r"transformer_blocks.\1.attn.norm_added_k"),
    (r"double_blocks\.(\d+)\.img_mlp\.0", r"transformer_blocks.\1.ff.net.0.proj"),
    (r"double_blocks\.(\d+)\.img_mlp\.2", r"transformer_blocks.\1.ff.net.2"),
    (r"double_blocks\.(\d+)\.txt_mlp\.0", r"transformer_blocks.\1.ff_context.net.0.proj"),
    (r"double_blocks\.(\d+)\.txt_mlp\.2", r"transformer_blocks.\1.ff_context.net.2"),
    (r"single_blocks\.(\d+)\.modulation\.lin", r"single_transformer_blocks.\1.norm.linear"),
    (r"single_blocks\.(\d+)\.norm\.query_norm", r"single_transformer_blocks.\1.attn.norm_q"),
    (r"single_blocks\.(\d+)\.norm\.key_norm", r"single_transformer_blocks.\1.attn.norm_k"),
    (r"single_blocks\.(\d+)\.linear2", r"single_transformer_blocks.\1.proj_out"),
)
_PARTS = (  # one tensor of the authors', and what diffusers makes of it
    (
        r"double_blocks\.(\d+)\.img_attn\.qkv",
        [rf"transformer_blocks.\1.attn.{name}" for name in ("to_q", "to_k", "to_v")],
    ),
    (
        r"double_blocks\.(\d+)\.txt_attn\.qkv",
        [rf"transformer_blocks.\1.attn.{name}" for name in ("add_q_proj", "add_k_proj", "add_v_proj")],
    ),
    (
        r"single_blocks\.(\d+)\.linear1",
        [rf"single_transformer_blocks.\1.{name}" for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")],
    ),
)


def converted(tensors: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Tensors by diffusers' names; those that Flux does not have are left out. `width` is that of the stream."""
    return {ours: part for name, tensor in tensors.items() for ours, part in _converted(name, tensor, width)}


def _converted(name: str, tensor: Any, width: int) -> Iterator[tuple[str, Any]]:
    layer, _, kind = name.rpartition(".")
    kind = "weight" if kind == "scale" else kind
    for pattern, ours in _NAMES:
        if match := re.fullmatch(pattern, layer):
            yield f"{match.expand(ours)}.{kind}", tensor
    for pattern, parts in _PARTS:
        if match := re.fullmatch(pattern, layer):
            rows = [width] * 3 + ([len(tensor) - 3 * width] if len(parts) == 4 else [])
            found = tensor.split(rows)
            yield from ((f"{match.expand(ours)}.{kind}", part) for ours, part in zip(parts, found, strict=True))
