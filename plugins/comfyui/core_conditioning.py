"""Rules for ComfyUI's core classes that make or change conditionings."""

from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.rules import Inner, Made, Passed, Result, Rule, Unmappable, Use, renamed

STRENGTHS = (
    "ConditioningSetArea",
    "ConditioningSetAreaPercentage",
    "ConditioningSetMask",
    "ConditioningSetAreaStrength",
)
PLACING = dict.fromkeys((*STRENGTHS, "ConditioningSetTimestepRange"), "conditioning")
"""The classes that set area, time range or strength, with the input that they change."""


def _clip_skip(use: Use) -> int:
    """Return the number of layers that are skipped upstream of the CLIP input, through LoRAs and reroutes."""
    seen: set[str] = set()
    link = use.node.inputs.get("clip")
    while type(link) is Link and link.node not in seen:
        seen.add(link.node)
        node = use.scene.graph[link.node]
        layer = node.inputs.get("stop_at_clip_layer")
        if node.type == "CLIPSetLastLayer" and type(layer) is int:
            return -layer
        link = node.inputs.get("clip", node.inputs.get(""))
    return 1


def _clip_encode(use: Use) -> Result:
    inputs = {**use.take(clip="clip", text="text"), "grammar": "comfyui", "clip_skip": _clip_skip(use)}
    return Made("CLIPEncode", 2, inputs, ("conditioning",))


def _clip_encode_sdxl(use: Use) -> Result:
    texts = {**use.take(clip="clip", text_g="text_g", text_l="text_l"), "grammar": "comfyui"}
    text = Made("CLIPEncodeSDXL", 1, {**texts, "clip_skip": _clip_skip(use)})
    sizes = use.take(
        width="width", height="height", crop_x="crop_w", crop_y="crop_h", target_width="target_width",
        target_height="target_height",
    )  # fmt: skip
    inputs = {"conditioning": Inner("text", "conditioning"), **sizes}
    return Made("ConditioningSize", 1, inputs, ("conditioning",), {"text": text})


def _clip_encode_refiner(use: Use) -> Result:
    text = {**use.take(clip="clip", text="text"), "grammar": "comfyui", "clip_skip": _clip_skip(use)}
    sizes = use.take(width="width", height="height", aesthetic="ascore")
    inputs = {"conditioning": Inner("text", "conditioning"), **sizes}
    return Made("ConditioningSize", 1, inputs, ("conditioning",), {"text": Made("CLIPEncode", 2, text)})


def _clip_layer(use: Use) -> Result:
    use.value("stop_at_clip_layer", int)
    return Passed((use.link("clip"),))


def _combine(use: Use) -> Result:
    both = [use.link("conditioning_1"), use.link("conditioning_2")]
    return Made("ConditioningCombine", 1, {"conditionings": both}, ("conditioning",))


def _average(use: Use) -> Result:
    inputs = use.take(a="conditioning_to", b="conditioning_from")
    amount = 1 - use.number("conditioning_to_strength")
    return Made("ConditioningAverage", 1, {**inputs, "amount": amount}, ("conditioning",))


def _second(use: Use, what: str, *types: str) -> None:
    """Report if a node replaces an earlier node's setting in ComfyUI, but is combined with it here."""
    for before in use.above("conditioning", PLACING):
        if before.type in types:
            use.note("approximated", f"{what} replaces that of the node '{before.id}' in ComfyUI; here both count")
            return


def _area(use: Use) -> Result:
    _second(use, "its strength", *STRENGTHS)
    inputs = use.take(conditioning="conditioning", width="width", height="height", x="x", y="y", strength="strength")
    return Made("ConditioningArea", 1, {**inputs, "crop_other": True}, ("conditioning",))


def _area_share(use: Use) -> Result:
    _second(use, "its strength", *STRENGTHS)
    inputs = use.take(conditioning="conditioning", width="width", height="height", x="x", y="y", strength="strength")
    return Made("ConditioningAreaShare", 1, {**inputs, "crop_other": True}, ("conditioning",))


def _strength(use: Use) -> Result:
    _second(use, "its strength", *STRENGTHS)
    inputs = use.take(conditioning="conditioning", strength="strength")
    return Made("ConditioningStrength", 1, inputs, ("conditioning",))


def _mask(use: Use) -> Result:
    if use.value("set_cond_area", str, "default") != "default":
        raise Unmappable("the area of a conditioning is not taken from its mask here")
    _second(use, "its strength or mask", *STRENGTHS)
    inputs = use.take(conditioning="conditioning", mask="mask", strength="strength")
    return Made("ConditioningMask", 1, inputs, ("conditioning",))


def _times(use: Use) -> Result:
    use.note("approximated", "start and end are shares of the model's time in ComfyUI, and of the steps here")
    _second(use, "its time", "ConditioningSetTimestepRange")
    inputs = use.take(conditioning="conditioning", start="start", end="end")
    return Made("ConditioningTimes", 1, inputs, ("conditioning",))


def _inpaint(use: Use) -> Result:
    inputs = use.take(positive="positive", negative="negative", vae="vae", image="pixels", mask="mask")
    made = {**inputs, "resize": "bilinear"}
    if use.value("noise_mask", bool, True):
        return Made("InpaintConditioning", 1, made, ("positive", "negative", "latent"))
    whole = Made("VAEEncode", 1, {"vae": inputs.get("vae"), "image": inputs.get("image")})
    outputs = ("positive", "negative", Inner("whole", "latent"))
    return Made("InpaintConditioning", 1, made, outputs, {"whole": whole})


def _edit(template: str, *names: str) -> Rule:
    """Return the rule for a class that reads a prompt with the pictures of the named inputs."""

    def rule(use: Use) -> Result:
        text = use.take(clip="clip", text="prompt")
        pictures = [use.link(name) for name in names if name in use.node.inputs]
        if not pictures:
            use.ignore("vae")
            use.note("approximated", "without an image the prompt is read in the template of Qwen-Image")
            return Made("CLIPEncode", 2, {**text, "grammar": "plain"}, ("conditioning",))
        use.note("approximated", "images are scaled by Lanczos, to sides that are multiples of 32")
        vae = use.take(vae="vae") if "vae" in use.node.inputs else {}
        inputs = {**text, "pictures": pictures, **vae, "template": template}
        return Made("CLIPEncodePictures", 1, inputs, ("conditioning",))

    return rule


RULES: dict[str, Rule] = {
    "CLIPTextEncode": _clip_encode,
    "CLIPTextEncodeSDXL": _clip_encode_sdxl,
    "CLIPTextEncodeSDXLRefiner": _clip_encode_refiner,
    "CLIPSetLastLayer": _clip_layer,
    "ConditioningCombine": _combine,
    "ConditioningConcat": renamed(
        "ConditioningConcat", 1, "conditioning", to="conditioning_to", extra="conditioning_from"
    ),
    "ConditioningAverage": _average,
    "ConditioningZeroOut": renamed("ConditioningZeroOut", 1, "conditioning", conditioning="conditioning"),
    "ConditioningSetArea": _area,
    "ConditioningSetAreaPercentage": _area_share,
    "ConditioningSetAreaStrength": _strength,
    "ConditioningSetMask": _mask,
    "ConditioningSetTimestepRange": _times,
    "ReferenceLatent": renamed(
        "ReferenceLatent", 1, "conditioning", conditioning="conditioning", latent="latent"
    ),
    "TextEncodeQwenImageEdit": _edit("edit", "image"),
    "TextEncodeQwenImageEditPlus": _edit("edit-plus", "image1", "image2", "image3"),
    "FluxGuidance": renamed(
        "EmbeddedGuidance", 1, "conditioning", conditioning="conditioning", guidance="guidance"
    ),
    "InpaintModelConditioning": _inpaint,
    "InstructPixToPixConditioning": renamed(
        "InstructConditioning", 1, "positive negative latent",
        positive="positive", negative="negative", vae="vae", image="pixels",
    ),
}  # fmt: skip
