"""llama.cpp's names of a Qwen-VL in two GGUF files, by gguf's own table where that has them."""

from collections.abc import Mapping, Sequence

import gguf
import torch

State = dict[str, torch.Tensor]
NAMES = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, 32)
TEXTS = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 64)
MERGER = {"norm": "v.post_ln", "linear_fc1": "mm.0", "linear_fc2": "mm.2"}
DEEP = {"norm": "norm", "linear_fc1": "fc1", "linear_fc2": "fc2"}


def text_of(state: Mapping[str, torch.Tensor]) -> State:
    """The language model without its head and its tower."""
    kept = {name: tensor for name, tensor in state.items() if name.startswith("model.")}
    return {str(TEXTS.get_name(name, (".weight", ".bias"))): tensor for name, tensor in kept.items()}


def tower_of(state: Mapping[str, torch.Tensor], deep: Sequence[int] = (), *, split: bool = False) -> State:
    """The vision tower; `deep` are the layers of its inner mergers, `split` parts queries, keys and values."""
    found: State = {}
    for name, tensor in state.items():
        if name == "visual.patch_embed.proj.weight":
            found |= {"v.patch_embd.weight": tensor[:, :, 0], "v.patch_embd.weight.1": tensor[:, :, 1]}
        elif name.startswith("visual.") and split and ".attn.qkv." in name:
            parts = zip("qkv", tensor.chunk(3), strict=True)
            found |= {_named(name.replace("attn.qkv", f"attn.{part}"), deep): rows for part, rows in parts}
        elif name.startswith("visual."):
            found[_named(name, deep)] = tensor
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _named(name: str, deep: Sequence[int]) -> str:
    _, where, *inner = name.split(".")
    if where == "deepstack_merger_list":
        return f"v.deepstack.{deep[int(inner[0])]}.{DEEP[inner[1]]}.{inner[2]}"
    if where == "merger" and inner[0] in MERGER:
        return f"{MERGER[inner[0]]}.{inner[1]}"
    return str(NAMES.get_name(name, (".weight", ".bias")))
