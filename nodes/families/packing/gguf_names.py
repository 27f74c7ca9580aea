"""Converts llama.cpp's tensor names of text encoders in GGUF files to those of transformers.

Files of denoisers keep the original names. The encoder is recognised by its tensors, because `general.architecture`
is often that of another program.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

_QWEN = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_T5 = {
    "attn_q": "layer.0.SelfAttention.q",
    "attn_k": "layer.0.SelfAttention.k",
    "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o",
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "attn_norm": "layer.0.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
    "ffn_norm": "layer.1.layer_norm",
}
_ENDS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_T5_ENDS = {"token_embd": "shared", "enc.output_norm": "encoder.final_layer_norm"}
_TOWER = {
    "v.patch_embd.weight.1": "patch_embed.proj.second.weight",
    "v.patch_embd": "patch_embed.proj",
    "v.position_embd": "pos_embed",
}
_MERGERS = {"v.post_ln": "merger.ln_q", "mm.0": "merger.mlp.0", "mm.2": "merger.mlp.2"}
_DEEP_MERGERS = {"v.post_ln": "merger.norm", "mm.0": "merger.linear_fc1", "mm.2": "merger.linear_fc2"}
_BLOCK = {"attn_qkv": "attn.qkv", "attn_q": "attn.q", "attn_k": "attn.k", "attn_v": "attn.v", "attn_out": "attn.proj"}
_BLOCK |= {"ln1": "norm1", "ln2": "norm2"}
_GATED = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_PLAIN = {"ffn_up": "mlp.linear_fc1", "ffn_down": "mlp.linear_fc2"}
_DEEP = {"norm": "norm", "fc1": "linear_fc1", "fc2": "linear_fc2"}
_INNER = re.compile(r"v\.(blk|deepstack)\.(\d+)\.(\w+)\.(\w+)")
_LAYER = re.compile(r"(?:enc\.)?blk\.(\d+)\.(\w+)\.(\w+)")


def model_names(names: Sequence[str]) -> dict[str, str]:
    """Map each tensor name of a file to its name in the model.

    Only names of llama.cpp's text encoders and of its vision towers (`mmproj`) change. A layer that is one in the model
    and several in the file keeps several names: `attn.q`, `attn.k` and `attn.v`, and `patch_embed.proj.second`.
    """
    if "v.patch_embd.weight" in names:
        return _tower_names(names)
    if "token_embd.weight" not in names:
        return {name: name for name in names}
    t5 = any(name.startswith("enc.blk.") for name in names)
    return {name: _named(name, t5=t5) for name in names}


def paired_heads(names: Collection[str], said: Mapping[str, Any]) -> dict[str, int]:
    """Map the weights whose rows llama.cpp has in another order to their number of heads; {} for most files.

    For models in the form of Llama, to which Mistral belongs, the rows of queries and keys that are rotated together
    are neighbours; the models here have them half a head apart. Such models have neither norms nor biases of queries
    and keys.
    """
    first = "model.layers.0.self_attn."
    if f"{first}q_proj.weight" not in names or {f"{first}q_norm.weight", f"{first}q_proj.bias"} & set(names):
        return {}
    architecture = said.get("general.architecture")
    counts = {
        part: said.get(f"{architecture}.attention.{key}")
        for part, key in (("q_proj", "head_count"), ("k_proj", "head_count_kv"))
    }
    return {
        name: count
        for name in names
        for part, count in counts.items()
        if name.endswith(f".self_attn.{part}.weight") and isinstance(count, int) and count > 0
    }


def _tower_names(names: Sequence[str]) -> dict[str, str]:
    """Map the names of a vision tower; the mergers of inner layers are numbered in their order, not by their layer."""
    places = sorted({int(found[2]) for found in map(_INNER.fullmatch, names) if found and found[1] == "deepstack"})
    outer = {**_TOWER, **(_DEEP_MERGERS if "v.position_embd.weight" in names else _MERGERS)}
    block = {**_BLOCK, **(_GATED if "v.blk.0.ffn_gate.weight" in names else _PLAIN)}

    def named(name: str) -> str:
        found = _INNER.fullmatch(name)
        if found is None:
            base, _, kind = name.rpartition(".")
            return outer[name] if name in outer else f"{outer[base]}.{kind}" if base in outer else name
        where, number, part, kind = found.groups()
        if where == "blk":
            return f"blocks.{number}.{block.get(part, part)}.{kind}"
        return f"deepstack_merger_list.{places.index(int(number))}.{_DEEP.get(part, part)}.{kind}"

    return {name: f"visual.{named(name)}" for name in names}


def _named(name: str, *, t5: bool) -> str:
    match = _LAYER.fullmatch(name)
    if match:
        number, part, kind = match.groups()
        inner = (_T5 if t5 else _QWEN).get(part, part)
        return f"{'encoder.block' if t5 else 'model.layers'}.{number}.{inner}.{kind}"
    base, _, kind = name.rpartition(".")
    return f"{(_T5_ENDS if t5 else _ENDS).get(base, base)}.{kind}"
