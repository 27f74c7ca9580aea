"""Finds the packed weights of a safetensors file by tensor names, types and notes.

Both layouts of ComfyUI are supported: `scaled_fp8` with `NAME.scale_weight`, and `NAME.weight_scale` with a JSON note,
which is the tensor `NAME.comfy_quant` or the metadata's `_quantization_metadata`. Weights of one byte per number
without any of these are supported too.
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
    ".scale_input",  # for activations, which are not quantized here
    ".input_scale",
    ".comfy_quant",
)
"""Suffixes of the tensors that belong to NAME.weight and are not weights."""
FORMATS = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int8_tensorwise": "I8"}
_ALWAYS = ("F8_E4M3", "F8_E5M2")  # packed even without a scale
TITLES = {"F8_E4M3": "fp8 e4m3fn", "F8_E5M2": "fp8 e5m2", "I8": "int8", "BF16": "bf16", "F16": "fp16", "F32": "fp32"}
_UNREAD = {  # name suffixes that occur only in files of this format
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
    """The packing format of one weight."""

    title: str  # for people
    dtype: str  # of its numbers, in safetensors' notation
    scale: str = ""  # name of the scale tensor
    rotated: int = 0  # columns that were rotated together


@dataclass(frozen=True, slots=True)
class Layout:
    """The packed weights of a file by name, and the names of their companion tensors."""

    packings: Mapping[str, Packing]
    beside: frozenset[str]


def find_layout(
    where: str,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    metadata: Mapping[str, str],
    read: Callable[[str], bytes],
) -> Layout:
    """Return the layout of a file with these tensors. `read` returns the bytes of a note.

    Raises FileError for an unsupported format; the error names the format and a layer.
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
    """Return the packing of a weight; None for a plain weight, and for integers without a scale (not a weight)."""
    kept = dtype if note is None else FORMATS[note["format"]]
    if dtype not in (kept, "U8"):  # older files store fp8 as plain bytes
        raise unread(where, f"{(note or {}).get('format')} in {dtype}", name)
    if kept not in TITLES or (kept not in _ALWAYS and not scale):
        return None
    rotated = int(note.get("convrot_groupsize", 256)) if note and note.get("convrot") else 0
    title = f"{TITLES[kept]}{' ConvRot' if rotated else ''}{' scaled' if scale and kept != 'I8' else ''}"
    return Packing(title, kept, scale, rotated)


def unread(where: str, format: str, name: str) -> FileError:
    """Return the error for weights in an unsupported format."""
    return FileError(
        f"{where} is packed as {format}, which Latentloom does not support",
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
    """Return the notes in the metadata, by layer."""
    try:
        found = json.loads(metadata.get("_quantization_metadata", "{}")).get("layers", {})
        return {str(name): note for name, note in found.items() if isinstance(note, dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def check_scale(where: str, name: str, packing: Packing, shape: tuple[int, ...], scale: tuple[int, ...]) -> None:
    """Raise FileError if a scale is neither one number nor one per row, or if a rotation does not fit the shape."""
    if prod(scale) != 1 and (scale[:1] != shape[:1] or prod(scale) != shape[0]):
        raise FileError(
            f"{where} has a scale of a different shape, '{packing.scale}'",
            expected=f"one number, or {shape[0]} for the rows of '{name}'",
            got=str(list(scale)),
        )
    group = packing.rotated
    power = group > 0 and group & (group - 1) == 0 and group.bit_length() % 2 == 1
    if group and not (power and len(shape) == 2 and shape[1] % group == 0):
        raise FileError(
            f"{where} has a rotated weight that cannot be rotated back, '{name}'",
            expected="groups of 4, 16, 64, 256, ... columns of a linear layer",
            got=f"{group} of {list(shape)}",
        )
