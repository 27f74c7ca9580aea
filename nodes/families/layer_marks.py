"""Whose layers some names are, for messages: told by how the layers of each family are called."""

import re
from collections.abc import Iterable

MARKS = (  # how a layer's name begins, with "_" for ".", and what has such layers; the first that fits counts
    (r"(double|single)_blocks_\d+_|single_transformer_blocks_\d+_", "a Flux model or Chroma"),
    (r"joint_blocks_\d+_", "Stable Diffusion 3"),
    (r"transformer_blocks_\d+_(img|txt)_(mlp|mod)_", "Qwen-Image"),
    (r"(layers|noise_refiner|context_refiner)_\d+_(attention|feed_forward|adaLN_modulation)_", "Z-Image or Lumina 2"),
    (r"transformer_blocks_\d+_", "a transformer in diffusers' layout"),
    (r"blocks_\d+_(self_attn|cross_attn|ffn)_", "Wan"),
    (r"(down|up|input|output)_blocks_\d+_|mid(dle)?_block_", "Stable Diffusion with a UNet"),
    (r"encoder_layers_\d+_", "CLIP"),
    (r"block_\d+_layer_\d+_", "T5"),
    (r"layers_\d+_(self_attn|mlp)_", "a language model"),
)


def whose(layers: Iterable[str]) -> str:
    """What has layers of these names, which have "_" for "."."""
    names = list(layers)
    found = (title for mark, title in MARKS if any(re.match(mark, name) for name in names))
    return next(found, "an unknown model")
