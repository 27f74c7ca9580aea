"""Rules for ComfyUI's core classes for the sizes of pictures."""

from latentloom.plugins.comfyui.rules import Made, Result, Rule, Unmappable, Use, renamed

RESIZE = {name: name for name in ("lanczos", "bicubic", "bilinear", "area")} | {"nearest-exact": "nearest"}


def scale_method(use: Use, *unknown: str) -> str:
    """Return our name of a filter. Raises Unmappable for one that does not exist here, or is in `unknown`."""
    method = use.value("upscale_method", str)
    if method not in RESIZE or method in unknown:
        raise Unmappable(f"the method '{method}' does not exist here")
    return RESIZE[method]


def _resize(use: Use) -> str:
    method = scale_method(use)
    if method in ("bilinear", "bicubic"):
        use.note("approximated", f"{method} averages when it shrinks an image, which it does not in ComfyUI")
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
    if rule == "scale to multiple":
        use.note("approximated", "the image is stretched to the multiple, and not cropped")
        inputs |= {"factor": 1.0, "multiple_of": max(1, use.whole("resize_type.multiple", 8))}
        return Made("ImageScale", 1, inputs, ("image",))
    for name, type, ours in _RULES_OF_SIZE:
        if name == rule:
            more = {"which": name.split()[1]} if type == "ImageScaleToSide" else {}
            theirs = _WIDGETS_OF_SIZE[name]
            return Made(type, 1, {**inputs, **use.take(**{ours: f"resize_type.{theirs}"}), **more}, ("image",))
    raise Unmappable(f"images are not resized by '{rule}' here")


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


RULES: dict[str, Rule] = {
    "ImageScale": _image_scale,
    "ImageScaleBy": _image_scale_by,
    "ImageScaleToTotalPixels": _image_scale_to_pixels,
    "ImageScaleToMaxDimension": _image_scale_to_side,
    "ResizeImageMaskNode": _resize_any,
    "GetImageSize": renamed("ImageSize", 1, "width height count", image="image"),
    "ImageUpscaleWithModel": _upscale_with_model,
}  # fmt: skip
FOLDED = frozenset({"UpscaleModelLoader"})  # merged into the node that uses them
