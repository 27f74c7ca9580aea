"""Rules for classes of node packs that crop an image by a mask, repaint the part and paste it back."""

from typing import Any

from latentloom.plugins.comfyui.core_sampling import sampler_name
from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.rules import NOISE_RULE, Inner, Made, Result, Rule, Unmappable, Use

MASKED = ("MaskToSEGS",)  # the source of segments that need no detector
PIPES = ("ToBasicPipe",)
CROP = "InpaintCropImproved"
SIDES = (64, 2048)  # pixels
FIXED = (
    "guide_size_for", "noise_mask", "force_inpaint", "wildcard", "cycle", "inpaint_model", "noise_mask_feather",
    "tiled_encode", "tiled_decode", "mask_mode", "drop_size", "refiner_ratio", "batch_size", "bbox_fill",
    "contour_fill", "opt_drop_size",
)  # fmt: skip
"""Options of detailers that have no counterpart."""
EXTENDED = ("extend_up_factor", "extend_down_factor", "extend_left_factor", "extend_right_factor")
GIVEN, SOFT = 3, 4  # outputs of a crop that only the class that pastes it back uses: the whole image, the soft mask


def _rest(use: Use, *names: str) -> None:
    use.ignore(*names)
    given = [name for name in names if name in use.node.inputs]
    if given:
        use.note("approximated", f"options without effect here: {', '.join(given)}")


def _side(pixels: float) -> int:
    return int(min(max(pixels, SIDES[0]), SIDES[1])) // 8 * 8


def _detailed(use: Use, mask: Any, factor: float, sources: dict[str, Any]) -> Result:
    """Return the node for a detailer. `factor` is the size of the crop in sizes of the mask's box."""
    guide = use.number("guide_size", 512)
    side = _side(min(guide, use.number("max_size", 1024)))
    context = round(max(0.0, factor - 1) * side / 4)
    use.note("approximated", "all masked areas are one crop")
    use.note("approximated", f"the crop has {side} x {side} pixels, and a margin of {context} around the mask")
    if "clip" in use.node.inputs:
        use.ignore("clip")
    _rest(use, *FIXED)
    sampled = use.take(
        image="image", seed="seed", steps="steps", cfg="cfg", schedule="scheduler", denoise="denoise", feather="feather"
    )
    chosen = {"sampler": sampler_name(use, use.take(sampler="sampler_name").get("sampler")), "noise_rule": NOISE_RULE}
    sizes = {"width": side, "height": side, "context": min(context, 4096)}
    return Made("Detailer", 1, {**sampled, **sources, **chosen, **sizes, "mask": mask}, ("image",))


def _detailer(use: Use) -> Result:
    """Convert a detailer of segments, if these come from a mask."""
    masked = use.source("segs", *MASKED)
    masked.ignore("combined", "bbox_fill", "drop_size", "contour_fill")
    names = ("model", "vae", "positive", "negative")
    sources = {name: use.link(name) for name in names}
    return _detailed(use, masked.link("mask"), masked.number("crop_factor", 3.0), sources)


def _mask_detailer(use: Use) -> Result:
    pipe = use.source("basic_pipe", *PIPES)
    pipe.ignore("clip")
    sources = {name: pipe.link(name) for name in ("model", "vae", "positive", "negative")}
    return _detailed(use, use.link("mask"), use.number("crop_factor", 3.0), sources)


# Crop and stitch


def _crop(use: Use) -> Result:
    """Convert the crop, whose further outputs are what the class that pastes it back needs."""
    if any(use.number(name, 1.0) != 1 for name in EXTENDED) or use.value("preresize", bool, False):
        raise Unmappable("an image is not extended or resized before the crop here")
    if not use.value("output_resize_to_target_size", bool, True):
        raise Unmappable("a crop is always resized to a size here")
    if "mask" not in use.node.inputs or "optional_context_mask" in use.node.inputs:
        raise Unmappable("the crop is around one mask here")
    _rest(use, "downscale_algorithm", "upscale_algorithm", "preresize_mode", "preresize_min_width",
          "preresize_min_height", "preresize_max_width", "preresize_max_height", "mask_fill_holes",
          "mask_hipass_filter", "extend_for_outpainting", "output_padding", "device_mode")  # fmt: skip
    image, inner, mask = use.link("image"), dict[str, Made](), use.link("mask")
    if use.value("mask_invert", bool, False):
        inner["inverted"] = Made("InvertMask", 1, {"mask": mask})
    grown = {"mask": Inner("inverted", "mask") if inner else mask, "pixels": use.whole("mask_expand_pixels", 0)}
    inner["grown"] = Made("MaskGrow", 1, {**grown, "shape": "square"})
    soft = {"mask": Inner("grown", "mask"), "pixels": use.whole("mask_blend_pixels", 32), "where": "outside"}
    inner["soft"] = Made("MaskFeather", 1, soft)
    width, height = (_side(use.whole(f"output_target_{name}", 512)) for name in ("width", "height"))
    context = round(max(0.0, use.number("context_from_mask_extend_factor", 1.2) - 1) * width / 2)
    use.note("approximated", f"the margin around the mask is {context} pixels, and its edge a ramp")
    inputs = {"image": image, "mask": Inner("soft", "mask"), "width": width, "height": height, "context": context}
    outputs = ("region", "image", "mask", image, Inner("soft", "mask"))
    return Made("InpaintCrop", 1, inputs, outputs, inner)


def _stitch(use: Use) -> Result:
    crop = use.link("stitcher")
    if use.scene.graph[crop.node].type != CROP:
        raise Unmappable(f"'stitcher' does not come from {CROP}")
    parts = {"image": Link(crop.node, GIVEN), "mask": Link(crop.node, SOFT), "region": Link(crop.node, 0)}
    return Made("InpaintStitch", 1, {**parts, **use.take(part="inpainted_image")}, ("image",))


# Grids


def _grid(count: int, columns: int) -> Rule:
    """Return the rule for a class that puts a fixed number of images in a grid."""

    def rule(use: Use) -> Result:
        images = [use.link(f"image{n}") for n in range(1, count + 1)]
        return Made("ImageGrid", 1, {"images": images, "columns": columns, "gap": 0}, ("image",))

    return rule


def _grid_of_batch(use: Use) -> Result:
    _rest(use, "max_cell_size", "border_red", "border_green", "border_blue")
    gap = min(max(0, use.whole("border_width", 3)), 512)
    columns = max(0, use.whole("number_of_columns", 6))
    use.note("approximated", "cells have the size of the largest image")
    inputs = {"images": [use.link("images")], "columns": columns, "gap": gap, "background": 0.0}
    return Made("ImageGrid", 1, inputs, ("image",))


RULES: dict[str, Rule] = {
    "DetailerForEach": _detailer,
    "MaskDetailerPipe": _mask_detailer,
    CROP: _crop,
    "InpaintStitchImproved": _stitch,
    "ImageGridComposite2x2": _grid(4, 2),
    "ImageGridComposite3x3": _grid(9, 3),
    "Create Grid Image from Batch": _grid_of_batch,
}
FOLDED = frozenset({*MASKED, *PIPES})
