"""Writes nodes for pictures and masks as ComfyUI's classes."""

from math import ceil, sqrt
from typing import Any

from latentloom.plugins.comfyui.exporting_writing import FILTERS, Built, Writing, built, prefix

LOGIC = {"product": "multiply", "sum": "add", "rest": "subtract", "union": "or", "intersection": "and",
         "exclusive": "xor", "difference": "subtract"}  # fmt: skip
EXACT_LOGIC = ("product", "sum", "rest")
SIDES = {"right": "right", "below": "down", "left": "left", "above": "up"}
COLOURS = {"#ffffff": "white", "#000000": "black", "#ff0000": "red", "#00ff00": "green", "#0000ff": "blue"}

# Pictures and masks


@built("images", "images name format")
def _save(use: Writing) -> tuple[str, dict[str, Any]]:
    inputs, format = (
        {**use.named("images"), "filename_prefix": prefix(use.given["name"], use.note)},
        use.option("format"),
    )
    if format == "png 16 bits":
        more = {"format.bit_depth": "16-bit", "format.input_color_space": "sRGB"}
        return "SaveImageAdvanced", {**inputs, "format": "png", **more}
    if format != "png":
        use.note("changed", f"ComfyUI's core saves PNG, not {format}")
    return "SaveImage", inputs


@built("image", "image width height factor method fit multiple_of")
def _scale(use: Writing) -> tuple[str, dict[str, Any]]:
    multiple, sides = use.option("multiple_of"), (use.given["width"], use.given["height"])
    whole = all(type(side) is int and side > 0 and side % multiple == 0 for side in sides)
    name, inputs = _scaled(use)
    if multiple == 1 or whole:
        return name, inputs
    use.note("changed", "ComfyUI crops to the multiple, and does not stretch")
    more = {"resize_type": "scale to multiple", "resize_type.multiple": multiple, "scale_method": "lanczos"}
    return "ResizeImageMaskNode", {"input": use.add("scaled", name, inputs), **more}


def _scaled(use: Writing) -> tuple[str, dict[str, Any]]:
    method = {"upscale_method": FILTERS.get(use.option("method"), use.option("method"))}
    if use.given["width"] == use.given["height"] == 0:
        return "ImageScaleBy", {**use.named("image factor=scale_by"), **method}
    fit = use.option("fit")
    if fit not in ("stretch", "fill"):
        use.note("changed", f"ComfyUI's ImageScale cannot '{fit}': it stretches")
    inputs = {**use.named("image width height"), **method}
    return "ImageScale", {**inputs, "crop": "center" if fit == "fill" else "disabled"}


@built("image", "image side which method")
def _to_side(use: Writing) -> tuple[str, dict[str, Any]]:
    method, which = FILTERS.get(use.option("method"), use.option("method")), use.option("which")
    if which == "longer":
        return "ImageScaleToMaxDimension", {**use.named("image side=largest_size"), "upscale_method": method}
    size = {"resize_type": "scale shorter dimension", **use.named("side=resize_type.shorter_size")}
    return "ResizeImageMaskNode", {**use.named("image=input"), **size, "scale_method": method}


@built("image", "image upscaler")
def _enlarge(use: Writing) -> tuple[str, dict[str, Any]]:
    loader = use.add("model", "UpscaleModelLoader", use.named("upscaler=model_name"))
    return "ImageUpscaleWithModel", {"upscale_model": loader, **use.named("image")}


@built("image", "images columns gap background labels")
def _grid(use: Writing) -> tuple[str, dict[str, Any]]:
    """Stitch the images of each row, and the rows."""
    images, columns = use.items("images"), use.option("columns")
    if use.given.get("labels"):
        use.note("lost", "'labels' have no counterpart there")
    if len(images) < 2:
        use.note("lost", "ComfyUI does not put the images of one batch on a sheet: they go on as a batch")
        return "RepeatImageBatch", {"image": images[0] if images else None, "amount": 1}
    use.note("changed", "the sheet has gaps between images, and none around them")
    columns = min(columns, len(images)) or ceil(sqrt(len(images)))
    gap = {"spacing_width": use.value(use.given["gap"]), "match_image_size": False}
    gap |= {"spacing_color": "white" if use.option("background") > 0.5 else "black"}
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    return _stitched(use, "rows", [_row(use, n, row, gap) for n, row in enumerate(rows, 1)], "down", gap)


def _row(use: Writing, number: int, images: list[Any], gap: dict[str, Any]) -> Any:
    if len(images) == 1:
        return images[0]
    return use.add(f"row-{number}", *_stitched(use, f"row-{number}", images, "right", gap))


def _stitched(
    use: Writing, name: str, images: list[Any], direction: str, gap: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the last of the nodes that put images edge to edge, and write those before it."""
    source, more = images[0], {"direction": direction, **gap}
    for image in images[1:-1]:
        source = use.add(name, "ImageStitch", {"image1": source, "image2": image, **more})
    last = {"image2": images[-1]} if len(images) > 1 else {}
    return "ImageStitch", {"image1": source, **last, **more}


@built("mask", "width height x y box_width box_height")
def _rectangle(use: Writing) -> tuple[str, dict[str, Any]]:
    ground = use.add("ground", "SolidMask", {"value": 0.0, **use.named("width height")})
    box = use.add("box", "SolidMask", {"value": 1.0, **use.named("box_width=width box_height=height")})
    return "MaskComposite", {"destination": ground, "source": box, **use.named("x y"), "operation": "add"}


@built("mask", "mask pixels where")
def _soft(use: Writing) -> tuple[str, dict[str, Any]]:
    use.note("changed", "the edge is a Gaussian blur there, and a ramp here")
    if use.option("where") != "around":
        use.note("changed", f"the edge is softened on both sides there, and not {use.option('where')}")
    radius = min(31, max(1, use.option("pixels")))
    seen = use.add("seen", "MaskToImage", use.named("mask"))
    blurred = use.add("blurred", "ImageBlur", {"image": seen, "blur_radius": radius, "sigma": 0.5})
    return "ImageToMask", {"image": blurred, "channel": "red"}


@built("image", "image other side match_size gap colour")
def _stitch(use: Writing) -> tuple[str, dict[str, Any]]:
    colour = COLOURS.get(str(use.option("colour")).lower())
    if colour is None:
        use.note("changed", f"the gap is white and not {use.given['colour']}")
    inputs = use.named("image=image1 other=image2 match_size=match_image_size gap=spacing_width")
    return "ImageStitch", {**inputs, "direction": SIDES[use.option("side")], "spacing_color": colour or "white"}


@built("image", "width height colour count")
def _plain(use: Writing) -> tuple[str, dict[str, Any]]:
    return "EmptyImage", {**use.named("width height count=batch_size"), "color": _number_of(use.option("colour"))}


@built("mask", "image colour")
def _of_colour(use: Writing) -> tuple[str, dict[str, Any]]:
    return "ImageColorToMask", {**use.named("image"), "color": _number_of(use.option("colour"))}


def _number_of(colour: Any) -> int:
    text = str(colour).removeprefix("#")
    return int(text, 16) if len(text) == 6 and all(sign in "0123456789abcdefABCDEF" for sign in text) else 0


@built("image", "image sigma radius")
def _blur(use: Writing) -> tuple[str, dict[str, Any]]:
    radius = use.option("radius") or max(1, round(3 * use.option("sigma")))
    sigma = {"blur_radius": min(31, radius), "sigma": use.option("sigma") / min(31, radius)}
    if radius > 31:
        use.note("changed", "ComfyUI's radius is at most 31 pixels")
    return "ImageBlur", {**use.named("image"), **sigma}


@built("image", "image sigma amount radius")
def _sharpen(use: Writing) -> tuple[str, dict[str, Any]]:
    radius = min(31, use.option("radius") or max(1, round(3 * use.option("sigma"))))
    how = {"sharpen_radius": radius, "sigma": use.option("sigma") / radius, "alpha": use.option("amount") / 10}
    return "ImageSharpen", {**use.named("image"), **how}


@built("image", "image low high")
def _edges(use: Writing) -> tuple[str, dict[str, Any]]:
    use.note("changed", "the thresholds of Canny have another scale there")
    return "Canny", use.named("image low=low_threshold high=high_threshold")


@built("mask", "mask pixels shape")
def _grow(use: Writing) -> tuple[str, dict[str, Any]]:
    if use.option("shape") == "disc":
        use.note("changed", "ComfyUI grows masks by a diamond or a square, not by a disc")
    tapered = use.option("shape") != "square"
    return "GrowMask", {**use.named("mask pixels=expand"), "tapered_corners": tapered}


@built("mask", "a b how x y")
def _logic(use: Writing) -> tuple[str, dict[str, Any]]:
    how = use.option("how")
    if how not in EXACT_LOGIC:
        use.note("changed", f"of soft masks, ComfyUI's '{LOGIC[how]}' gives other levels")
    place = {name: use.value(use.given.get(name)) or 0 for name in ("x", "y")}
    return "MaskComposite", {**use.named("a=destination b=source"), **place, "operation": LOGIC[how]}


PICTURES: dict[str, Built] = {
    "SaveImage": _save,
    "ImageGrid": _grid,
    "MaskRectangle": _rectangle,
    "MaskFeather": _soft,
    "ImageScale": _scale,
    "ImageScaleToSide": _to_side,
    "UpscaleWithModel": _enlarge,
    "ImageStitch": _stitch,
    "ColourImage": _plain,
    "BlurImage": _blur,
    "SharpenImage": _sharpen,
    "CannyEdges": _edges,
    "MaskFromColour": _of_colour,
    "MaskGrow": _grow,
    "MaskCombine": _logic,
}
