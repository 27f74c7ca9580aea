"""Key names of UNet weights: from diffusers to the original code (LDM), Rombach et al. 2022.

The original numbers its blocks across levels: a level with L resnets has L + 1 numbers, the last for the resampler.
"""

import re
from collections.abc import Iterable

from latentloom.nodes.families.header import counted

_OUTER = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
    ("controlnet_mid_block.", "middle_block_out.0."),
)
_RESNET = (
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("conv_shortcut.", "skip_connection."),
)
_ZERO = re.compile(r"controlnet_down_blocks\.(\d+)\.")
_HINT = re.compile(r"controlnet_cond_embedding\.(?:(conv_in)|blocks\.(\d+)|(conv_out))\.")
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.")


def original_names(names: Iterable[str]) -> dict[str, str]:
    """Map a UNet's (or ControlNet's) diffusers names to the original names; names without one are left out."""
    known = tuple(names)
    layers = counted(known, "down_blocks.0.resnets.{}.")
    attending = {
        match[2] for name in known if (match := _BLOCK.match(name)) and match[1] == "up" and match[3] == "attentions"
    }
    found = {name: _hint(name, known) or _original(name, layers, attending) for name in known}
    return {name: original for name, original in found.items() if original is not None}


def _original(name: str, layers: int, attending: set[str]) -> str | None:
    for ours, theirs in _OUTER:
        if name.startswith(ours):
            return theirs + _inner(name, name.removeprefix(ours))
    if match := _ZERO.match(name):
        return f"zero_convs.{match[1]}.0.{name[match.end() :]}"
    match = _BLOCK.match(name)
    if match is None:
        return None
    return _place(match, layers, attending) + _inner(name, name[match.end() :])


def _hint(name: str, known: tuple[str, ...]) -> str | None:
    """The name of a ControlNet's picture input layer; the original numbers include the activations in between."""
    match = _HINT.match(name)
    if match is None:
        return None
    last = counted(known, "controlnet_cond_embedding.blocks.{}.") + 1
    number = 0 if match[1] else last if match[3] else int(match[2]) + 1
    return f"input_hint_block.{2 * number}.{name[match.end() :]}"


def _place(match: re.Match[str], layers: int, attending: set[str]) -> str:
    """Return the original block number of a part of a level."""
    side, level, part, index = match[1], int(match[2]), match[3], int(match[4])
    if part == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0."
    if part == "upsamplers":
        return f"output_blocks.{level * (layers + 1) + layers}.{2 if match[2] in attending else 1}."
    place = (
        f"input_blocks.{1 + level * (layers + 1) + index}"
        if side == "down"
        else f"output_blocks.{level * (layers + 1) + index}"
    )
    return f"{place}.{0 if part == 'resnets' else 1}."


def _inner(name: str, rest: str) -> str:
    """Return the name within a part: those of resnets and downsamplers differ, those of attention do not."""
    if "downsamplers" in name:
        return rest.replace("conv.", "op.")
    if "resnets" in name:
        for ours, theirs in _RESNET:
            if rest.startswith(ours):
                return theirs + rest.removeprefix(ours)
    return rest
