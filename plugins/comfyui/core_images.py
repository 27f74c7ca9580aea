"""Rules for ComfyUI's core classes for pictures, masks and latents."""

from typing import Any

from latentloom.plugins.comfyui.rules import Inner, Made, Named, Result, Rule, Unmappable, Use, renamed, saved_name

RESIZE = {name: name for name in ("lanczos", "bicubic", "bilinear", "area")} | {"nearest-exact": "nearest"}
COMBINED = {
    "multiply": "intersection", "and": "intersection", "add": "union", "or": "union", "subtract": "difference",
    "xor": "exclusive",
}  # fmt: skip
BLENDS = {"normal": "normal", "multiply": "multiply", "screen": "screen", "overlay": "overlay"}


# Latents


def _save_latent(use: Use) -> Result:
    use.ignore("filename_prefix")
    use.note("changed", "the latent is an output of the workflow, not a file")
    return Named("latent", use.link("samples"))


def _method(use: Use, *unknown: str) -> str:
    method = use.value("upscale_method", str)
    if method not in RESIZE or method in unknown:
        raise Unmappable(f"the method '{method}' does not exist here")
    return RESIZE[method]


def _latent_upscale(use: Use) -> Result:
    method = _method(use, "lanczos")
    if use.value("crop", str, "disabled") != "disabled":
        raise Unmappable("LatentUpscale does not crop here")
    inputs = use.take(latent="samples", width="width", height="height")
    return Made("LatentUpscale", 1, {**inputs, "method": method}, ("latent",))


def _latent_upscale_by(use: Use) -> Result:
    inputs = {**use.take(latent="samples", factor="scale_by"), "width": 0, "height": 0}
    return Made("LatentUpscale", 1, {**inputs, "method": _method(use, "lanczos")}, ("latent",))


def _latent_blend(use: Use) -> Result:
    use.ignore("blend_mode")
    amount = 1 - use.number("blend_factor")
    return Made("LatentBlend", 1, {**use.take(a="samples1", b="samples2"), "amount": amount}, ("latent",))


def _latent_interpolate(use: Use) -> Result:
    use.note("approximated", "lengths of the vectors are mixed with their directions")
    amount = 1 - use.number("ratio")
    return Made("LatentBlend", 1, {**use.take(a="samples1", b="samples2"), "amount": amount}, ("latent",))


def _latent_composite(use: Use) -> Result:
    inputs = use.take(latent="samples_to", over="samples_from", x="x", y="y", feather="feather")
    return Made("LatentComposite", 1, inputs, ("latent",))


def _latent_composite_masked(use: Use) -> Result:
    if use.value("resize_source", bool, False):
        raise Unmappable("the source of LatentCompositeMasked is not resized here")
    inputs = use.take(latent="destination", over="source", x="x", y="y")
    if "mask" in use.node.inputs:
        inputs |= use.take(mask="mask")
        use.note("approximated", "where the mask is made smaller, it is averaged here")
    return Made("LatentComposite", 1, inputs, ("latent",))


def _inpaint_encode(use: Use) -> Result:
    inputs = use.take(vae="vae", image="pixels", mask="mask", grow="grow_mask_by")
    return Made("InpaintEncode", 1, {**inputs, "resize": "bilinear"}, ("latent",))


def _tiled(type: str, output: str, **names: str) -> Rule:
    def rule(use: Use) -> Result:
        use.ignore("temporal_size", "temporal_overlap")
        inputs = use.take(**names, tile="tile_size")
        overlap = use.take(overlap="overlap") if "overlap" in use.node.inputs else {}
        return Made(type, 1, {**inputs, **overlap}, (output,))

    return rule


# Pictures


def _load_image(use: Use) -> Result:
    use.ignore("upload", "choose file to upload")
    return Made("LoadImage", 1, {"image": _picture(use), "alpha": "drop"}, ("image", "mask"))


def _load_mask(use: Use) -> Result:
    use.ignore("upload", "choose file to upload")
    return Made("LoadMask", 1, {"image": _picture(use), **use.take(channel="channel")}, ("mask",))


def _picture(use: Use) -> str:
    name = use.file("image")
    bare = name.removesuffix(" [input]")
    if bare.endswith(("[output]", "[temp]")):
        use.note("changed", f"'{bare}' lies in another folder of ComfyUI: put the picture into the input folder")
        bare = bare.rpartition(" [")[0]
    return bare


def _save_image(use: Use) -> Result:
    return Made("SaveImage", 1, {**use.take(images="images"), "name": saved_name(use, "ComfyUI")}, ("images",))


def _resize(use: Use) -> str:
    method = _method(use)
    if method in ("bilinear", "bicubic"):
        use.note("approximated", f"{method} averages when it shrinks a picture, which it does not in ComfyUI")
    return method


def _image_scale(use: Use) -> Result:
    fit = "fill" if use.value("crop", str, "disabled") == "center" else "stretch"
    inputs = use.take(image="image", width="width", height="height")
    return Made("ImageScale", 1, {**inputs, "method": _resize(use), "fit": fit}, ("image",))


def _image_scale_by(use: Use) -> Result:
    inputs = use.take(image="image", factor="scale_by")
    return Made("ImageScale", 1, {**inputs, "method": _resize(use)}, ("image",))


def _image_scale_to_pixels(use: Use) -> Result:
    inputs = use.take(image="image", megapixels="megapixels")
    multiple = {"multiple_of": use.whole("resolution_steps", 1)}
    return Made("ImageScaleToMegapixels", 1, {**inputs, **multiple, "method": _resize(use)}, ("image",))


def _image_scale_to_side(use: Use) -> Result:
    inputs = use.take(image="image", side="largest_size")
    return Made("ImageScaleToSide", 1, {**inputs, "which": "longer", "method": _resize(use)}, ("image",))


def _resize_any(use: Use) -> Result:
    """Convert a class whose option selects the rule and its widgets."""
    rule = use.value("resize_type", str)
    method = use.value("scale_method", str, "area")
    if method not in RESIZE:
        raise Unmappable(f"the method '{method}' does not exist here")
    inputs = {**use.take(image="input"), "method": RESIZE[method]}
    if rule == "scale dimensions":
        fit = "fill" if use.value("resize_type.crop", str, "disabled") == "center" else "stretch"
        sizes = {**use.take(width="resize_type.width", height="resize_type.height"), "fit": fit}
        return Made("ImageScale", 1, {**inputs, **sizes}, ("image",))
    for name, type, ours in _RULES_OF_SIZE:
        if name == rule:
            more = {"which": name.split()[1]} if type == "ImageScaleToSide" else {}
            theirs = _WIDGETS_OF_SIZE[name]
            return Made(type, 1, {**inputs, **use.take(**{ours: f"resize_type.{theirs}"}), **more}, ("image",))
    raise Unmappable(f"pictures are not resized by '{rule}' here")


_RULES_OF_SIZE = (
    ("scale by multiplier", "ImageScale", "factor"),
    ("scale longer dimension", "ImageScaleToSide", "side"),
    ("scale shorter dimension", "ImageScaleToSide", "side"),
    ("scale width", "ImageScale", "width"),
    ("scale height", "ImageScale", "height"),
    ("scale total pixels", "ImageScaleToMegapixels", "megapixels"),
)
_WIDGETS_OF_SIZE = {
    "scale by multiplier": "multiplier", "scale longer dimension": "longer_size",
    "scale shorter dimension": "shorter_size", "scale width": "width", "scale height": "height",
    "scale total pixels": "megapixels",
}  # fmt: skip


def _upscale_with_model(use: Use) -> Result:
    loader = use.source("upscale_model", "UpscaleModelLoader")
    return Made("UpscaleWithModel", 1, {**use.take(image="image"), "upscaler": loader.file("model_name")}, ("image",))


def _outpaint(use: Use) -> Result:
    use.note("approximated", "the mask's soft edge has another curve")
    inputs = use.take(image="image", left="left", top="top", right="right", bottom="bottom", feather="feathering")
    return Made("OutpaintPad", 1, {**inputs, "fill": "grey"}, ("image", "mask"))


def _crop(use: Use) -> Result:
    use.note("changed", "a rectangle that reaches beyond the picture is an error here")
    inputs = use.take(image="image", width="width", height="height", x="x", y="y")
    return Made("ImageCrop", 1, inputs, ("image",))


def _join(use: Use) -> Result:
    use.note("changed", "pictures of another size than the first are an error here")
    return Made("JoinImages", 1, {"images": [use.link("image1"), use.link("image2")]}, ("image",))


def _composite(use: Use) -> Result:
    inputs = use.take(image="destination", over="source", x="x", y="y")
    mask = use.take(mask="mask") if "mask" in use.node.inputs else {}
    if not use.value("resize_source", bool, False):
        return Made("ImageComposite", 1, {**inputs, **mask}, ("image",))
    size = Made("ImageSize", 1, {"image": inputs["image"]})
    told = {name: Inner("size", name) for name in ("width", "height")}
    scaled = Made("ImageScale", 1, {"image": inputs.pop("over"), **told, "method": "bilinear"})
    inner = {"size": size, "scaled": scaled}
    return Made("ImageComposite", 1, {**inputs, "over": Inner("scaled", "image"), **mask}, ("image",), inner)


def _blend(use: Use) -> Result:
    mode = use.value("blend_mode", str, "normal")
    if mode not in BLENDS:
        raise Unmappable(f"pictures are not blended by '{mode}' here")
    inputs = use.take(a="image1", b="image2", amount="blend_factor")
    return Made("ImageBlend", 1, {**inputs, "mode": BLENDS[mode]}, ("image",))


def _blur(use: Use) -> Result:
    radius = use.whole("blur_radius")
    sigma = radius * use.number("sigma")  # ComfyUI's radius is 1
    return Made("BlurImage", 1, {**use.take(image="image"), "sigma": sigma, "radius": radius}, ("image",))


def _sharpen(use: Use) -> Result:
    radius = use.whole("sharpen_radius")
    sigma, amount = radius * use.number("sigma"), 10 * use.number("alpha")
    inputs = {**use.take(image="image"), "sigma": sigma, "radius": radius, "amount": amount}
    return Made("SharpenImage", 1, inputs, ("image",))


def _canny(use: Use) -> Result:
    use.note("approximated", "the thresholds of Canny have another scale, and its edges another width")
    return Made("CannyEdges", 1, use.take(image="image", low="low_threshold", high="high_threshold"), ("image",))


def _empty_image(use: Use) -> Result:
    colour = f"#{use.value('color', int, 0) & 0xFFFFFF:06x}"
    inputs = use.take(width="width", height="height", count="batch_size")
    return Made("ColourImage", 1, {**inputs, "colour": colour}, ("image",))


def _compare(use: Use) -> Result:
    use.note("changed", "the pictures are shown one after the other")
    shown = {"images": use.link("image_a")}
    if "image_b" not in use.node.inputs:
        return Made("PreviewImage", 1, shown)
    return Made("PreviewImage", 1, shown, (), {"other": Made("PreviewImage", 1, {"images": use.link("image_b")})})


# Masks


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
    if how not in COMBINED or use.value("x", int) or use.value("y", int):
        raise Unmappable("masks are combined at the same place here")
    use.note("approximated", "soft masks combine by other rules, and masks of two sizes are an error here")
    return Made("MaskCombine", 1, {**use.take(a="destination", b="source"), "how": COMBINED[how]}, ("mask",))


def _colour_mask(use: Use) -> Result:
    colour = f"#{use.value('color', int, 0) & 0xFFFFFF:06x}"
    return Made("MaskFromColour", 1, {**use.take(image="image"), "colour": colour}, ("mask",))


def _size(**names: str) -> dict[str, Any]:
    return {"width": "width", "height": "height", **names}


RULES: dict[str, Rule] = {
    "EmptyLatentImage": renamed("EmptyLatent", 1, "latent", **_size(batch="batch_size")),
    "EmptySD3LatentImage": renamed("EmptyLatent", 1, "latent", **_size(batch="batch_size")),
    "LatentUpscale": _latent_upscale,
    "LatentUpscaleBy": _latent_upscale_by,
    "LatentBlend": _latent_blend,
    "LatentInterpolate": _latent_interpolate,
    "LatentComposite": _latent_composite,
    "LatentCompositeMasked": _latent_composite_masked,
    "LatentCrop": renamed("LatentCrop", 1, "latent", **_size(latent="samples", x="x", y="y")),
    "RepeatLatentBatch": renamed("RepeatLatent", 1, "latent", latent="samples", times="amount"),
    "LatentFromBatch": renamed("PickLatents", 1, "latent", latents="samples", first="batch_index", count="length"),
    "SetLatentNoiseMask": renamed(
        "SetLatentMask", 1, "latent", {"resize": "bilinear"}, latent="samples", mask="mask"
    ),
    "VAEDecode": renamed("VAEDecode", 1, "image", vae="vae", latent="samples"),
    "VAEEncode": renamed("VAEEncode", 1, "latent", vae="vae", image="pixels"),
    "VAEDecodeTiled": _tiled("VAEDecodeTiled", "image", vae="vae", latent="samples"),
    "VAEEncodeTiled": _tiled("VAEEncodeTiled", "latent", vae="vae", image="pixels"),
    "VAEEncodeForInpaint": _inpaint_encode,
    "LoadImage": _load_image,
    "LoadImageMask": _load_mask,
    "SaveImage": _save_image,
    "SaveLatent": _save_latent,
    "PreviewImage": renamed("PreviewImage", 1, "images", images="images"),
    "MaskPreview": renamed("PreviewMask", 1, "mask", mask="mask"),
    "ImageCompare": _compare,
    "ImageScale": _image_scale,
    "ImageScaleBy": _image_scale_by,
    "ImageScaleToTotalPixels": _image_scale_to_pixels,
    "ImageScaleToMaxDimension": _image_scale_to_side,
    "ResizeImageMaskNode": _resize_any,
    "GetImageSize": renamed("ImageSize", 1, "width height count", image="image"),
    "ImageUpscaleWithModel": _upscale_with_model,
    "ImageInvert": renamed("InvertImage", 1, "image", image="image"),
    "ImageBlur": _blur,
    "ImageSharpen": _sharpen,
    "ImageBlend": _blend,
    "Canny": _canny,
    "ImageCrop": _crop,
    "ImageBatch": _join,
    "ImageCompositeMasked": _composite,
    "RepeatImageBatch": renamed("RepeatImage", 1, "image", image="image", times="amount"),
    "ImageFromBatch": renamed("PickImages", 1, "image", images="image", first="batch_index", count="length"),
    "EmptyImage": _empty_image,
    "SplitImageWithAlpha": renamed("SplitAlpha", 1, "image mask", image="image"),
    "JoinImageWithAlpha": renamed("JoinAlpha", 1, "image", image="image", mask="alpha"),
    "ImagePadForOutpaint": _outpaint,
    "InvertMask": renamed("InvertMask", 1, "mask", mask="mask"),
    "MaskToImage": renamed("MaskToImage", 1, "image", mask="mask"),
    "ImageToMask": _image_to_mask,
    "ImageColorToMask": _colour_mask,
    "SolidMask": renamed("SolidMask", 1, "mask", **_size(value="value")),
    "CropMask": renamed("MaskCrop", 1, "mask", **_size(mask="mask", x="x", y="y")),
    "ThresholdMask": renamed("MaskThreshold", 1, "mask", mask="mask", threshold="value"),
    "GrowMask": _grow_mask,
    "FeatherMask": renamed(
        "MaskFadeBorders", 1, "mask", mask="mask", left="left", top="top", right="right", bottom="bottom"
    ),
    "MaskComposite": _combine_masks,
}  # fmt: skip
FOLDED = frozenset({"UpscaleModelLoader"})  # merged into the node that uses them
