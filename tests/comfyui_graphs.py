"""ComfyUI graphs in its API format as Latentloom workflows, as far as the reference cases need them."""

from typing import Any

RULE = "comfyui_0_3"
Edge = dict[str, str]
OUTPUTS = {
    "CheckpointLoaderSimple": ("model", "clip", "vae"),
    "CLIPTextEncode": ("conditioning",),
    "EmptyLatentImage": ("latent",),
    "LoadImage": ("image", "mask"),
    "LoadImageMask": ("mask",),
    "VAEEncode": ("latent",),
    "SetLatentNoiseMask": ("latent",),
    "KSampler": ("latent",),
    "KSamplerAdvanced": ("latent",),
    "LatentUpscale": ("latent",),
    "ConditioningCombine": ("conditioning",),
    "ConditioningSetMask": ("conditioning",),
    "ConditioningSetArea": ("conditioning",),
    "ConditioningConcat": ("conditioning",),
    "ConditioningAverage": ("conditioning",),
    "RescaleCFG": ("model",),
    "FreeU": ("model",),
    "PerturbedAttentionGuidance": ("model",),
    "DifferentialDiffusion": ("model",),
}


def workflow(graph: dict[str, Any]) -> dict[str, Any]:
    """The workflow whose output "latent" is what the graph's node "sl" saves."""
    nodes = {
        id: _node(graph, node)
        for id, node in graph.items()
        if node["class_type"] not in ("SaveLatent", "CLIPSetLastLayer")
    }
    latent = _edge(graph, graph["sl"]["inputs"]["samples"])
    return {"format": "latentloom/1", "nodes": nodes, "outputs": [{"name": "latent", "from": latent}]}


def _edge(graph: dict[str, Any], link: list[Any]) -> Edge:
    node = graph[link[0]]
    if node["class_type"] == "CLIPSetLastLayer":
        return _edge(graph, node["inputs"]["clip"])
    return {"node": link[0], "output": OUTPUTS[node["class_type"]][link[1]]}


def _node(graph: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    told = {name: _edge(graph, value) if isinstance(value, list) else value for name, value in node["inputs"].items()}
    type, version, inputs = _translated(node["class_type"], told)
    if type == "CLIPEncode":
        before = graph[node["inputs"]["clip"][0]]
        skip = before["inputs"].get("stop_at_clip_layer", -1)
        inputs = {**inputs, "clip_skip": -skip}
    return {"type": type, "version": version, "inputs": inputs}


def _translated(type: str, told: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
    match type:
        case "CheckpointLoaderSimple":
            return "LoadCheckpoint", 1, {"checkpoint": told["ckpt_name"]}
        case "CLIPTextEncode":
            return "CLIPEncode", 2, {**told, "grammar": "comfyui"}
        case "EmptyLatentImage":
            return "EmptyLatent", 1, {"width": told["width"], "height": told["height"], "batch": told["batch_size"]}
        case "LoadImage":
            return type, 1, told
        case "LoadImageMask":
            return "LoadMask", 1, told
        case "VAEEncode":
            return type, 1, {"vae": told["vae"], "image": told["pixels"]}
        case "SetLatentNoiseMask":
            return "SetLatentMask", 1, {"latent": told["samples"], "mask": told["mask"]}
        case "KSampler" | "KSamplerAdvanced":
            return type, 1, _sampler(told)
        case "LatentUpscale":
            method = told["upscale_method"].removesuffix("-exact")
            sizes = {name: told[name] for name in ("width", "height")}
            return type, 1, {"latent": told["samples"], "method": method, **sizes}
        case "ConditioningCombine":
            return type, 1, {"conditionings": [told["conditioning_1"], told["conditioning_2"]]}
        case "ConditioningSetMask":
            return "ConditioningMask", 1, {name: told[name] for name in ("conditioning", "mask", "strength")}
        case "ConditioningSetArea":
            return "ConditioningArea", 1, {**told, "crop_other": True}
        case "ConditioningConcat":
            return type, 1, {"to": told["conditioning_to"], "extra": told["conditioning_from"]}
        case "ConditioningAverage":
            amount = 1 - told["conditioning_to_strength"]
            return type, 1, {"a": told["conditioning_to"], "b": told["conditioning_from"], "amount": amount}
        case "RescaleCFG":
            return "CFGRescale", 1, {"model": told["model"], "amount": told["multiplier"]}
        case "FreeU":
            return type, 2, told
        case "PerturbedAttentionGuidance":
            return "PerturbedAttention", 1, told
        case "DifferentialDiffusion":
            return type, 1, {**told, "by": "time"}
    raise KeyError(type)


def _sampler(told: dict[str, Any]) -> dict[str, Any]:
    same = ("model", "positive", "negative", "cfg", "steps", "denoise", "seed")
    names = {
        "sampler_name": "sampler",
        "scheduler": "schedule",
        "latent_image": "latent",
        "noise_seed": "seed",
        "start_at_step": "start_step",
        "end_at_step": "end_step",
        **{name: name for name in same},
    }
    switches = {"add_noise": "add_noise", "return_with_leftover_noise": "leftover_noise"}
    found = {names[name]: value for name, value in told.items() if name in names}
    return {
        **found,
        "noise_rule": RULE,
        **{to: told[name] == "enable" for name, to in switches.items() if name in told},
    }
