"""Nodes that combine conditionings and set their region, their range of steps and their strength."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Array, Cond, Conditioning, Mask, node
from latentloom.engine.errors import BadValueError

Share = Annotated[float, Field(ge=0, le=1, description="Fraction of the steps: 0 is the first step, 1 the end.")]
Strength = Annotated[float, Field(ge=0, le=10, description="Weight relative to other conditionings; 0 disables it.")]
Pixel = Annotated[
    int,
    Field(ge=0, le=16384, multiple_of=8, description="Distance from the upper left corner of the image, in pixels."),
]
Side = Annotated[int, Field(ge=8, le=16384, multiple_of=8, description="Size in pixels.")]
CropOther = Annotated[bool, Field(description="Evaluate the other conditioning (the negative) on the same rectangle.")]
ImageShare = Annotated[float, Field(ge=0, le=1, description="Fraction of the image's width or height.")]
SideOr0 = Annotated[int, Field(ge=0, le=16384, description="Size in pixels; 0 uses the size of the image.")]
MOST_TOKENS = 64 * 77
PER_TOKEN = {"prompt_mask": 1, "picture_slots": 0}  # arrays [1, T] of an entry, and what their absence means


@node(
    "ConditioningCombine",
    display_name="Combine prompts",
    aliases=("AND", "composable", "merge prompts"),
    category="conditioning",
)
def conditioning_combine(
    conditionings: Annotated[list[Conditioning], Field(description="Conditionings in any order.")],
) -> Conditioning:
    """Combine several conditionings in one image. Where they overlap, their predictions are averaged.

    With areas, masks and strengths, each applies to a part of the image; with times, to a part of the steps.
    """
    return Conditioning([entry for one in conditionings for entry in one.entries])


@node("ConditioningConcat", display_name="Join prompts", aliases=("concat", "BREAK", "append"), category="conditioning")
def conditioning_concat(to: Conditioning, extra: Conditioning) -> Conditioning:
    """Append a prompt to another one, like BREAK: the token embeddings of `extra` follow those of each entry of `to`.

    `extra` must have exactly one entry. The pooled output is that of `to`.
    """
    more = _only(extra, "extra")

    def joined(entry: Cond) -> Cond:
        embedding = _joined(entry.embedding.numpy(), more.embedding.numpy())
        marks = {name: _joined_marks(name, entry, more) for name in PER_TOKEN if name in {*entry.arrays, *more.arrays}}
        return replace(entry, embedding=embedding, arrays={**entry.arrays, **marks})

    return _changed(to, joined)


@node("ConditioningAverage", display_name="Average prompts", aliases=("blend prompts", "mix"), category="conditioning")
def conditioning_average(
    a: Conditioning,
    b: Conditioning,
    amount: Annotated[float, Field(ge=0, le=1, description="Interpolation weight: 0 is a alone, 1 is b alone.")] = 0.5,
) -> Conditioning:
    """Interpolate between two prompts, token by token: 0 is a, 1 is b. `b` must have exactly one entry.

    If the lengths differ, the shorter prompt is repeated, or padded with zeros for models that mask the padding. Areas,
    times and strengths are those of a. Prompts with images are not averaged.
    """
    other, share = _only(b, "b"), np.float32(amount)
    if any("picture_slots" in entry.arrays for entry in (*a.entries, other)):
        raise BadValueError("prompts with images cannot be averaged", expected="prompts of text", got="images")

    def mixed(entry: Cond) -> Cond:
        arrays = dict(entry.arrays)
        if masked := "prompt_mask" in {*arrays, *other.arrays}:
            arrays["prompt_mask"] = Array(
                np.maximum(*_padded(_marks("prompt_mask", entry), _marks("prompt_mask", other)))
            )
        same = _padded if masked else _same_length
        first, second = same(entry.embedding.numpy(), other.embedding.numpy())
        if "pooled" in arrays and "pooled" in other.arrays:
            pooled = arrays["pooled"].numpy(), other.arrays["pooled"].numpy()
            arrays["pooled"] = Array(pooled[0] + (pooled[1] - pooled[0]) * share)
        return replace(entry, embedding=Array(first + (second - first) * share), arrays=arrays)

    return _changed(a, mixed)


@node(
    "ConditioningZeroOut",
    display_name="Empty conditioning",
    aliases=("zero out", "null", "unconditional"),
    category="conditioning",
)
def conditioning_zero_out(conditioning: Conditioning) -> Conditioning:
    """Set the token embeddings and the pooled output to 0: a negative with no content, not even an empty prompt."""

    def zeroed(entry: Cond) -> Cond:
        arrays = dict(entry.arrays)
        if "pooled" in arrays:
            arrays["pooled"] = Array(np.zeros_like(arrays["pooled"].numpy()))
        return replace(entry, embedding=Array(np.zeros_like(entry.embedding.numpy())), arrays=arrays)

    return _changed(conditioning, zeroed)


@node(
    "ConditioningStrength",
    display_name="Prompt strength",
    aliases=("ConditioningSetAreaStrength", "weight"),
    category="conditioning",
)
def conditioning_strength(conditioning: Conditioning, strength: Strength = 1.0) -> Conditioning:
    """Set the weight of a conditioning relative to those that it is combined with. On its own it has no effect."""
    return _changed(conditioning, lambda entry: _stronger(entry, strength))


@node(
    "ConditioningArea",
    display_name="Prompt in an area",
    aliases=("ConditioningSetArea", "regional prompt", "region"),
    category="conditioning",
)
def conditioning_area(
    conditioning: Conditioning,
    width: Side = 256,
    height: Side = 256,
    x: Pixel = 0,
    y: Pixel = 0,
    strength: Strength = 1.0,
    crop_other: Annotated[CropOther, Advanced()] = False,
) -> Conditioning:
    """Restrict a conditioning to a rectangle of the image. The model is evaluated on this rectangle alone.

    Its weight fades over up to 64 pixels, at most a quarter of a side, at edges that are not edges of the image. Parts
    outside the image are cropped. With `crop_other`, positive and negative are compared for the same crop, as in
    ComfyUI.
    """
    area = {"x": x, "y": y, "width": width, "height": height, **({"crop_other": True} if crop_other else {})}
    return _changed(conditioning, lambda entry: _stronger(_with(entry, area=area), strength))


@node(
    "ConditioningAreaShare",
    display_name="Prompt in an area (shares)",
    aliases=("ConditioningSetAreaPercentage", "regional prompt", "percentage", "region"),
    category="conditioning",
)
def conditioning_area_share(
    conditioning: Conditioning,
    width: ImageShare = 1.0,
    height: ImageShare = 1.0,
    x: ImageShare = 0.0,
    y: ImageShare = 0.0,
    strength: Strength = 1.0,
    crop_other: Annotated[CropOther, Advanced()] = False,
) -> Conditioning:
    """Restrict a conditioning to a rectangle given as fractions of the image, for images of any size.

    The edges are rounded to cells of the latent. Everything else is as in ConditioningArea.
    """
    area = {"share": [x, y, width, height], **({"crop_other": True} if crop_other else {})}
    return _changed(conditioning, lambda entry: _stronger(_with(entry, area=area), strength))


@node(
    "ConditioningMask",
    display_name="Prompt in a mask",
    aliases=("ConditioningSetMask", "regional prompt", "region", "area"),
    category="conditioning",
)
def conditioning_mask(conditioning: Conditioning, mask: Mask, strength: Strength = 1.0) -> Conditioning:
    """Restrict a conditioning to a mask. The model is evaluated on the whole image; the mask is resized to fit.

    Several masks are multiplied.
    """

    def masked(entry: Cond) -> Cond:
        found = mask.numpy()
        if "mask" in entry.arrays:
            found = _both(entry.arrays["mask"].numpy(), found)
        return _stronger(replace(entry, arrays={**entry.arrays, "mask": Array(found)}), strength)

    return _changed(conditioning, masked)


@node(
    "ConditioningTimes",
    display_name="Prompt in a range of steps",
    aliases=("ConditioningSetTimestepRange", "timestep range", "schedule", "prompt editing"),
    category="conditioning",
)
def conditioning_times(conditioning: Conditioning, start: Share = 0.0, end: Share = 1.0) -> Conditioning:
    """Apply a conditioning only from `start` to `end`, as fractions of the steps.

    Changes within a prompt, such as [a:b:0.4], keep their times.
    """
    kept = [found for entry in conditioning.entries if (found := _timed(entry, start, end)) is not None]
    if not kept:
        raise BadValueError(
            "the conditioning is not active in that range of steps",
            expected="start before end",
            got=f"{start:g} to {end:g}",
        )
    return Conditioning(kept)


@node(
    "ConditioningSize",
    display_name="Size for SDXL",
    aliases=("micro conditioning", "crop", "aesthetic score", "original size"),
    category="conditioning",
)
def conditioning_size(
    conditioning: Conditioning,
    width: SideOr0 = 0,
    height: SideOr0 = 0,
    crop_x: Annotated[
        int, Field(ge=0, le=16384, description="Pixels cropped on the left, for the size conditioning.")
    ] = 0,
    crop_y: Annotated[
        int, Field(ge=0, le=16384, description="Pixels cropped at the top, for the size conditioning.")
    ] = 0,
    target_width: SideOr0 = 0,
    target_height: SideOr0 = 0,
    aesthetic: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="Aesthetic score for the refiner; 0 uses 6 for the positive and 2.5 for the negative.",
        ),
        Advanced(),
    ] = 0.0,
) -> Conditioning:
    """Set the size conditioning of SDXL: original size, crop position and target size.

    Without this node, both sizes are those of the image and the crop is 0. Other models ignore these values.
    """
    found: dict[str, Any] = {"crop": [crop_y, crop_x]}
    if aesthetic:
        found["aesthetic"] = aesthetic
    if width and height:
        found["size"] = [height, width]
    if target_width and target_height:
        found["target"] = [target_height, target_width]
    return _changed(conditioning, lambda entry: _with(entry, **found))


def _changed(conditioning: Conditioning, change: Any) -> Conditioning:
    return Conditioning([change(entry) for entry in conditioning.entries])


def _with(entry: Cond, **extra: Any) -> Cond:
    return replace(entry, extra={**entry.extra, **extra})


def _stronger(entry: Cond, strength: float) -> Cond:
    """Return an entry with its strength multiplied."""
    if strength == 1:
        return entry
    return _with(entry, strength=_number(entry.extra, "strength", 1.0) * strength)


def _timed(entry: Cond, start: float, end: float) -> Cond | None:
    """Limit an entry to a range of steps; None if nothing remains."""
    first, last = max(start, _number(entry.extra, "start", 0.0)), min(end, _number(entry.extra, "end", 1.0))
    return _with(entry, start=first, end=last) if first < last else None


def _number(extra: Mapping[str, Any], name: str, default: float) -> float:
    return float(extra.get(name, default))


def _only(conditioning: Conditioning, name: str) -> Cond:
    if len(conditioning.entries) != 1:
        raise BadValueError(
            f"'{name}' has several entries",
            expected="one, which does not change with the steps",
            got=str(len(conditioning.entries)),
        )
    return conditioning.entries[0]


def _check_widths(a: Any, b: Any) -> None:
    if a.shape[2] != b.shape[2]:
        raise BadValueError(
            "the conditionings come from different model families",
            expected=f"vectors of {a.shape[2]} numbers",
            got=str(b.shape[2]),
        )


def _joined(a: Any, b: Any) -> Array:
    _check_widths(a, b)
    if a.shape[1] + b.shape[1] > MOST_TOKENS:
        raise BadValueError(
            "the conditioning would be too long",
            expected=f"at most {MOST_TOKENS} tokens",
            got=str(a.shape[1] + b.shape[1]),
        )
    return Array(np.concatenate([a, b], axis=1))


def _marks(name: str, entry: Cond) -> Any:
    """Return an array [1, T] of an entry with a number per token."""
    if name in entry.arrays:
        return entry.arrays[name].numpy()
    return np.full(entry.embedding.numpy().shape[:2], PER_TOKEN[name])


def _joined_marks(name: str, a: Cond, b: Cond) -> Array:
    kind = next(entry.arrays[name].numpy().dtype for entry in (a, b) if name in entry.arrays)
    return Array(np.concatenate([_marks(name, a), _marks(name, b)], axis=1).astype(kind))


def _padded(a: Any, b: Any) -> tuple[Any, Any]:
    """Pad arrays [1, T] or [1, T, D] with zeros to a common length."""
    if a.ndim == 3:
        _check_widths(a, b)
    length = max(a.shape[1], b.shape[1])
    first, second = (np.pad(one, [(0, 0), (0, length - one.shape[1])] + [(0, 0)] * (one.ndim - 2)) for one in (a, b))
    return first, second


def _same_length(a: Any, b: Any) -> tuple[Any, Any]:
    """Repeat embeddings [1, T, D] to a common length."""
    _check_widths(a, b)
    length = math.lcm(a.shape[1], b.shape[1])
    if length > MOST_TOKENS:
        raise BadValueError(
            "the lengths of the conditionings do not fit together",
            expected=f"{a.shape[1]} tokens",
            got=str(b.shape[1]),
        )
    first, second = (np.tile(one, (1, length // one.shape[1], 1)) for one in (a, b))
    return first, second


def _both(a: Any, b: Any) -> Any:
    if a.shape[1:] != b.shape[1:] or (a.shape[0] != b.shape[0] and 1 not in (a.shape[0], b.shape[0])):
        raise BadValueError("the masks have different sizes", expected=str(list(a.shape)), got=str(list(b.shape)))
    return a * b


NODES = (
    conditioning_combine,
    conditioning_concat,
    conditioning_average,
    conditioning_zero_out,
    conditioning_strength,
    conditioning_area,
    conditioning_area_share,
    conditioning_mask,
    conditioning_times,
    conditioning_size,
)
