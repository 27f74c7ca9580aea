"""Names in LoRA files, in kohya's, LyCORIS's and diffusers' layouts: which weight, and which factor of its change."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

Network = Literal["unet", "te1", "te2"]
PARTS: Mapping[str, str] = {  # how a name ends -> the factor
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "lora_magnitude_vector": "dora",
    "lora_magnitude_vector.weight": "dora",
    "dora_scale": "dora",
    "alpha": "alpha",
    "diff": "diff",
    "diff_b": "diff_b",
    **{name: name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")},
    **{name: name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")},
}
_NETWORKS: tuple[tuple[str, Network], ...] = (
    ("lora_unet_", "unet"),
    ("lora_te1_", "te1"),
    ("lora_te2_", "te2"),
    ("lora_te_", "te1"),
    ("unet_", "unet"),
    ("diffusion_model_", "unet"),
    ("text_encoder_2_", "te2"),
    ("text_encoder_", "te1"),
)
_BARE_UNET = ("down_blocks_", "mid_block_", "up_blocks_", "conv_in", "conv_out", "time_embedding_", "add_embedding_")
_BARE_TEXT = "text_model_"  # PEFT's adapters, and diffusers' first ones, are of one network and do not name it
LONGEST = 3  # words of those endings
_PROCESSOR = re.compile(r"\.processor\.(to_[qkv])_lora\.(down|up)\.weight$")  # as diffusers 0.1x wrote it
_PROCESSOR_OUT = re.compile(r"\.processor\.to_out_lora\.(down|up)\.weight$")


class Target(NamedTuple):
    """A weight that a file changes: the network, and the name of its layer with "_" for "."."""

    network: Network
    layer: str


def changes(names: Iterable[str]) -> dict[Target, dict[str, str]]:
    """By target, the tensor of each factor; names that belong to no LoRA are left out."""
    found: dict[Target, dict[str, str]] = {}
    for name in names:
        target, part = _parsed(name)
        if target is not None:
            found.setdefault(target, {})[part] = name
    return {target: parts for target, parts in found.items() if parts.keys() != {"alpha"}}


def _parsed(name: str) -> tuple[Target | None, str]:
    plain = name
    if ".processor." in name:
        plain = _PROCESSOR_OUT.sub(r".to_out.0.lora.\1.weight", _PROCESSOR.sub(r".\1.lora.\2.weight", name))
    words = plain.rsplit(".", LONGEST)
    for count in range(1, len(words)):
        part = PARTS.get(".".join(words[-count:]))
        if part is not None:
            return _target(".".join(words[:-count])), part
    return None, ""


def _target(base: str) -> Target | None:
    flat = base.removeprefix("base_model.model.").replace(".", "_")
    for prefix, network in _NETWORKS:
        if flat.startswith(prefix):
            layer = flat.removeprefix(prefix)
            return Target(network, layer if network == "unet" else layer.removeprefix("text_model_"))
    if flat.startswith(_BARE_UNET):
        return Target("unet", flat)
    return Target("te1", flat.removeprefix(_BARE_TEXT)) if flat.startswith(_BARE_TEXT) else None
