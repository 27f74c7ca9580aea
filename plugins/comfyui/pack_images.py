"""Rules for classes of node packs that work on pictures and masks."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from latentloom.engine.errors import brief
from latentloom.plugins.comfyui.core_images import join_all
from latentloom.plugins.comfyui.core_sizes import RESIZE
from latentloom.plugins.comfyui.rules import Inner, Made, Result, Rule, Unmappable, Use, renamed

FITS = {
    "stretch": "stretch", "keep proportion": "fit", "fill / crop": "fill", "pad": "pad",
    True: "fit", False: "stretch", "resize": "fit", "crop": "fill", "pad_edge": "pad",
}  # fmt: skip
FILTERS = {**RESIZE, "nearest": "nearest"}


def _resized(use: Use, method: str, fit: str, multiple: str) -> dict[str, Any]:
    """Return the inputs of a class that resizes by a rule for pictures of another shape."""
    how, shape = use.value(method, str), use.value(fit, (str, bool), "stretch")
    if how not in FILTERS or shape not in FITS:
        raise Unmappable(f"images are not resized by '{how}' and '{shape}' here")
    inputs = use.take(image="image", width="width", height="height")
    return {**inputs, "method": FILTERS[how], "fit": FITS[shape], "multiple_of": max(1, use.whole(multiple, 1))}


def _resize_essentials(use: Use) -> Result:
    if use.value("condition", str, "always") != "always":
        raise Unmappable("images are always resized here")
    return _with_size(use, _resized(use, "interpolation", "method", "multiple_of"))


def _resize_kj(use: Use) -> Result:
    use.ignore("pad_color", "device", "crop_position")
    if use.value("crop_position", str, "center") != "center":
        use.note("changed", "both sides are cropped equally")
    return _with_size(use, _resized(use, "upscale_method", "keep_proportion", "divisible_by"))


def _with_size(use: Use, inputs: dict[str, Any]) -> Result:
    """Return the resizing of a picture, with its width, height and mask as the further outputs."""
    if not (use.uses(1) or use.uses(2) or use.uses(3)):
        return Made("ImageScale", 1, inputs, ("image",))
    scaled = {"scaled": Made("ImageScale", 1, inputs)}
    outputs = (Inner("scaled", "image"), "width", "height", Inner("scaled", "mask"))
    return Made("ImageSize", 1, {"image": Inner("scaled", "image")}, outputs, scaled)


def _size_and_image(use: Use) -> Result:
    """Convert a class that gives a picture and its size."""
    image = use.link("image")
    return Made("ImageSize", 1, {"image": image}, (image, "width", "height", "count"))


def _stitch_all(use: Use) -> Result:
    """Convert a class that puts numbered pictures edge to edge."""
    side = {"right": "right", "down": "below", "left": "left", "up": "above"}.get(use.value("direction", str))
    names = sorted((n for n in use.node.inputs if re.fullmatch(r"image_\d{1,3}", n)), key=lambda n: int(n[6:]))
    use.ignore("inputcount", *names)
    if side is None or len(names) < 2:
        raise Unmappable("it needs two images and a direction")
    match, inner, source = use.value("match_image_size", bool, False), dict[str, Made](), use.node.inputs[names[0]]
    for name in names[1:]:
        inputs = {"image": source, "other": use.node.inputs[name], "side": side, "match_size": match}
        inner[name.replace("_", "-")] = Made("ImageStitch", 1, {**inputs, "colour": "#000000"})
        source = Inner(name.replace("_", "-"), "image")
    _, made = inner.popitem()
    return Made(made.type, made.version, made.inputs, ("image",), inner)


def _mask_blur(use: Use) -> Result:
    use.ignore("device")
    use.note("approximated", "the mask is softened by a linear ramp, not by a Gaussian blur")
    return Made("MaskFeather", 1, {**use.take(mask="mask"), "pixels": use.whole("amount", 6)}, ("mask",))


def _mask_grow(use: Use) -> Result:
    use.ignore("incremental_expandrate", "lerp_alpha", "decay_factor")
    if use.value("flip_input", bool, False) or use.value("fill_holes", bool, False):
        raise Unmappable("a mask is not inverted or filled while it grows here")
    shape = "diamond" if use.value("tapered_corners", bool, True) else "square"
    grown = Made("MaskGrow", 1, {**use.take(mask="mask", pixels="expand"), "shape": shape})
    blur = round(use.number("blur_radius", 0.0))
    if not blur:
        return _inverted_too(use, grown)
    use.note("approximated", "the mask is softened by a linear ramp, not by a Gaussian blur")
    soft = Made("MaskFeather", 1, {"mask": Inner("grown", "mask"), "pixels": blur})
    return _inverted_too(use, soft, {"grown": grown})


def _inverted_too(use: Use, made: Made, inner: Mapping[str, Made] = MappingProxyType({})) -> Result:
    """Return a mask, with its opposite as the second output if that is used."""
    if not use.uses(1):
        return Made(made.type, made.version, made.inputs, ("mask",), inner)
    inputs = {"mask": Inner("soft", "mask")}
    return Made("InvertMask", 1, inputs, (Inner("soft", "mask"), "mask"), {**inner, "soft": made})


def _upscale_in_tiles(use: Use) -> Result:
    """Convert the class that enlarges a picture and repaints it in tiles."""
    use.ignore("mode_type", "mask_blur", "seam_fix_mode", "seam_fix_denoise", "seam_fix_width", "seam_fix_mask_blur",
               "seam_fix_padding", "force_uniform_tiles", "tiled_decode", "batch_size")  # fmt: skip
    use.note("approximated", "tiles are blended at every step, not sampled one after the other")
    factor, large = use.number("upscale_by", 2.0), use.source("upscale_model", "UpscaleModelLoader")
    image, vae = use.link("image"), use.link("vae")
    tile = {"tile": _eights(use.whole("tile_width", 512)), "overlap": _eights(2 * use.whole("tile_padding", 32))}
    use.ignore("tile_height")
    size = Made("ImageSize", 1, {"image": image})
    sides = {n: Made("Calculate", 1, {"expression": f"round(a * {factor:g} / 8) * 8", "values": [Inner("size", n)]})
             for n in ("width", "height")}  # fmt: skip
    enlarged = Made("UpscaleWithModel", 1, {"image": image, "upscaler": large.file("model_name")})
    to = {"image": Inner("enlarged", "image"), **{name: Inner(name, "whole") for name in sides}}
    sampled = use.take(positive="positive", negative="negative", seed="seed", steps="steps", cfg="cfg",
                       sampler="sampler_name", schedule="scheduler", denoise="denoise")  # fmt: skip
    tiled = Made("TiledDiffusion", 1, {"model": use.link("model"), **tile})
    encoded = Made("VAEEncodeTiled", 1, {"vae": vae, "image": Inner("scaled", "image")})
    more = {"model": Inner("tiled", "model"), "latent": Inner("encoded", "latent"), "noise_rule": "comfyui"}
    inner = {"size": size, **sides, "enlarged": enlarged, "scaled": Made("ImageScale", 1, to), "tiled": tiled,
             "encoded": encoded, "sampled": Made("KSampler", 1, {**sampled, **more})}  # fmt: skip
    return Made("VAEDecodeTiled", 1, {"vae": vae, "latent": Inner("sampled", "latent")}, ("image",), inner)


def _tiled(use: Use) -> Result:
    """Convert the class of ComfyUI-TiledDiffusion. Tiles are squares here."""
    if use.value("method", str, "MultiDiffusion") != "MultiDiffusion":
        use.note("approximated", f"tiles are blended by MultiDiffusion, not by {brief(use.node.inputs['method'])}")
    use.ignore("tile_batch_size")
    width, height = use.whole("tile_width", 768), use.whole("tile_height", 768)
    if width != height:
        use.note("approximated", f"tiles are squares of {min(width, height)} pixels")
    tile, overlap = _eights(min(width, height)), use.whole("tile_overlap", 64) // 8 * 8
    return Made("TiledDiffusion", 1, {**use.take(model="model"), "tile": tile, "overlap": overlap}, ("model",))


def _eights(pixels: int) -> int:
    return max(8, pixels // 8 * 8)


RULES: dict[str, Rule] = {
    "GetImageSizeAndCount": _size_and_image,
    "GetImageSize+": renamed("ImageSize", 1, "width height count", image="image"),
    "ImageResize+": _resize_essentials,
    "ImageResizeKJ": _resize_kj,
    "ImageResizeKJv2": _resize_kj,
    "ImageConcatMulti": _stitch_all,
    "ImageBatchMulti": join_all("image_"),
    "MaskBlur+": _mask_blur,
    "GrowMaskWithBlur": _mask_grow,
    "ResizeImagesByLongerEdge": renamed(
        "ImageScaleToSide", 1, "image", {"which": "longer"}, image="images", side="longer_edge"
    ),
    "UltimateSDUpscale": _upscale_in_tiles,
    "TiledDiffusion": _tiled,
}
