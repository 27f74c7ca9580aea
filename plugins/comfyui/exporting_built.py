"""Writes nodes for models, conditionings, latents, sampling and values as ComfyUI's classes."""

from math import log
from string import ascii_lowercase
from typing import Any

from latentloom.plugins.comfyui.exporting_writing import FILTERS, Built, Writing, built

CASES = {"upper": "UPPERCASE", "lower": "lowercase", "capitalized": "Capitalize", "title": "Title Case"}
TRIMS = {"trimmed": "Both", "trimmed_left": "Left", "trimmed_right": "Right"}
PREDICTIONS = {"epsilon": "eps", "v": "v_prediction", "sample": "x0", "lcm": "lcm"}
LOADERS = (("clip_name",), ("clip_name1", "clip_name2"), ("clip_name1", "clip_name2", "clip_name3"))
FAMILIES = {
    "krea": "krea2", "flux2": "flux2", "flux-2": "flux2", "flux.2": "flux2", "chroma": "chroma", "z_image": "lumina2",
    "z-image": "lumina2", "qwen": "qwen_image", "sd3": "sd3", "flux": "flux",
}  # fmt: skip
"""ComfyUI's names of what text encoders are for, by a part of the name of the model's file or of theirs."""
OWN_SAMPLERS = {"pndm": "ipndm"}  # samplers that ComfyUI lacks, with what comes nearest
OWN_SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "ays_sd1": ("AlignYourStepsScheduler", {"model_type": "SD1"}),
    "ays_sdxl": ("AlignYourStepsScheduler", {"model_type": "SDXL"}),
    "sd_turbo": ("SDTurboScheduler", {}),
    "laplace": ("LaplaceScheduler", {"sigma_max": 14.614642, "sigma_min": 0.0291675, "mu": 0.0, "beta": 0.5}),
}
"""Schedules that ComfyUI's lists lack, with the classes that make them there."""


@built("conditioning", "conditionings")
def _combine(use: Writing) -> tuple[str, dict[str, Any]]:
    name = "ConditioningCombine"
    return name, use.chain(name, "conditioning_1", "conditioning_2", use.items("conditionings"))


@built("image", "images")
def _join(use: Writing) -> tuple[str, dict[str, Any]]:
    images = use.items("images")
    if len(images) == 2:
        return "ImageBatch", {"image1": images[0], "image2": images[1]}
    return "BatchImagesNode", {f"images.image{number}": image for number, image in enumerate(images)}


@built("value", "texts separator")
def _join_texts(use: Writing) -> tuple[str, dict[str, Any]]:
    between = {"delimiter": use.value(use.given["separator"])}
    return "StringConcatenate", use.chain("StringConcatenate", "string_a", "string_b", use.items("texts"), **between)


@built("conditioning", "a b amount")
def _average(use: Writing) -> tuple[str, dict[str, Any]]:
    share = {"conditioning_to_strength": _rest(use, "amount")}
    return "ConditioningAverage", {**use.named("a=conditioning_to b=conditioning_from"), **share}


@built("latent", "a b amount")
def _blend(use: Writing) -> tuple[str, dict[str, Any]]:
    share = {"blend_factor": _rest(use, "amount"), "blend_mode": "normal"}
    return "LatentBlend", {**use.named("a=samples1 b=samples2"), **share}


def _rest(use: Writing, name: str) -> Any:
    """Return 1 minus a share, as ComfyUI counts it; by a node of its own if it is calculated."""
    value = use.value(use.given[name])
    if isinstance(value, list):
        return use.add("rest", "ComfyMathExpression", {"expression": "1 - a", "values.a": value})
    return round(1 - value, 12)


@built("conditioning", "conditioning start end")
def _times(use: Writing) -> tuple[str, dict[str, Any]]:
    use.note("changed", "start and end are shares of the model's time in ComfyUI, and of the steps here")
    return "ConditioningSetTimestepRange", use.named("conditioning start end")


@built("model", "model b1 b2 s1 s2 method")
def _freeu(use: Writing) -> tuple[str, dict[str, Any]]:
    return "FreeU_V2" if use.option("method") == "2" else "FreeU", use.named("model b1 b2 s1 s2")


@built("model", "model depth factor start end method")
def _shrink(use: Writing) -> tuple[str, dict[str, Any]]:
    names = "model depth=block_number factor=downscale_factor start=start_percent end=end_percent"
    way = FILTERS.get(use.option("method"), use.option("method"))
    methods = {"downscale_after_skip": True, "downscale_method": way, "upscale_method": way}
    return "PatchModelAddDownscale", {**use.named(names), **methods}


@built("model", "model prediction zero_snr")
def _prediction(use: Writing) -> tuple[str, dict[str, Any]]:
    return "ModelSamplingDiscrete", {
        **use.named("model zero_snr=zsnr"),
        "sampling": PREDICTIONS[use.option("prediction")],
    }


@built("latent", "latent width height method factor")
def _upscale(use: Writing) -> tuple[str, dict[str, Any]]:
    method = {"upscale_method": FILTERS.get(use.option("method"), use.option("method"))}
    if use.given["width"] == use.given["height"] == 0:
        return "LatentUpscaleBy", {**use.named("latent=samples factor=scale_by"), **method}
    return "LatentUpscale", {**use.named("latent=samples width height"), **method, "crop": "disabled"}


@built("latent", "latent over x y feather mask")
def _composite(use: Writing) -> tuple[str, dict[str, Any]]:
    if use.given.get("mask") is None:
        return "LatentComposite", use.named("latent=samples_to over=samples_from x y feather")
    if use.option("feather"):
        use.note("lost", "'feather' has no counterpart there beside a mask")
    return "LatentCompositeMasked", {**use.named("latent=destination over=source x y mask"), "resize_source": False}


@built("high low", "sigmas step denoise")
def _split(use: Writing) -> tuple[str, dict[str, Any]]:
    if use.option("denoise"):
        return "SplitSigmasDenoise", {"sigmas": _sigmas(use), **use.named("denoise")}
    return "SplitSigmas", {"sigmas": _sigmas(use), **use.named("step")}


@built("values", "sigmas sigma")
def _first(use: Writing) -> tuple[str, dict[str, Any]]:
    return "SetFirstSigma", {"sigmas": _sigmas(use), **use.named("sigma")}


def _sigmas(use: Writing) -> Any:
    given = use.given["sigmas"]
    if isinstance(given, (list, tuple)) and all(isinstance(one, (int, float)) for one in given):
        return use.add("sigmas", "ManualSigmas", {"sigmas": ", ".join(f"{one:.9g}" for one in given)})
    return use.value(given)


def sampler(use: Writing) -> dict[str, Any]:
    """Return ComfyUI's name of the sampler, or of one that comes near."""
    name = use.value(use.given["sampler"])
    if name in OWN_SAMPLERS:
        use.note("changed", f"ComfyUI lacks the sampler '{name}'; '{OWN_SAMPLERS[name]}' comes near")
        name = OWN_SAMPLERS[name]
    return {"sampler_name": name}


@built("latent", "model positive negative latent steps cfg sampler schedule seed denoise")
def _sample(use: Writing) -> tuple[str, dict[str, Any]]:
    common = use.named("model positive negative latent=latent_image cfg")
    if use.given["schedule"] not in OWN_SCHEDULES:
        return "KSampler", {**common, **use.named("steps schedule=scheduler seed denoise"), **sampler(use)}
    parts = {
        "sampler": use.add("sampler", "KSamplerSelect", sampler(use)),
        "sigmas": use.add("sigmas", *_sigmas_of(use)),
    }
    return "SamplerCustom", {**common, **parts, **use.named("seed=noise_seed"), "add_noise": True}


@built("values", "model schedule steps denoise")
def _schedule(use: Writing) -> tuple[str, dict[str, Any]]:
    return _sigmas_of(use)


def _sigmas_of(use: Writing) -> tuple[str, dict[str, Any]]:
    if use.given["schedule"] not in OWN_SCHEDULES:
        return "BasicScheduler", use.named("model schedule=scheduler steps denoise")
    name, fixed = OWN_SCHEDULES[use.given["schedule"]]
    if use.given["denoise"] != 1:
        use.note("changed", "with a denoise below 1, ComfyUI takes other steps of this schedule")
    reads = {"SDTurboScheduler": "model steps denoise", "LaplaceScheduler": "steps"}.get(name, "steps denoise")
    return name, {**use.named(reads), **fixed}


@built("latent", "model positive negative latent sigmas sampler seed cfg add_noise eta s_noise churn")
def _custom(use: Writing) -> tuple[str, dict[str, Any]]:
    changed = [name for name, usual in (("eta", 1.0), ("s_noise", 1.0), ("churn", 0.0)) if use.given[name] != usual]
    if changed:
        use.note("lost", f"the options of the sampler: {', '.join(changed)}")
    parts = {"sampler": use.add("sampler", "KSamplerSelect", sampler(use)), "sigmas": _sigmas(use)}
    type, second = use.behind("model") or ("", use)
    if type == "TwoPromptGuidance":
        return "SamplerCustomAdvanced", {**_by_two_prompts(use, second), **use.named("latent=latent_image"), **parts}
    return "SamplerCustom", {
        **use.named("model positive negative latent=latent_image seed=noise_seed cfg add_noise"),
        **parts,
    }


def _by_two_prompts(use: Writing, second: Writing) -> dict[str, Any]:
    """Return the guider and the noise for a sampler whose model is guided by two prompts."""
    given = use.named("positive=cond1 negative cfg=cfg_conds")
    guided = {**second.named("model second=cond2 cfg=cfg_cond2_negative"), **given, "style": "regular"}
    noise = use.add("noise", "RandomNoise", use.named("seed=noise_seed"))
    if use.option("add_noise") is False:
        noise = use.add("none", "DisableNoise", {})
    return {"noise": noise, "guider": use.add("guider", "DualCFGGuider", guided)}


@built("clip", "text_encoder second third model")
def _clip(use: Writing) -> tuple[str, dict[str, Any]]:
    files = [use.value(use.given[name]) for name in ("text_encoder", "second", "third") if use.given.get(name)]
    inputs = dict(zip(LOADERS[max(0, len(files) - 1)], files, strict=False))
    if len(files) == 3:
        return "TripleCLIPLoader", inputs
    type = _meant(use, files)
    use.note("changed", f"ComfyUI asks what the text encoder is for; '{type}' is a guess by the names of the files")
    return ("CLIPLoader" if len(files) < 2 else "DualCLIPLoader"), {**inputs, "type": type, "device": "default"}


def _meant(use: Writing, files: list[Any]) -> str:
    """Return what text encoders are for, by the file of the model that they are loaded for, else by theirs."""
    loader, model = use.behind("model") or ("", use)
    for names in ([model.given.get("unet")] if loader == "LoadUNet" else [], files):
        text = " ".join(map(str, names)).lower()
        found = next((theirs for part, theirs in FAMILIES.items() if part in text), None)
        if found is not None:
            return found
    return "stable_diffusion" if len(files) < 2 else "sdxl"


@built("width height", "aspect upright megapixels multiple_of")
def _shape(use: Writing) -> tuple[str, dict[str, Any]]:
    long, short = map(int, use.option("aspect").split(":"))
    ratio = short / long if use.option("upright") else long / short
    found = min(SHAPES, key=lambda name: abs(log(SHAPES[name] / ratio)))
    if abs(SHAPES[found] - ratio) > 1e-9:
        use.note("changed", f"ComfyUI's list lacks this shape; '{found}' comes near")
    return "ResolutionSelector", {"aspect_ratio": found, **use.named("megapixels multiple_of=multiple")}


SHAPES = {
    "1:1 (Square)": 1.0, "3:2 (Photo)": 3 / 2, "4:3 (Standard)": 4 / 3, "16:9 (Widescreen)": 16 / 9,
    "21:9 (Ultrawide)": 21 / 9, "2:3 (Portrait Photo)": 2 / 3, "3:4 (Portrait Standard)": 3 / 4,
    "9:16 (Portrait Widescreen)": 9 / 16,
}  # fmt: skip


@built("latent", "latents")
def _latents(use: Writing) -> tuple[str, dict[str, Any]]:
    return "LatentBatch", use.chain("LatentBatch", "samples1", "samples2", use.items("latents"))


@built("model", "model other base input_share middle_share output_share")
def _merge(use: Writing) -> tuple[str, dict[str, Any]]:
    shares = [use.given[f"{part}_share"] for part in ("input", "middle", "output")]
    if use.given.get("base") is not None:
        if len(set(map(str, shares))) > 1:
            use.note("lost", "ComfyUI adds a difference with one share: that of the input blocks")
        difference = {**use.named("other=model1 base=model2"), "multiplier": use.value(shares[0])}
        return "ModelMergeAdd", {
            **use.named("model=model1"),
            "model2": use.add("add", "ModelMergeSubtract", difference),
        }
    inputs = use.named("model=model1 other=model2")
    if len(set(map(str, shares))) == 1:
        return "ModelMergeSimple", {**inputs, "ratio": _rest(use, "input_share")}
    rest = {
        theirs: _rest(use, f"{ours}_share")
        for ours, theirs in (("input", "input"), ("middle", "middle"), ("output", "out"))
    }
    return "ModelMergeBlocks", {**inputs, **rest}


@built("clip", "clip other base share")
def _merge_clip(use: Writing) -> tuple[str, dict[str, Any]]:
    if use.given.get("base") is None:
        return "CLIPMergeSimple", {**use.named("clip=clip1 other=clip2"), "ratio": _rest(use, "share")}
    difference = {**use.named("other=clip1 base=clip2"), "multiplier": use.value(use.given["share"])}
    return "CLIPMergeAdd", {**use.named("clip=clip1"), "clip2": use.add("add", "CLIPMergeSubtract", difference)}


# Values


@built("value", "options index name")
def _choice(use: Writing) -> tuple[str, dict[str, Any]]:
    options = [line.strip() for line in str(use.option("options")).splitlines() if line.strip()]
    index = use.option("index") if isinstance(use.option("index"), int) else 0
    named = use.value(use.given["name"]) or (options[index] if index < len(options) else "")
    numbered = {f"option{number}": option for number, option in enumerate(options, 1)}
    return "CustomCombo", {"choice": named, "index": index, **numbered}


@built("number whole truth", "expression values")
def _calculation(use: Writing) -> tuple[str, dict[str, Any]]:
    return "ComfyMathExpression", {**use.named("expression"), **_lettered(use)}


@built("value", "template values")
def _format(use: Writing) -> tuple[str, dict[str, Any]]:
    return "StringFormat", {**use.named("template=f_string"), **_lettered(use)}


def _lettered(use: Writing) -> dict[str, Any]:
    return {f"values.{letter}": value for letter, value in zip(ascii_lowercase, use.items("values"), strict=False)}


@built("text", "text pattern which group ignore_case multiline dot_all")
def _find(use: Writing) -> tuple[str, dict[str, Any]]:
    words = "First" if use.option("which") == "first" else "All"
    group = use.option("group")
    mode = f"{words} {'Group' if group else 'Match'}{'s' * (words == 'All' and bool(group))}"
    mode = "All Matches" if mode == "All Match" else mode
    return "RegexExtract", {**_pattern(use), "mode": mode, "group_index": group or 1}


def _pattern(use: Writing) -> dict[str, Any]:
    return use.named("text=string pattern=regex_pattern ignore_case=case_insensitive multiline dot_all=dotall")


@built("value", "text pattern replace count ignore_case multiline dot_all")
def _replace(use: Writing) -> tuple[str, dict[str, Any]]:
    return "RegexReplace", {**_pattern(use), **use.named("replace count")}


@built("value", "text to")
def _changed(use: Writing) -> tuple[str, dict[str, Any]]:
    to = use.option("to")
    name = "StringTrim" if to in TRIMS else "CaseConverter"
    return name, {**use.named("text=string"), "mode": {**TRIMS, **CASES}[to]}


@built("value", "a b how ignore_case")
def _compare(use: Writing) -> tuple[str, dict[str, Any]]:
    case, how = {"case_sensitive": not use.option("ignore_case")}, use.option("how")
    if how == "contains":
        return "StringContains", {**use.named("a=string b=substring"), **case}
    mode = {"equal": "Equal", "starts_with": "Starts With", "ends_with": "Ends With"}[how]
    return "StringCompare", {**use.named("a=string_a b=string_b"), "mode": mode, **case}


VALUES: dict[str, Built] = {
    "LoadCLIP": _clip,
    "ModelMerge": _merge,
    "ClipMerge": _merge_clip,
    "SetPrediction": _prediction,
    "FreeU": _freeu,
    "DeepShrink": _shrink,
    "ConditioningCombine": _combine,
    "ConditioningAverage": _average,
    "ConditioningTimes": _times,
    "LatentUpscale": _upscale,
    "LatentBlend": _blend,
    "LatentComposite": _composite,
    "SplitSigmas": _split,
    "SetFirstSigma": _first,
    "SampleCustom": _custom,
    "KSampler": _sample,
    "Sigmas": _schedule,
    "PictureShape": _shape,
    "JoinLatents": _latents,
    "JoinImages": _join,
    "JoinText": _join_texts,
    "Choice": _choice,
    "Calculate": _calculation,
    "FormatText": _format,
    "FindPattern": _find,
    "ReplacePattern": _replace,
    "ChangeText": _changed,
    "CompareText": _compare,
}
