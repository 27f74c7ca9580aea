"""Rules for ComfyUI's core classes that load or change models."""

import math
from typing import Any

from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.rules import Inner, Made, Passed, Result, Rule, Unmappable, Use, renamed, saved_name

PREDICTIONS = {"eps": "epsilon", "v_prediction": "v", "x0": "sample", "lcm": "lcm"}
READ_HERE = (
    "stable_diffusion",
    "lumina2",
    "qwen_image",
    "krea2",
    "chroma",
    "flux2",
)  # CLIPLoader's names of the supported families
READ_BY_TWO = ("sdxl", "flux", "sd3")  # DualCLIPLoader's names of them
UNION_KINDS = {
    "openpose": "openpose", "depth": "depth", "hed/pidi/scribble/ted": "soft_edge",
    "canny/lineart/anime_lineart/mlsd": "lines", "normal": "normal", "segment": "segmentation", "tile": "tile",
    "repaint": "repaint",
}  # fmt: skip
_PICKLED = (".ckpt", ".pt", ".pth", ".bin")


def _checkpoint(use: Use) -> Result:
    use.ignore("config_name")
    file = use.file("ckpt_name")
    if file.lower().endswith(_PICKLED):
        use.note("changed", f"'{file}' holds pickled code, which is never run here: convert it to safetensors")
    return Made("LoadCheckpoint", 1, {"checkpoint": file}, ("model", "clip", "vae"))


def _lora(use: Use) -> Result:
    inputs = use.take(model="model", clip="clip", model_strength="strength_model", clip_strength="strength_clip")
    return Made("LoadLora", 1, {**inputs, "lora": use.file("lora_name")}, ("model", "clip"))


def _lora_model(use: Use) -> Result:
    inputs = use.take(model="model", strength="strength_model")
    return Made("LoadLoraModel", 1, {**inputs, "lora": use.file("lora_name")}, ("model",))


def _loader(type: str, input: str, theirs: str, output: str) -> Rule:
    def rule(use: Use) -> Result:
        return Made(type, 1, {input: use.file(theirs)}, (output,))

    return rule


def _controlnet_loader(use: Use) -> Result:
    use.ignore("model")
    return Made("LoadControlNet", 1, {"controlnet": use.file("control_net_name")}, ("controlnet",))


def _unet(use: Use) -> Result:
    if use.value("weight_dtype", str, "default") != "default":
        use.note("changed", "the weights have the type that the settings name")
    return Made("LoadUNet", 1, {"unet": use.file("unet_name")}, ("model",))


def _dual_clip(use: Use) -> Result:
    if use.value("type", str) not in READ_BY_TWO:
        raise Unmappable("these text encoders are for models that do not run here")
    files = {"text_encoder": use.file("clip_name1"), "second": use.file("clip_name2")}
    use.ignore("device")
    return Made("LoadCLIP", 1, {**files, **_read_for(use, use.value("type", str))}, ("clip",))


def _triple_clip(use: Use) -> Result:
    names = {"text_encoder": "clip_name1", "second": "clip_name2", "third": "clip_name3"}
    files = {ours: use.file(theirs) for ours, theirs in names.items()}
    return Made("LoadCLIP", 1, {**files, **_read_for(use, "sd3")}, ("clip",))


def _read_for(use: Use, type: str) -> dict[str, Any]:
    """Return the model for which text encoders are loaded, if it is not Stable Diffusion and the only one."""
    if type in ("stable_diffusion", "sdxl"):
        return {}
    models = [node.id for node in use.scene.graph.values() if node.type == "UNETLoader"]
    return {"model": Link(models[0], 0)} if len(models) == 1 else {}


def _clip_loader(use: Use) -> Result:
    if use.value("type", str) not in READ_HERE:
        raise Unmappable("this text encoder is for models that do not run here")
    use.ignore("device")
    files = {"text_encoder": use.file("clip_name")}
    return Made("LoadCLIP", 1, {**files, **_read_for(use, use.value("type", str))}, ("clip",))


def _prediction(use: Use) -> Result:
    said = use.value("sampling", str)
    if said not in PREDICTIONS:
        raise Unmappable(f"'{said}' is not supported as a prediction")
    inputs = use.take(model="model", zero_snr="zsnr")
    return Made("SetPrediction", 1, {**inputs, "prediction": PREDICTIONS[said]}, ("model",))


def _shift(use: Use) -> Result:
    use.ignore("sampling")
    return Made("SetShift", 1, use.take(model="model", shift="shift"), ("model",))


def _shift_by_size(use: Use) -> Result:
    """Return Flux.1's shift: its logarithm is linear in the number of tokens."""
    low, high = use.number("base_shift"), use.number("max_shift")
    tokens = use.whole("width") * use.whole("height") / 256
    power = low + (tokens - 256) * (high - low) / (4096 - 256)
    if abs(power) > 4:
        raise Unmappable("the logarithm of a shift is at most 4 here")
    return Made("SetShift", 1, {**use.take(model="model"), "shift": math.exp(power)}, ("model",))


def _deep_shrink(use: Use) -> Result:
    if not use.value("downscale_after_skip", bool, True):
        raise Unmappable("features shrink after the skip connection here")
    down, up = (use.value(f"{way}_method", str, "bicubic") for way in ("downscale", "upscale"))
    if down not in SHRINK or down != up:
        raise Unmappable(f"features do not shrink by '{down}' and grow by '{up}' here")
    inputs = use.take(
        model="model", depth="block_number", factor="downscale_factor", start="start_percent", end="end_percent"
    )
    return Made("DeepShrink", 1, {**inputs, "by": "time", "method": SHRINK[down]}, ("model",))


SHRINK = {"bicubic": "bicubic", "bilinear": "bilinear", "area": "area", "nearest-exact": "nearest"}


def _differential(use: Use) -> Result:
    if use.value("strength", (int, float), 1.0) != 1:
        raise Unmappable("the strength of DifferentialDiffusion is always 1 here")
    return Made("DifferentialDiffusion", 1, {**use.take(model="model"), "by": "time"}, ("model",))


def _freeu(method: str) -> Rule:
    return renamed("FreeU", 2, "model", {"method": method}, model="model", b1="b1", b2="b2", s1="s1", s2="s2")


# Merging. Here a share is that of the second model; in ComfyUI it is that of the first.


def _merge(use: Use) -> Result:
    share = 1 - use.number("ratio", 1.0)
    shares = dict.fromkeys(("input_share", "middle_share", "output_share"), share)
    return Made("ModelMerge", 1, {**use.take(model="model1", other="model2"), **shares}, ("model",))


def _merge_blocks(use: Use) -> Result:
    shares = {f"{ours}_share": 1 - use.number(theirs, 1.0) for ours, theirs in _THIRDS.items()}
    use.note("approximated", "the time embedding is merged with the share of the input blocks")
    return Made("ModelMerge", 1, {**use.take(model="model1", other="model2"), **shares}, ("model",))


_THIRDS = {"input": "input", "middle": "middle", "output": "out"}


def _merge_add(use: Use) -> Result:
    difference = use.source("model2", "ModelMergeSubtract")
    parts = {"other": difference.link("model1"), "base": difference.link("model2")}
    share = difference.number("multiplier", 1.0)
    shares = dict.fromkeys(("input_share", "middle_share", "output_share"), share)
    return Made("ModelMerge", 1, {**use.take(model="model1"), **parts, **shares}, ("model",))


def _merge_clip(use: Use) -> Result:
    inputs = use.take(clip="clip1", other="clip2")
    return Made("ClipMerge", 1, {**inputs, "share": 1 - use.number("ratio", 1.0)}, ("clip",))


def _merge_clip_add(use: Use) -> Result:
    difference = use.source("clip2", "CLIPMergeSubtract")
    parts = {"other": difference.link("clip1"), "base": difference.link("clip2")}
    share = difference.number("multiplier", 1.0)
    return Made("ClipMerge", 1, {**use.take(clip="clip1"), **parts, "share": share}, ("clip",))


# ControlNets


def controlnet_parts(use: Use) -> dict[str, Any]:
    """Return the inputs for the ControlNet and its type, which a node in between sets for a union ControlNet."""
    link = use.link("control_net")
    if use.scene.graph[link.node].type != "SetUnionControlNetType":
        return {"controlnet": link}
    union = use.source("control_net", "SetUnionControlNetType")
    kind = union.value("type", str)
    if kind == "auto":
        return {"controlnet": union.link("control_net")}
    if kind not in UNION_KINDS:
        raise Unmappable(f"a union ControlNet is not used as '{kind}' here: name what its image shows")
    return {"controlnet": union.link("control_net"), "kind": UNION_KINDS[kind]}


def _spanned(use: Use) -> dict[str, Any]:
    """Return the inputs of a ControlNet for both conditionings; its VAE may be absent."""
    names = {"start": "start_percent", "end": "end_percent", **({"vae": "vae"} if "vae" in use.node.inputs else {})}
    return use.take(positive="positive", negative="negative", image="image", strength="strength", **names)


def _controlnet(use: Use) -> Result:
    inputs = {**_spanned(use), **controlnet_parts(use), "resize": "auto"}
    return Made("ApplyControlNet", 1, inputs, ("positive", "negative"))


def _inpaint_controlnet(use: Use) -> Result:
    inputs = {**_spanned(use), **use.take(mask="mask", controlnet="control_net")}
    return Made("ApplyInpaintControlNet", 1, inputs, ("positive", "negative"))


def _controlnet_one(use: Use) -> Result:
    """Convert a ControlNet on one conditioning, which also affects the negative of the sampler."""
    inputs = {**use.take(positive="conditioning", image="image", strength="strength"), **controlnet_parts(use)}
    negative = _negative_of(use)
    if negative is None:
        use.note("approximated", "no sampler uses this conditioning; the ControlNet is not applied to a negative")
        negative = use.link("conditioning")
    return Made("ApplyControlNet", 1, {**inputs, "negative": negative, "resize": "auto"}, ("positive", "negative"))


ONE = "ControlNetApply"


def _negative_of(use: Use) -> Link | None:
    """Return the negative input of a ControlNet: that of the ControlNet before it, or the sampler's negative."""
    before = use.link("conditioning")
    if use.scene.graph[before.node].type == ONE:
        return Link(before.node, 1)
    negative = use.scene.negatives.get(use.node.id)
    if negative is not None and _controlled(use, negative):  # the negative has its own ControlNet; output 1 is not used
        return before
    return negative


def _controlled(use: Use, link: Link) -> bool:
    return use.scene.graph[link.node].type == ONE


def with_controls(use: Use, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return a sampler's inputs, with the negative through the same ControlNets as the positive."""
    positive, negative = inputs.get("positive"), inputs.get("negative")
    if type(positive) is not Link or type(negative) is not Link:
        return inputs
    if _controlled(use, positive) and not _controlled(use, negative):
        return {**inputs, "negative": Link(positive.node, 1)}
    return inputs


def _style_model(use: Use) -> Result:
    """Convert Flux.1 Redux, whose picture and file come from nodes in between."""
    seen, file = use.source("clip_vision_output", "CLIPVisionEncode"), use.source("style_model", "StyleModelLoader")
    if use.value("strength_type", str, "multiply") != "multiply" and use.number("strength", 1.0) != 1:
        raise Unmappable("the strength of a style model multiplies its tokens here")
    fit = {"center": "fill", "none": "stretch"}.get(seen.value("crop", str, "center"), "fill")
    inputs = {**use.take(conditioning="conditioning", strength="strength"), **seen.take(clip_vision="clip_vision")}
    inputs |= {**seen.take(image="image"), "style_model": file.file("style_model_name"), "fit": fit}
    return Made("ApplyStyleModel", 1, inputs, ("conditioning",))


def _perpendicular_inputs(use: Use, model: Link) -> dict[str, Any]:
    return {"model": model, **use.take(empty="empty_conditioning", strength="neg_scale")}


def perpendicular(use: Use) -> tuple[Inner, dict[str, Made]]:
    """Return the model for a guider with a perpendicular negative, and the node that creates it."""
    made = Made("PerpendicularNegative", 1, _perpendicular_inputs(use, use.link("model")))
    return Inner("perpendicular", "model"), {"perpendicular": made}


def _perp_neg(use: Use) -> Result:
    return Made("PerpendicularNegative", 1, _perpendicular_inputs(use, use.link("model")), ("model",))


def _save_checkpoint(use: Use) -> Result:
    inputs = use.take(model="model", clip="clip", vae="vae")
    return Made("SaveCheckpoint", 1, {**inputs, "name": saved_name(use, "checkpoints/ComfyUI")})


def _reroute(use: Use) -> Result:
    return Passed((use.link(""),))


RULES: dict[str, Rule] = {
    "CheckpointLoaderSimple": _checkpoint,
    "CheckpointLoader": _checkpoint,
    "LoraLoader": _lora,
    "LoraLoaderModelOnly": _lora_model,
    "VAELoader": _loader("LoadVAE", "vae", "vae_name", "vae"),
    "ControlNetLoader": _controlnet_loader,
    "DiffControlNetLoader": _controlnet_loader,
    "CLIPVisionLoader": _loader("LoadCLIPVision", "clip_vision", "clip_name", "clip_vision"),
    "UNETLoader": _unet,
    "CLIPLoader": _clip_loader,
    "DualCLIPLoader": _dual_clip,
    "TripleCLIPLoader": _triple_clip,
    "Reroute": _reroute,
    "CheckpointSave": _save_checkpoint,
    "ModelSamplingDiscrete": _prediction,
    "ModelSamplingAuraFlow": _shift,
    "ModelSamplingSD3": _shift,
    "ModelSamplingFlux": _shift_by_size,
    "PatchModelAddDownscale": _deep_shrink,
    "ModelMergeSimple": _merge,
    "ModelMergeBlocks": _merge_blocks,
    "ModelMergeAdd": _merge_add,
    "CLIPMergeSimple": _merge_clip,
    "CLIPMergeAdd": _merge_clip_add,
    "ControlNetApplyAdvanced": _controlnet,
    "ControlNetApplySD3": _controlnet,
    "ControlNetInpaintingAliMamaApply": _inpaint_controlnet,
    "ControlNetApply": _controlnet_one,
    "StyleModelApply": _style_model,
    "RescaleCFG": renamed("CFGRescale", 1, "model", model="model", amount="multiplier"),
    "PerturbedAttentionGuidance": renamed("PerturbedAttention", 1, "model", model="model", scale="scale"),
    "SelfAttentionGuidance": renamed(
        "SelfAttentionGuidance", 1, "model", model="model", scale="scale", blur="blur_sigma"
    ),
    "PerpNeg": _perp_neg,
    "DifferentialDiffusion": _differential,
    "FreeU": _freeu("1"),
    "FreeU_V2": _freeu("2"),
}
FOLDED = frozenset(
    {"ModelMergeSubtract", "CLIPMergeSubtract", "SetUnionControlNetType", "CLIPVisionEncode", "StyleModelLoader"}
)
