"""Key names of CLIP text weights: from transformers to OpenCLIP, whose attention stacks q, k and v."""

import re
from collections.abc import Iterable

from latentloom.nodes.families.module_loading import Piece

_OUTER = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_INNER = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "self_attn.out_proj.": "attn.out_proj.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
_STACKED = re.compile(r"self_attn\.([qkv])_proj\.(weight|bias)")


def open_clip_pieces(names: Iterable[str]) -> dict[str, Piece]:
    """Return the source in OpenCLIP's layout of each weight of a CLIPTextModel."""
    return {name: _piece(name) for name in names}


def _piece(name: str) -> Piece:
    if name in _OUTER:
        return Piece(_OUTER[name])
    match = _LAYER.match(name)
    assert match is not None, name
    place, rest = f"transformer.resblocks.{match[1]}.", name[match.end() :]
    stacked = _STACKED.fullmatch(rest)
    if stacked is not None:
        return Piece(f"{place}attn.in_proj_{stacked[2]}", third="qkv".index(stacked[1]))
    inner = next(part for part in _INNER if rest.startswith(part))
    return Piece(place + _INNER[inner] + rest.removeprefix(inner))
