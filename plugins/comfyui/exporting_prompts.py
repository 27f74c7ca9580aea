"""Writes nodes for prompts with sizes or images, and what else changes conditionings, as ComfyUI's classes."""

from typing import Any

from latentloom.plugins.comfyui.exporting_writing import Built, Writing, built

TEXTS = ("CLIPEncodeSDXL", "CLIPEncode")
"""The types that are written by the node that gives the sizes, if nothing else uses them."""
SIZES = {"crop_x": "crop_w", "crop_y": "crop_h", "width": "width", "height": "height", "target_width": "target_width",
         "target_height": "target_height"}  # fmt: skip
FITS = {"fill": "center", "stretch": "none"}
USUAL = 1024  # pixels of a side, of which SDXL was told most


@built("conditioning", "clip text clip_skip")
def _text(use: Writing) -> tuple[str, dict[str, Any]]:
    return "CLIPTextEncode", {**use.named("text"), **use.clip()}


@built("conditioning", "conditioning width height crop_x crop_y target_width target_height aesthetic")
def _sized(use: Writing) -> tuple[str, dict[str, Any]]:
    type, text = use.behind("conditioning") or ("", use)
    if type == "CLIPEncode" and use.given["aesthetic"]:
        sizes = {name: _side(use, name) for name in ("width", "height")}
        score = use.named("aesthetic=ascore")
        return "CLIPTextEncodeSDXLRefiner", {**text.named("text"), **text.clip(), **score, **sizes}
    if use.given["aesthetic"]:
        use.note("lost", "'aesthetic' has no counterpart there beside two texts")
    sizes = {theirs: _side(use, ours) for ours, theirs in SIZES.items()}
    names = ("text_g", "text_l")
    words = dict(zip(names, names if type == "CLIPEncodeSDXL" else ("text", "text"), strict=True))
    told = {theirs: text.value(text.given.get(ours)) for theirs, ours in words.items()}
    return "CLIPTextEncodeSDXL", {**text.clip(), **sizes, **told}


def _side(use: Writing, name: str) -> Any:
    """Return a size in pixels; that of most images of the training where ours follows from the latent."""
    value = use.value(use.given[name])
    if value or name.startswith("crop"):
        return value
    use.note("changed", f"'{name}' follows from the latent here, and is {USUAL} there")
    return USUAL


@built("conditioning", "clip text_l text_g clip_skip")
def _two_texts(use: Writing) -> tuple[str, dict[str, Any]]:
    use.note("changed", f"the size that SDXL is told follows from the latent here, and is {USUAL} x {USUAL} there")
    sizes = {theirs: 0 if ours.startswith("crop") else USUAL for ours, theirs in SIZES.items()}
    return "CLIPTextEncodeSDXL", {**use.clip(), **sizes, **use.named("text_g text_l")}


@built("conditioning", "clip text pictures vae template")
def _with_pictures(use: Writing) -> tuple[str, dict[str, Any]]:
    pictures, text = use.items("pictures"), use.named("clip text=prompt vae")
    if use.option("template") == "edit":
        if len(pictures) > 1:
            use.note("lost", "TextEncodeQwenImageEdit takes one image: the first")
        return "TextEncodeQwenImageEdit", {**text, **dict(zip(("image",), pictures, strict=False))}
    if len(pictures) > 3:
        use.note("lost", "TextEncodeQwenImageEditPlus takes three images: the first ones")
    return "TextEncodeQwenImageEditPlus", {
        **text,
        **dict(zip(("image1", "image2", "image3"), pictures, strict=False)),
    }


@built("conditioning", "conditioning clip_vision image style_model strength fit")
def _style(use: Writing) -> tuple[str, dict[str, Any]]:
    crop = {"crop": FITS[use.option("fit")]}
    seen = use.add("seen", "CLIPVisionEncode", {**use.named("clip_vision image"), **crop})
    file = use.add("file", "StyleModelLoader", use.named("style_model=style_model_name"))
    inputs = {**use.named("conditioning strength"), "style_model": file, "clip_vision_output": seen}
    return "StyleModelApply", {**inputs, "strength_type": "multiply"}


@built("positive negative", "positive negative controlnet image mask strength start end fit vae")
def _inpaint_controlnet(use: Writing) -> tuple[str, dict[str, Any]]:
    if use.option("fit") != "fill":
        use.note("changed", f"ComfyUI crops an image of another shape, and does not '{use.option('fit')}' it")
    names = "positive negative controlnet=control_net vae image mask strength start=start_percent end=end_percent"
    return "ControlNetInpaintingAliMamaApply", use.named(names)


@built("value", "text seed lists")
def _dynamic(use: Writing) -> tuple[str, dict[str, Any]]:
    use.note("changed", "DPRandomGenerator is a class of the pack comfyui-dynamicprompts, and draws other words")
    if use.given.get("lists"):
        use.note("lost", "'lists' are files of wildcards there")
    return "DPRandomGenerator", {**use.named("text seed"), "autorefresh": "No"}


@built("model", "model tile overlap")
def _tiled(use: Writing) -> tuple[str, dict[str, Any]]:
    use.note("changed", "TiledDiffusion is a class of the pack ComfyUI-TiledDiffusion")
    tile = use.value(use.given["tile"])
    sizes = {"tile_width": tile, "tile_height": tile, **use.named("overlap=tile_overlap")}
    return "TiledDiffusion", {**use.named("model"), "method": "MultiDiffusion", **sizes, "tile_batch_size": 1}


PROMPTS: dict[str, Built] = {
    "CLIPEncode": _text,
    "ConditioningSize": _sized,
    "CLIPEncodeSDXL": _two_texts,
    "CLIPEncodePictures": _with_pictures,
    "ApplyStyleModel": _style,
    "ApplyInpaintControlNet": _inpaint_controlnet,
    "DynamicPrompt": _dynamic,
    "TiledDiffusion": _tiled,
}
