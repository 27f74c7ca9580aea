"""Key names of VAE weights: from diffusers to the original code (LDM)."""

import re
from collections.abc import Iterable

from latentloom.nodes.families.header import counted

_ATTENTION = (
    ("group_norm.", "norm."),
    ("to_q.", "q."),
    ("to_k.", "k."),
    ("to_v.", "v."),
    ("to_out.0.", "proj_out."),
)
OLD_ATTENTION = (("to_q.", "query."), ("to_k.", "key."), ("to_v.", "value."), ("to_out.0.", "proj_attn."))
_MIDDLE = (("resnets.0.", "block_1."), ("resnets.1.", "block_2."), ("attentions.0.", "attn_1."))
_BLOCK = re.compile(r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(?:conv\.)?")
_PARTS = {"resnets": "block.{}.", "downsamplers": "downsample.conv.", "upsamplers": "upsample.conv."}


def original_names(names: Iterable[str]) -> dict[str, str]:
    """Map an AutoencoderKL's diffusers names to the original names; the decoder numbers its levels backwards."""
    known = tuple(names)
    levels = counted(known, "decoder.up_blocks.{}.")
    return {name: _original(name, levels) for name in known}


def _original(name: str, levels: int) -> str:
    match = _BLOCK.match(name)
    if match is not None:
        level = int(match[2]) if match[1] == "encoder.down" else levels - 1 - int(match[2])
        rest = name[match.end() :].replace("conv_shortcut.", "nin_shortcut.")
        return f"{match[1]}.{level}.{_PARTS[match[3]].format(match[4])}{rest}"
    side, _, rest = name.partition(".mid_block.")
    if rest:
        return f"{side}.mid.{_middle(rest)}"
    return name.replace("conv_norm_out.", "norm_out.")


def _middle(rest: str) -> str:
    for ours, theirs in _MIDDLE:
        if rest.startswith(ours):
            rest = theirs + rest.removeprefix(ours)
    if rest.startswith("attn_1."):
        for ours, theirs in _ATTENTION:
            rest = rest.replace(ours, theirs)
    return rest.replace("conv_shortcut.", "nin_shortcut.")
