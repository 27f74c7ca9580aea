"""ComfyUI's core classes for Stable Diffusion, and our nodes with the same meaning."""

from collections.abc import Mapping
from typing import Any

from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.rules import Made, Named, Passed, Result, Rule, Unmappable, Use

NOISE_RULE = "comfyui"
RESIZE = {name: name for name in ("lanczos", "bicubic", "bilinear", "area")} | {"nearest-exact": "nearest"}


def renamed(type: str, version: int, outputs: str, fixed: Mapping[str, Any] | None = None, **names: str) -> Rule:
    """The rule of a class that differs from ours in names only."""

    def rule(use: Use) -> Result:
        return Made(type, version, {**use.take(**names), **(fixed or {})}, tuple(outputs.split()))

    return rule


def _file(use: Use, name: str) -> str:
    """A model's name with our separator."""
    return str(use.value(name, str)).replace("\\", "/")


def _checkpoint(use: Use) -> Result:
    use.ignore("config_name")
    file = _file(use, "ckpt_name")
    if file.lower().endswith((".ckpt", ".pt", ".pth", ".bin")):
        use.note("changed", f"'{file}' holds pickled code, which is never run here: convert it to safetensors")
    return Made("LoadCheckpoint", 1, {"checkpoint": file}, ("model", "clip", "vae"))


def _lora(use: Use) -> Result:
    inputs = use.take(model="model", clip="clip", model_strength="strength_model", clip_strength="strength_clip")
    return Made("LoadLora", 1, {**inputs, "lora": _file(use, "lora_name")}, ("model", "clip"))


def _lora_model(use: Use) -> Result:
    inputs = use.take(model="model", strength="strength_model")
    return Made("LoadLoraModel", 1, {**inputs, "lora": _file(use, "lora_name")}, ("model",))


def _loader(type: str, input: str, theirs: str, output: str) -> Rule:
    def rule(use: Use) -> Result:
        return Made(type, 1, {input: _file(use, theirs)}, (output,))

    return rule


def _unet(use: Use) -> Result:
    if use.value("weight_dtype", str) != "default":
        use.note("changed", "the weights stay in the type that the settings say")
    return Made("LoadUNet", 1, {"unet": _file(use, "unet_name")}, ("model",))


def _clip_skip(use: Use) -> int:
    """How many layers are skipped on the way of the CLIP edge, through LoRAs and reroutes."""
    seen: set[str] = set()
    link = use.node.inputs.get("clip")
    while type(link) is Link and link.node not in seen:
        seen.add(link.node)
        node = use.graph[link.node]
        layer = node.inputs.get("stop_at_clip_layer")
        if node.type == "CLIPSetLastLayer" and type(layer) is int:
            return -layer
        link = node.inputs.get("clip", node.inputs.get(""))
    return 1


def _clip_encode(use: Use) -> Result:
    inputs = {**use.take(clip="clip", text="text"), "grammar": "comfyui", "clip_skip": _clip_skip(use)}
    return Made("CLIPEncode", 2, inputs, ("conditioning",))


def _clip_layer(use: Use) -> Result:
    use.value("stop_at_clip_layer", int)
    return Passed((use.link("clip"),))


def _reroute(use: Use) -> Result:
    return Passed((use.link(""),))


def _save_latent(use: Use) -> Result:
    use.ignore("filename_prefix")
    use.note("changed", "the latent is an output of the workflow, not a file")
    return Named("latent", use.link("samples"))


def _sampling(use: Use) -> dict[str, Any]:
    inputs = use.take(
        model="model", positive="positive", negative="negative", latent="latent_image", steps="steps", cfg="cfg",
        sampler="sampler_name", schedule="scheduler",
    )  # fmt: skip
    return {**inputs, "sampler": _sampler(use, inputs.get("sampler")), "noise_rule": NOISE_RULE}


def _sampler(use: Use, name: Any) -> Any:
    if type(name) is str and name.endswith("_gpu"):
        use.note("approximated", f"'{name}' draws its noise on the GPU; noise_rule comfyui_cuda comes nearest to it")
        return name.removesuffix("_gpu")
    return name


def _ksampler(use: Use) -> Result:
    return Made("KSampler", 1, {**_sampling(use), **use.take(seed="seed", denoise="denoise")}, ("latent",))


def _ksampler_advanced(use: Use) -> Result:
    steps = use.take(seed="noise_seed", start_step="start_at_step", end_step="end_at_step")
    steps["end_step"] = min(use.value("end_at_step", int), 10_000)
    switches = {
        "add_noise": use.value("add_noise", str) == "enable",
        "leftover_noise": use.value("return_with_leftover_noise", str) == "enable",
    }
    return Made("KSamplerAdvanced", 1, {**_sampling(use), **steps, **switches}, ("latent",))


def _latent_upscale(use: Use) -> Result:
    method = use.value("upscale_method", str)
    if method not in RESIZE or method == "lanczos":
        raise Unmappable(f"the method '{method}' does not exist here")
    if use.value("crop", str) != "disabled":
        raise Unmappable("LatentUpscale does not crop here")
    inputs = use.take(latent="samples", width="width", height="height")
    return Made("LatentUpscale", 1, {**inputs, "method": RESIZE[method]}, ("latent",))


def _image_scale(use: Use) -> Result:
    fit = "fill" if use.value("crop", str) == "center" else "stretch"
    inputs = use.take(image="image", width="width", height="height")
    return Made("ImageScale", 1, {**inputs, "method": _resize(use), "fit": fit}, ("image",))


def _image_scale_by(use: Use) -> Result:
    inputs = use.take(image="image", factor="scale_by")
    return Made("ImageScale", 1, {**inputs, "method": _resize(use)}, ("image",))


def _resize(use: Use) -> str:
    method = use.value("upscale_method", str)
    if method not in RESIZE:
        raise Unmappable(f"the method '{method}' does not exist here")
    if method in ("bilinear", "bicubic"):
        use.note("approximated", f"{method} averages when it shrinks a picture, which it does not in ComfyUI")
    return RESIZE[method]


def _upscale_with_model(use: Use) -> Result:
    loader = use.source("upscale_model", "UpscaleModelLoader")
    return Made("UpscaleWithModel", 1, {**use.take(image="image"), "upscaler": _file(loader, "model_name")}, ("image",))


def _combine(use: Use) -> Result:
    both = [use.link("conditioning_1"), use.link("conditioning_2")]
    return Made("ConditioningCombine", 1, {"conditionings": both}, ("conditioning",))


def _average(use: Use) -> Result:
    inputs = use.take(a="conditioning_to", b="conditioning_from")
    amount = 1 - use.value("conditioning_to_strength", (int, float))
    return Made("ConditioningAverage", 1, {**inputs, "amount": amount}, ("conditioning",))


def _times(use: Use) -> Result:
    use.note("approximated", "start and end are shares of the model's time in ComfyUI, and of the steps here")
    inputs = use.take(conditioning="conditioning", start="start", end="end")
    return Made("ConditioningTimes", 1, inputs, ("conditioning",))


def _mask_set(use: Use) -> Result:
    if use.value("set_cond_area", str) != "default":
        raise Unmappable("the area of a conditioning is not taken from its mask here")
    inputs = use.take(conditioning="conditioning", mask="mask", strength="strength")
    return Made("ConditioningMask", 1, inputs, ("conditioning",))


def _latent_blend(use: Use) -> Result:
    use.ignore("blend_mode")
    amount = 1 - use.value("blend_factor", (int, float))
    return Made("LatentBlend", 1, {**use.take(a="samples1", b="samples2"), "amount": amount}, ("latent",))


def _load_image(use: Use) -> Result:
    use.ignore("upload", "choose file to upload")
    return Made("LoadImage", 1, {"image": _picture(use)}, ("image", "mask"))


def _load_mask(use: Use) -> Result:
    use.ignore("upload", "choose file to upload")
    return Made("LoadMask", 1, {"image": _picture(use), **use.take(channel="channel")}, ("mask",))


def _picture(use: Use) -> str:
    name = _file(use, "image")
    bare = name.removesuffix(" [input]")
    if bare.endswith(("[output]", "[temp]")):
        use.note("changed", f"'{bare}' lies in another folder of ComfyUI: put the picture into the input folder")
        bare = bare.rpartition(" [")[0]
    return bare


def _save_image(use: Use) -> Result:
    prefix = str(use.value("filename_prefix", str))
    if "%" in prefix or "{" in prefix:
        use.note("changed", f"the name '{prefix}' has parts that are not filled in here")
    clean = "".join("_" if sign in '%{}:\\*?"<>|' else sign for sign in prefix).strip("/. ") or "picture"
    return Made("SaveImage", 1, {**use.take(images="images"), "name": f"{clean}_{{counter}}"}, ("images",))


def _outpaint(use: Use) -> Result:
    use.note("approximated", "the mask's soft edge has another curve")
    inputs = use.take(image="image", left="left", top="top", right="right", bottom="bottom", feather="feathering")
    return Made("OutpaintPad", 1, {**inputs, "fill": "grey"}, ("image", "mask"))


def _inpaint(use: Use) -> Result:
    if use.node.inputs.get("noise_mask", True) is not True:
        raise Unmappable("a latent without its mask is not made here")
    use.ignore("noise_mask")
    inputs = use.take(positive="positive", negative="negative", vae="vae", image="pixels", mask="mask")
    outputs = ("positive", "negative", "latent")
    return Made("InpaintConditioning", 1, {**inputs, "resize": "bilinear"}, outputs)


def _controlnet(use: Use) -> Result:
    if "vae" in use.node.inputs:
        use.note("lost", "'vae' is not needed by the ControlNets that run here")
        use.ignore("vae")
    inputs = use.take(
        positive="positive", negative="negative", controlnet="control_net", image="image", strength="strength",
        start="start_percent", end="end_percent",
    )  # fmt: skip
    return Made("ApplyControlNet", 1, {**inputs, "resize": "auto"}, ("positive", "negative"))


def _dual_clip(use: Use) -> Result:
    if use.value("type", str) != "sdxl":
        raise Unmappable("only SDXL has two text encoders among the models that run here")
    files = {"text_encoder": _file(use, "clip_name1"), "second": _file(use, "clip_name2")}
    use.ignore("device")
    return Made("LoadCLIP", 1, files, ("clip",))


def _clip_loader(use: Use) -> Result:
    if use.value("type", str) != "stable_diffusion":
        raise Unmappable("this text encoder is for models that do not run here")
    use.ignore("device")
    return Made("LoadCLIP", 1, {"text_encoder": _file(use, "clip_name")}, ("clip",))


def _differential(use: Use) -> Result:
    use.ignore("strength")
    if use.node.inputs.get("strength", 1.0) != 1.0:
        raise Unmappable("the strength of DifferentialDiffusion is always 1 here")
    return Made("DifferentialDiffusion", 1, {**use.take(model="model"), "by": "time"}, ("model",))


def _freeu(method: str) -> Rule:
    return renamed("FreeU", 2, "model", {"method": method}, model="model", b1="b1", b2="b2", s1="s1", s2="s2")


RULES: dict[str, Rule] = {
    "CheckpointLoaderSimple": _checkpoint,
    "CheckpointLoader": _checkpoint,
    "LoraLoader": _lora,
    "LoraLoaderModelOnly": _lora_model,
    "VAELoader": _loader("LoadVAE", "vae", "vae_name", "vae"),
    "ControlNetLoader": _loader("LoadControlNet", "controlnet", "control_net_name", "controlnet"),
    "CLIPVisionLoader": _loader("LoadCLIPVision", "clip_vision", "clip_name", "clip_vision"),
    "UNETLoader": _unet,
    "CLIPLoader": _clip_loader,
    "DualCLIPLoader": _dual_clip,
    "CLIPTextEncode": _clip_encode,
    "CLIPSetLastLayer": _clip_layer,
    "Reroute": _reroute,
    "KSampler": _ksampler,
    "KSamplerAdvanced": _ksampler_advanced,
    "EmptyLatentImage": renamed("EmptyLatent", 1, "latent", width="width", height="height", batch="batch_size"),
    "LatentUpscale": _latent_upscale,
    "LatentBlend": _latent_blend,
    "RepeatLatentBatch": renamed("RepeatLatent", 1, "latent", latent="samples", times="amount"),
    "LatentFromBatch": renamed("PickLatents", 1, "latent", latents="samples", first="batch_index", count="length"),
    "SetLatentNoiseMask": renamed(
        "SetLatentMask", 1, "latent", {"resize": "bilinear"}, latent="samples", mask="mask"
    ),
    "VAEDecode": renamed("VAEDecode", 1, "image", vae="vae", latent="samples"),
    "VAEEncode": renamed("VAEEncode", 1, "latent", vae="vae", image="pixels"),
    "LoadImage": _load_image,
    "LoadImageMask": _load_mask,
    "SaveImage": _save_image,
    "SaveLatent": _save_latent,
    "PreviewImage": renamed("PreviewImage", 1, "images", images="images"),
    "MaskPreview": renamed("PreviewMask", 1, "mask", mask="mask"),
    "ImageScale": _image_scale,
    "ImageScaleBy": _image_scale_by,
    "ImageUpscaleWithModel": _upscale_with_model,
    "ImageInvert": renamed("InvertImage", 1, "image", image="image"),
    "RepeatImageBatch": renamed("RepeatImage", 1, "image", image="image", times="amount"),
    "ImageFromBatch": renamed("PickImages", 1, "image", images="image", first="batch_index", count="length"),
    "ImagePadForOutpaint": _outpaint,
    "InvertMask": renamed("InvertMask", 1, "mask", mask="mask"),
    "MaskToImage": renamed("MaskToImage", 1, "image", mask="mask"),
    "ConditioningCombine": _combine,
    "ConditioningConcat": renamed(
        "ConditioningConcat", 1, "conditioning", to="conditioning_to", extra="conditioning_from"
    ),
    "ConditioningAverage": _average,
    "ConditioningZeroOut": renamed("ConditioningZeroOut", 1, "conditioning", conditioning="conditioning"),
    "ConditioningSetArea": renamed(
        "ConditioningArea", 1, "conditioning", {"crop_other": True},
        conditioning="conditioning", width="width", height="height", x="x", y="y", strength="strength",
    ),
    "ConditioningSetMask": _mask_set,
    "ConditioningSetTimestepRange": _times,
    "InpaintModelConditioning": _inpaint,
    "InstructPixToPixConditioning": renamed(
        "InstructConditioning", 1, "positive negative latent",
        positive="positive", negative="negative", vae="vae", image="pixels",
    ),
    "ControlNetApplyAdvanced": _controlnet,
    "RescaleCFG": renamed("CFGRescale", 1, "model", model="model", amount="multiplier"),
    "PerturbedAttentionGuidance": renamed("PerturbedAttention", 1, "model", model="model", scale="scale"),
    "DifferentialDiffusion": _differential,
    "FreeU": _freeu("1"),
    "FreeU_V2": _freeu("2"),
    "PrimitiveInt": renamed("Integer", 1, "value", value="value"),
    "PrimitiveFloat": renamed("Float", 1, "value", value="value"),
    "PrimitiveBoolean": renamed("Boolean", 1, "value", value="value"),
    "PrimitiveString": renamed("Text", 1, "value", text="value"),
    "PrimitiveStringMultiline": renamed("Text", 1, "value", text="value"),
}  # fmt: skip
FOLDED = frozenset({"UpscaleModelLoader"})  # their meaning goes into the node that uses them
