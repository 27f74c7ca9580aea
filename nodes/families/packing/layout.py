"""How a safetensors file says that its weights are packed: names, types and notes beside them.

ComfyUI's two ways are read: `scaled_fp8` with `NAME.scale_weight`, and `NAME.weight_scale` with a note in JSON, which
is the tensor `NAME.comfy_quant` or the metadata's `_quantization_metadata`. So is a weight of one byte per number
without any of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from latentloom.engine.errors import FileError

BESIDE = (
    ".scale_weight",
    ".weight_scale",
    ".scale_input",  # of activations, which stay in the computing type here
    ".input_scale",
    ".comfy_quant",
)
"""What belongs to the weight NAME.weight and is no weight itself."""
FORMATS = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int8_tensorwise": "I8"}
_ALWAYS = ("F8_E4M3", "F8_E5M2")  # packed without a scale too
TITLES = {"F8_E4M3": "fp8 e4m3fn", "F8_E5M2": "fp8 e5m2", "I8": "int8", "BF16": "bf16", "F16": "fp16", "F32": "fp32"}
_UNREAD = {  # the end of a name that only files of this format have
    ".weight.quant_state.bitsandbytes__nf4": "NF4 (bitsandbytes)",
    ".weight.quant_state.bitsandbytes__fp4": "FP4 (bitsandbytes)",
    ".SCB": "int8 of bitsandbytes",
    ".weight_scale_2": "nvfp4",
    ".wscales": "SVDQuant (nunchaku)",
    ".qweight": "SVDQuant, AWQ or GPTQ",
}
_UNREAD_ENDS = tuple(_UNREAD)
READ = "bf16, fp16, fp32, fp8, int8 with scales, or GGUF"


@dataclass(frozen=True, slots=True)
class Packing:
    """How one weight is packed."""

    title: str  # for people
    dtype: str  # of its numbers, as safetensors calls it
    scale: str = ""  # the tensor of its scale
    rotated: int = 0  # columns that were rotated together


@dataclass(frozen=True, slots=True)
class Layout:
    """The packed weights of a file by name, and the tensors that stand beside them."""

    packings: Mapping[str, Packing]
    beside: frozenset[str]


def find_layout(
    where: str,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    metadata: Mapping[str, str],
    read: Callable[[str], bytes],
) -> Layout:
    """The layout of a file with such tensors. `read` gives the bytes of a note.

    Raises FileError for a format that is not read; it names the format and a layer.
    """
    standing = {name for name in shapes if name.endswith(BESIDE)}
    said = _said_in(metadata)
    beside = {name for name in shapes if name.endswith("scaled_fp8")}
    packings = {}
    for name, shape in shapes.items():
        if name.endswith(_UNREAD_ENDS):
            raise unread(where, next(title for end, title in _UNREAD.items() if name.endswith(end)), name)
        if not (standing or said or dtypes[name] in _ALWAYS) or len(shape) < 2 or not name.endswith(".weight"):
            continue
        base = name.removesuffix(".weight")
        own = {end: base + end for end in BESIDE if base + end in standing}
        beside.update(own.values())
        note = _note(where, base, read(own[".comfy_quant"])) if ".comfy_quant" in own else said.get(base)
        if note is not None and note.get("format") not in FORMATS:
            raise unread(where, str(note.get("format")), name)
        scale = own.get(".weight_scale") or own.get(".scale_weight", "")
        packing = _packing(where, name, dtypes[name], note, scale)
        if packing is not None:
            packings[name] = packing
    return Layout(packings, frozenset(beside))


def _packing(where: str, name: str, dtype: str, note: Mapping[str, Any] | None, scale: str) -> Packing | None:
    """How a weight is packed; None for a plain one, and for whole numbers without a scale, which are no weight."""
    kept = dtype if note is None else FORMATS[note["format"]]
    if dtype not in (kept, "U8"):  # fp8 was kept as plain bytes once
        raise unread(where, f"{(note or {}).get('format')} in {dtype}", name)
    if kept not in TITLES or (kept not in _ALWAYS and not scale):
        return None
    rotated = int(note.get("convrot_groupsize", 256)) if note and note.get("convrot") else 0
    title = f"{TITLES[kept]}{' ConvRot' if rotated else ''}{' scaled' if scale and kept != 'I8' else ''}"
    return Packing(title, kept, scale, rotated)


def unread(where: str, format: str, name: str) -> FileError:
    """What a person is told of weights in a format that is not read."""
    return FileError(
        f"{where} is packed as {format}, which Latentloom does not read",
        expected=READ,
        got=f"'{name}' in that format",
    )


def _note(where: str, base: str, text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FileError(f"{where} has a note on a packed weight that cannot be read", got=f"'{base}.comfy_quant'")
    return found


def _said_in(metadata: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
    """Notes by layer, from the metadata."""
    try:
        found = json.loads(metadata.get("_quantization_metadata", "{}")).get("layers", {})
        return {str(name): note for name, note in found.items() if isinstance(note, dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def check_scale(where: str, name: str, packing: Packing, shape: tuple[int, ...], scale: tuple[int, ...]) -> None:
    """Raise FileError for a scale that is neither one number nor one for each row, or a rotation that does not fit."""
    if prod(scale) != 1 and (scale[:1] != shape[:1] or prod(scale) != shape[0]):
        raise FileError(
            f"{where} has a scale of another shape, '{packing.scale}'",
            expected=f"one number, or {shape[0]} for the rows of '{name}'",
            got=str(list(scale)),
        )
    group = packing.rotated
    power = group > 0 and group & (group - 1) == 0 and group.bit_length() % 2 == 1
    if group and not (power and len(shape) == 2 and shape[1] % group == 0):
        raise FileError(
            f"{where} has a rotated weight that cannot be turned back, '{name}'",
            expected="groups of 4, 16, 64, 256, ... columns of a linear layer",
            got=f"{group} of {list(shape)}",
        )
