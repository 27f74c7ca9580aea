"""Rules for ComfyUI's core classes for pictures."""

import re
from typing import Any

from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.rules import Inner, Made, Passed, Result, Rule, Unmappable, Use, renamed, saved_name

BLENDS = {name: name for name in ("normal", "multiply", "screen", "overlay", "difference")}


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
        use.note("changed", f"'{bare}' lies in another folder of ComfyUI: put the image into the input folder")
        bare = bare.rpartition(" [")[0]
    return bare


def _save_image(use: Use) -> Result:
    return Made("SaveImage", 1, {**use.take(images="images"), "name": saved_name(use, "ComfyUI")}, ("images",))


def _save_for_socket(use: Use) -> Result:
    """Convert the class that sends pictures over a WebSocket: they are files here, which the server sends too."""
    return Made("SaveImage", 1, {**use.take(images="images"), "name": "previews/socket_{counter}"}, ("images",))


def _save_advanced(use: Use) -> Result:
    """Convert the class whose format selects its further widgets."""
    form, depth = use.value("format", str, "png"), use.value("format.bit_depth", str, "8-bit")
    ours = {("png", "8-bit"): "png", ("png", "16-bit"): "png 16 bits"}.get((form, depth))
    ours = ours or {"jpg": "jpeg", "jpeg": "jpeg", "webp": "webp", "avif": "avif"}.get(form)
    if ours is None or use.value("format.input_color_space", str, "sRGB") != "sRGB":
        raise Unmappable(f"images are not saved as '{form}' of {depth} in that colour space here")
    quality = use.take(quality="format.quality") if "format.quality" in use.node.inputs else {}
    name = saved_name(use, "ComfyUI")
    return Made("SaveImage", 1, {**use.take(images="images"), "name": name, "format": ours, **quality}, ("images",))


def _outpaint(use: Use) -> Result:
    inputs = use.take(image="image", left="left", top="top", right="right", bottom="bottom", feather="feathering")
    return Made("OutpaintPad", 1, {**inputs, "fill": "grey", "curve": "square"}, ("image", "mask"))


def _crop(use: Use) -> Result:
    use.note("changed", "a rectangle that reaches beyond the image is an error here")
    inputs = use.take(image="image", width="width", height="height", x="x", y="y")
    return Made("ImageCrop", 1, inputs, ("image",))


def _crop_region(use: Use) -> Result:
    """Convert a crop whose rectangle is one value: a table, or a node that makes one of four numbers."""
    use.ignore("x", "y", "width", "height")
    region = use.node.inputs.get("crop_region")
    if type(region) is dict:
        use.ignore("crop_region")
        box: dict[str, Any] = {name: region[name] for name in ("x", "y", "width", "height") if name in region}
    else:
        names = {name: name for name in ("x", "y", "width", "height")}
        box = use.source("crop_region", "PrimitiveBoundingBox").take(**names)
    use.note("changed", "a rectangle that reaches beyond the image is an error here")
    return Made("ImageCrop", 1, {**use.take(image="image"), **box}, ("image",))


def _stitch(use: Use) -> Result:
    side = {"right": "right", "down": "below", "left": "left", "up": "above"}.get(use.value("direction", str))
    colour = COLOURS.get(use.value("spacing_color", str, "white"))
    if side is None or colour is None:
        raise Unmappable("images are not stitched in that direction or colour here")
    if "image2" not in use.node.inputs:
        use.ignore("match_image_size", "spacing_width")
        return Passed((use.link("image1"),))
    inputs = use.take(image="image1", other="image2", match_size="match_image_size", gap="spacing_width")
    if use.value("match_image_size", bool, True) is False:
        use.note("approximated", "the border around the smaller image has the colour of the gap")
    return Made("ImageStitch", 1, {**inputs, "side": side, "colour": colour}, ("image",))


COLOURS = {"white": "#ffffff", "black": "#000000", "red": "#ff0000", "green": "#00ff00", "blue": "#0000ff"}


def join_all(prefix: str) -> Rule:
    """Return the rule for a class that joins pictures with numbered inputs to a batch."""

    def rule(use: Use) -> Result:
        links = {name: value for name, value in use.node.inputs.items() if type(value) is Link}
        numbered = [name for name in links if re.fullmatch(re.escape(prefix) + r"\d{1,4}", name)]
        found = [links[name] for name in sorted(numbered, key=lambda name: int(name[len(prefix) :]))]
        use.ignore(*numbered, "inputcount")
        if not found:
            raise Unmappable("nothing is connected to it")
        use.note("changed", "images of another size than the first are an error here")
        return Made("JoinImages", 1, {"images": found}, ("image",))

    return rule


def _join(use: Use) -> Result:
    use.note("changed", "images of another size than the first are an error here")
    return Made("JoinImages", 1, {"images": [use.link("image1"), use.link("image2")]}, ("image",))


def _composite(use: Use) -> Result:
    inputs = use.take(image="destination", over="source", x="x", y="y")
    mask = use.take(mask="mask") if "mask" in use.node.inputs else {}
    if not use.value("resize_source", bool, False):
        return Made("ImageComposite", 1, {**inputs, **mask}, ("image",))
    size = Made("ImageSize", 1, {"image": use.link("destination")})
    described = {name: Inner("size", name) for name in ("width", "height")}
    scaled = Made("ImageScale", 1, {"image": use.link("source"), **described, "method": "bilinear"})
    inner = {"size": size, "scaled": scaled}
    return Made("ImageComposite", 1, {**inputs, "over": Inner("scaled", "image"), **mask}, ("image",), inner)


def _blend(use: Use) -> Result:
    mode = use.value("blend_mode", str, "normal")
    if mode not in BLENDS:
        raise Unmappable(f"images are not blended by '{mode}' here")
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
    use.note("changed", "the images are shown one after the other")
    shown = {"images": use.link("image_a")}
    if "image_b" not in use.node.inputs:
        return Made("PreviewImage", 1, shown)
    return Made("PreviewImage", 1, shown, (), {"other": Made("PreviewImage", 1, {"images": use.link("image_b")})})


RULES: dict[str, Rule] = {
    "LoadImage": _load_image,
    "LoadImageMask": _load_mask,
    "SaveImage": _save_image,
    "SaveImageWebsocket": _save_for_socket,
    "SaveImageAdvanced": _save_advanced,
    "PreviewImage": renamed("PreviewImage", 1, "images", images="images"),
    "ImageCompare": _compare,
    "ImageInvert": renamed("InvertImage", 1, "image", image="image"),
    "ImageBlur": _blur,
    "ImageSharpen": _sharpen,
    "ImageBlend": _blend,
    "Canny": _canny,
    "ImageCrop": _crop,
    "ImageCropV2": _crop_region,
    "ImageStitch": _stitch,
    "ImageBatch": _join,
    "BatchImagesNode": join_all("images.image"),
    "ImageCompositeMasked": _composite,
    "RepeatImageBatch": renamed("RepeatImage", 1, "image", image="image", times="amount"),
    "ImageFromBatch": renamed("PickImages", 1, "image", images="image", first="batch_index", count="length"),
    "EmptyImage": _empty_image,
    "SplitImageWithAlpha": renamed("SplitAlpha", 1, "image mask", image="image"),
    "JoinImageWithAlpha": renamed("JoinAlpha", 1, "image", image="image", mask="alpha"),
    "ImagePadForOutpaint": _outpaint,
}  # fmt: skip
FOLDED = frozenset({"PrimitiveBoundingBox"})  # merged into the node that uses it
