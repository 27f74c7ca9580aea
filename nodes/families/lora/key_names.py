"""Names in LoRA files of kohya, LyCORIS, diffusers, PEFT, ComfyUI, XLabs: which weight, which factor of its change."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

Network = Literal["unet", "te1", "te2", "te3"]
"""The denoiser, UNet or transformer; CLIP-L or the only text encoder; CLIP-G; T5."""
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
_OUTER = re.compile(r"^(?:base_model\.model\.|lycoris_)")  # in front of a name that is complete without it
_NETWORKS: tuple[tuple[re.Pattern[str], Network], ...] = (
    (re.compile(r"lora_unet_|lora_transformer_|unet[._]|transformer\.|(model\.)?diffusion_model[._]"), "unet"),
    (re.compile(r"lora_te2_|text_encoder_2[._]|text_encoders\.clip_g\.transformer\."), "te2"),
    (re.compile(r"lora_te3_|text_encoder_3[._]|text_encoders\.t5xxl\.transformer\."), "te3"),
    (re.compile(r"lora_te1?_|text_encoder[._]|text_encoders\.\w+\.transformer\."), "te1"),
)
_TEXT: tuple[tuple[str, Network | None, str], ...] = (  # how layers of text encoders begin, whose, and what is cut off
    ("text_model_", None, "text_model_"),
    ("encoder_block_", "te3", "encoder_"),
    ("model_layers_", None, "model_"),
)
LONGEST = 3  # words of the endings of names
_PROCESSOR = re.compile(r"\.processor\.(to_[qkv])_lora\.(down|up)\.weight$")  # as diffusers 0.1x wrote it
_PROCESSOR_OUT = re.compile(r"\.processor\.to_out_lora\.(down|up)\.weight$")
_XLABS = (  # XLabs' names for the layers of Flux.1, and the authors'
    (
        re.compile(r"(double_blocks\.\d+)\.processor\.(qkv|proj)_lora1\.(down|up)\.weight$"),
        r"\1.img_attn.\2.lora.\3.weight",
    ),
    (
        re.compile(r"(double_blocks\.\d+)\.processor\.(qkv|proj)_lora2\.(down|up)\.weight$"),
        r"\1.txt_attn.\2.lora.\3.weight",
    ),
    (re.compile(r"(single_blocks\.\d+)\.processor\.qkv_lora\.(down|up)\.weight$"), r"\1.qkv.lora.\2.weight"),
    (re.compile(r"(single_blocks\.\d+)\.processor\.proj_lora\.(down|up)\.weight$"), r"\1.linear2.lora.\2.weight"),
)


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
        for theirs, authors in _XLABS:
            plain = theirs.sub(authors, plain)
    words = plain.rsplit(".", LONGEST)
    for count in range(1, len(words)):
        part = PARTS.get(".".join(words[-count:]))
        if part is not None:
            return _target(".".join(words[:-count])), part
    return None, ""


def _target(base: str) -> Target:
    """By its prefix; what has none is of the denoiser, unless its layer is one of text encoders.

    A T5 is the third text encoder, wherever a pipeline has it.
    """
    name = _OUTER.sub("", base)
    found = next(((match, network) for pattern, network in _NETWORKS if (match := pattern.match(name))), None)
    network: Network = "unet" if found is None else found[1]
    flat = (name if found is None else name[found[0].end() :]).replace(".", "_")
    if network == "unet" and found is not None:
        return Target(network, flat)
    for begin, whose, cut in _TEXT:
        if flat.startswith(begin):
            return Target(whose or ("te1" if found is None else network), flat.removeprefix(cut))
    return Target(network, flat)
