"""Rules for ComfyUI's core classes for masks."""

from latentloom.plugins.comfyui.rules import Inner, Made, Result, Rule, Unmappable, Use, renamed, sized

COMBINED = {
    "multiply": "product", "and": "intersection", "add": "sum", "or": "union", "subtract": "rest", "xor": "exclusive",
}  # fmt: skip


def _image_to_mask(use: Use) -> Result:
    channel = use.value("channel", str)
    if channel != "alpha":
        return Made("ImageToMask", 1, {**use.take(image="image"), "channel": channel}, ("mask",))
    alpha = Made("MaskFromAlpha", 1, use.take(image="image"))
    return Made("InvertMask", 1, {"mask": Inner("alpha", "mask")}, ("mask",), {"alpha": alpha})


def _grow_mask(use: Use) -> Result:
    shape = "diamond" if use.value("tapered_corners", bool, True) else "square"
    return Made("MaskGrow", 1, {**use.take(mask="mask", pixels="expand"), "shape": shape}, ("mask",))


def _combine_masks(use: Use) -> Result:
    how = use.value("operation", str)
    if how not in COMBINED:
        raise Unmappable(f"masks are not combined by '{how}' here")
    inputs = {**use.take(a="destination", b="source", x="x", y="y"), "how": COMBINED[how]}
    if how in ("multiply", "add", "subtract"):
        return Made("MaskCombine", 1, inputs, ("mask",))
    use.note("approximated", "around the second mask, the first one is hard too")
    hard = {f"hard-{name}": Made("MaskThreshold", 1, {"mask": inputs.get(name), "threshold": 0.5}) for name in "ab"}
    return Made("MaskCombine", 1, {**inputs, **{n: Inner(f"hard-{n}", "mask") for n in "ab"}}, ("mask",), hard)


def _colour_mask(use: Use) -> Result:
    colour = f"#{use.value('color', int, 0) & 0xFFFFFF:06x}"
    return Made("MaskFromColour", 1, {**use.take(image="image"), "colour": colour}, ("mask",))


RULES: dict[str, Rule] = {
    "InvertMask": renamed("InvertMask", 1, "mask", mask="mask"),
    "MaskToImage": renamed("MaskToImage", 1, "image", mask="mask"),
    "ImageToMask": _image_to_mask,
    "ImageColorToMask": _colour_mask,
    "SolidMask": renamed("SolidMask", 1, "mask", **sized(value="value")),
    "CropMask": renamed("MaskCrop", 1, "mask", **sized(mask="mask", x="x", y="y")),
    "ThresholdMask": renamed("MaskThreshold", 1, "mask", mask="mask", threshold="value"),
    "GrowMask": _grow_mask,
    "FeatherMask": renamed(
        "MaskFadeBorders", 1, "mask", mask="mask", left="left", top="top", right="right", bottom="bottom"
    ),
    "MaskComposite": _combine_masks,
    "MaskPreview": renamed("PreviewMask", 1, "mask", mask="mask"),
}  # fmt: skip
