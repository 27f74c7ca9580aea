"""Key names of transformers' weights: from the original names to those of diffusers.

The original layout stores query, key and value in one tensor; Flux's single blocks include the first MLP layer too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FLUX = (
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
FLUX_PARTS = (  # one original tensor, and the diffusers tensors of its rows
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
    (  # the first three parts of `linear1`, which LoRAs of XLabs change alone
        r"single_blocks\.(\d+)\.qkv",
        [rf"single_transformer_blocks.\1.attn.{name}" for name in ("to_q", "to_k", "to_v")],
    ),
)


_FLUX2_DOUBLE = r"double_blocks\.(\d+)\."
FLUX2 = (
    (r"img_in", "x_embedder"),
    (r"txt_in", "context_embedder"),
    (r"time_in\.in_layer", "time_guidance_embed.timestep_embedder.linear_1"),
    (r"time_in\.out_layer", "time_guidance_embed.timestep_embedder.linear_2"),
    (r"guidance_in\.in_layer", "time_guidance_embed.guidance_embedder.linear_1"),
    (r"guidance_in\.out_layer", "time_guidance_embed.guidance_embedder.linear_2"),
    (r"(double_stream_modulation_img|double_stream_modulation_txt|single_stream_modulation)\.lin", r"\1.linear"),
    (r"final_layer\.linear", "proj_out"),
    (r"final_layer\.adaLN_modulation\.1", "norm_out.linear"),
    (_FLUX2_DOUBLE + r"img_attn\.proj", r"transformer_blocks.\1.attn.to_out.0"),
    (_FLUX2_DOUBLE + r"txt_attn\.proj", r"transformer_blocks.\1.attn.to_add_out"),
    (_FLUX2_DOUBLE + r"img_attn\.norm\.query_norm", r"transformer_blocks.\1.attn.norm_q"),
    (_FLUX2_DOUBLE + r"img_attn\.norm\.key_norm", r"transformer_blocks.\1.attn.norm_k"),
    (_FLUX2_DOUBLE + r"txt_attn\.norm\.query_norm", r"transformer_blocks.\1.attn.norm_added_q"),
    (_FLUX2_DOUBLE + r"txt_attn\.norm\.key_norm", r"transformer_blocks.\1.attn.norm_added_k"),
    (_FLUX2_DOUBLE + r"img_mlp\.0", r"transformer_blocks.\1.ff.linear_in"),
    (_FLUX2_DOUBLE + r"img_mlp\.2", r"transformer_blocks.\1.ff.linear_out"),
    (_FLUX2_DOUBLE + r"txt_mlp\.0", r"transformer_blocks.\1.ff_context.linear_in"),
    (_FLUX2_DOUBLE + r"txt_mlp\.2", r"transformer_blocks.\1.ff_context.linear_out"),
    (r"single_blocks\.(\d+)\.linear1", r"single_transformer_blocks.\1.attn.to_qkv_mlp_proj"),
    (r"single_blocks\.(\d+)\.linear2", r"single_transformer_blocks.\1.attn.to_out"),
    (r"single_blocks\.(\d+)\.norm\.query_norm", r"single_transformer_blocks.\1.attn.norm_q"),
    (r"single_blocks\.(\d+)\.norm\.key_norm", r"single_transformer_blocks.\1.attn.norm_k"),
)
FLUX2_PARTS = FLUX_PARTS[:2]


CHROMA = (
    *FLUX,
    (r"distilled_guidance_layer\.(in_proj|out_proj)", r"distilled_guidance_layer.\1"),
    (r"distilled_guidance_layer\.norms\.(\d+)", r"distilled_guidance_layer.norms.\1"),
    (r"distilled_guidance_layer\.layers\.(\d+)\.in_layer", r"distilled_guidance_layer.layers.\1.linear_1"),
    (r"distilled_guidance_layer\.layers\.(\d+)\.out_layer", r"distilled_guidance_layer.layers.\1.linear_2"),
)
_SD3_BLOCK = r"joint_blocks\.(\d+)\."
SD3 = (
    (r"x_embedder\.proj", "pos_embed.proj"),
    (r"t_embedder\.mlp\.0", "time_text_embed.timestep_embedder.linear_1"),
    (r"t_embedder\.mlp\.2", "time_text_embed.timestep_embedder.linear_2"),
    (r"y_embedder\.mlp\.0", "time_text_embed.text_embedder.linear_1"),
    (r"y_embedder\.mlp\.2", "time_text_embed.text_embedder.linear_2"),
    (r"context_embedder", "context_embedder"),
    (r"final_layer\.linear", "proj_out"),
    (r"final_layer\.adaLN_modulation\.1", "norm_out.linear"),
    (_SD3_BLOCK + r"x_block\.attn\.ln_q", r"transformer_blocks.\1.attn.norm_q"),
    (_SD3_BLOCK + r"x_block\.attn\.ln_k", r"transformer_blocks.\1.attn.norm_k"),
    (_SD3_BLOCK + r"x_block\.attn2\.ln_q", r"transformer_blocks.\1.attn2.norm_q"),
    (_SD3_BLOCK + r"x_block\.attn2\.ln_k", r"transformer_blocks.\1.attn2.norm_k"),
    (_SD3_BLOCK + r"context_block\.attn\.ln_q", r"transformer_blocks.\1.attn.norm_added_q"),
    (_SD3_BLOCK + r"context_block\.attn\.ln_k", r"transformer_blocks.\1.attn.norm_added_k"),
    (_SD3_BLOCK + r"x_block\.(attn2?)\.proj", r"transformer_blocks.\1.\2.to_out.0"),
    (_SD3_BLOCK + r"context_block\.attn\.proj", r"transformer_blocks.\1.attn.to_add_out"),
    (_SD3_BLOCK + r"x_block\.adaLN_modulation\.1", r"transformer_blocks.\1.norm1.linear"),
    (_SD3_BLOCK + r"context_block\.adaLN_modulation\.1", r"transformer_blocks.\1.norm1_context.linear"),
    (_SD3_BLOCK + r"x_block\.mlp\.fc1", r"transformer_blocks.\1.ff.net.0.proj"),
    (_SD3_BLOCK + r"x_block\.mlp\.fc2", r"transformer_blocks.\1.ff.net.2"),
    (_SD3_BLOCK + r"context_block\.mlp\.fc1", r"transformer_blocks.\1.ff_context.net.0.proj"),
    (_SD3_BLOCK + r"context_block\.mlp\.fc2", r"transformer_blocks.\1.ff_context.net.2"),
)
SD3_PARTS = (
    (
        _SD3_BLOCK + r"x_block\.(attn2?)\.qkv",
        [rf"transformer_blocks.\1.\2.{name}" for name in ("to_q", "to_k", "to_v")],
    ),
    (
        _SD3_BLOCK + r"context_block\.attn\.qkv",
        [rf"transformer_blocks.\1.attn.{name}" for name in ("add_q_proj", "add_k_proj", "add_v_proj")],
    ),
)
_Z_IMAGE_BLOCK = r"(layers|noise_refiner|context_refiner)\.(\d+)\."
Z_IMAGE = (
    (r"x_embedder", "all_x_embedder.2-1"),
    (r"final_layer\.linear", "all_final_layer.2-1.linear"),
    (r"final_layer\.adaLN_modulation\.1", "all_final_layer.2-1.adaLN_modulation.1"),
    (_Z_IMAGE_BLOCK + r"attention\.out", r"\1.\2.attention.to_out.0"),
    (_Z_IMAGE_BLOCK + r"attention\.q_norm", r"\1.\2.attention.norm_q"),
    (_Z_IMAGE_BLOCK + r"attention\.k_norm", r"\1.\2.attention.norm_k"),
)
Z_IMAGE_PARTS = (
    (
        _Z_IMAGE_BLOCK + r"attention\.qkv",
        [rf"\1.\2.attention.{name}" for name in ("to_q", "to_k", "to_v")],
    ),
)

Names = Sequence[tuple[str, str]]
"""A pattern for original layer names, and diffusers' name. Both use each group once, and groups are not nested."""
Parts = Sequence[tuple[str, Sequence[str]]]
"""A pattern for original layers that diffusers splits, and diffusers' names in the order of their rows."""
_GROUP = re.compile(r"\([^()]*\)")


@dataclass(frozen=True, slots=True)
class Origin:
    """The title of a network, and its layers by their original names; see `authors_layers`."""

    title: str
    layers: Mapping[str, tuple[str, ...]]


def converted(tensors: Mapping[str, Any], width: int, names: Names, parts: Parts) -> dict[str, Any]:
    """Return tensors by diffusers' names; tensors that no pattern matches are left out.

    The first three parts of a tensor have `width` rows each; a fourth part has the rest.
    """
    return {
        ours: part for name, tensor in tensors.items() for ours, part in _converted(name, tensor, width, names, parts)
    }


def _converted(name: str, tensor: Any, width: int, names: Names, parts: Parts) -> Iterator[tuple[str, Any]]:
    layer, _, kind = name.rpartition(".")
    kind = "weight" if kind == "scale" else kind
    for pattern, ours in names:
        if match := re.fullmatch(pattern, layer):
            yield f"{match.expand(ours)}.{kind}", tensor
    for pattern, several in parts:
        if match := re.fullmatch(pattern, layer):
            rows = [width] * 3 + ([len(tensor) - 3 * width] if len(several) == 4 else [])
            found = zip(several, tensor.split(rows), strict=True)
            yield from ((f"{match.expand(ours)}.{kind}", part) for ours, part in found)


def authors_layers(layers: Collection[str], names: Names, parts: Parts) -> dict[str, tuple[str, ...]]:
    """Map each original layer name to the diffusers layers of its rows, in order: the inverse of `converted`.

    `layers` are the diffusers names of a network's layers.
    """
    found: dict[str, tuple[str, ...]] = {}
    for theirs, several in [*((pattern, [ours]) for pattern, ours in names), *parts]:
        known, template = _backwards(theirs, several[0])
        for match in filter(None, map(known.fullmatch, layers)):
            ours = tuple(match.expand(one) for one in several)
            if all(one in layers for one in ours):
                found[match.expand(template)] = ours
    return found


def authors_shapes(shapes: Mapping[str, tuple[int, ...]], names: Names, parts: Parts) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors with diffusers' names by their original names; rows of several layers add up.

    The weights of norms are there under both of their names, "weight" and "scale".
    """
    found = dict[str, tuple[int, ...]]()
    layers = {name.rpartition(".")[0] for name in shapes}
    for theirs, several in authors_layers(layers, names, parts).items():
        for kind in ("weight", "bias"):
            sizes = [shapes[name] for ours in several if (name := f"{ours}.{kind}") in shapes]
            if len(sizes) == len(several):
                found[f"{theirs}.{kind}"] = (sum(size[0] for size in sizes), *sizes[0][1:])
        if f"{theirs}.weight" in found:
            found[f"{theirs}.scale"] = found[f"{theirs}.weight"]
    return found


def _backwards(theirs: str, ours: str) -> tuple[re.Pattern[str], str]:
    """Return a pattern for diffusers' names, and a template for the original name with the pattern's groups."""
    groups, numbers = _GROUP.findall(theirs), itertools.count(1)
    known = re.sub(r"\\\\(\d)", lambda number: groups[int(number[1]) - 1], re.escape(ours))
    return re.compile(known), _GROUP.sub(lambda _: rf"\{next(numbers)}", theirs).replace(r"\.", ".")
