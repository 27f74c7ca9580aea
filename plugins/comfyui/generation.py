"""The generation parameters of AUTOMATIC1111, InvokeAI and their relatives, and the workflow that they become."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from latentloom.engine.document.workflow import FORMAT
from latentloom.plugins.comfyui.report import Report


class Source(NamedTuple):
    """The picture that another picture is made from. Files are below the input folder.

    `fit` is that of ImageScale. With a mask (white is repainted), `fill` is what is below it, or empty for the picture
    itself. `padding`: pixels of the surroundings if only the masked part is painted, at full size; None for all.
    """

    picture: str
    mask: str = ""
    inverted: bool = False
    fit: str = "stretch"
    denoise: float = 0.75
    feather: int = 0
    fill: str = ""
    padding: int | None = None


class SecondPass(NamedTuple):
    """A second pass at a larger size. `upscaler` is a file, or empty; `latent`: whether latents are upscaled."""

    factor: float
    steps: int
    denoise: float
    latent: bool
    upscaler: str = ""


class Control(NamedTuple):
    """A ControlNet: its picture below the input folder, its file, and when it acts. `prepared` is a node, or empty."""

    picture: str
    file: str
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    fit: str = "fill"
    prepared: str = ""


@dataclass(slots=True)
class Parameters:
    """Generation parameters. `model`, `vae` and `loras` name files; an empty `vae` is the model's own."""

    source: str
    prompt: str = ""
    negative: str = ""
    model: str = ""
    vae: str = ""
    loras: list[tuple[str, float]] = field(default_factory=list)
    sampler: str = "euler"
    schedule: str = "normal"
    seed: int = 0
    steps: int = 20
    cfg: float = 7.0
    width: int = 512
    height: int = 512
    clip_skip: int = 1
    noise_rule: str = "comfyui_cuda"
    hires: SecondPass | None = None
    image: Source | None = None
    controls: list[Control] = field(default_factory=list)
    variation: tuple[int, float] | None = None  # a second seed, and the share of its noise


def document_of(made: Parameters, report: Report) -> dict[str, Any]:
    """Return the workflow with these parameters: from text or from a picture, with a second pass if there is one."""
    report.note("", "approximated", "step noise and rounding differ from the other program, so details differ")
    nodes, model, clip, vae = _models(made)
    for name, text in (("positive", made.prompt), ("negative", made.negative)):
        nodes[name] = _node("CLIPEncode", 2, clip=clip, text=text, grammar="a1111", clip_skip=min(24, made.clip_skip))
    nodes |= _start(made, vae)
    more, positive, negative = _controls(made)
    nodes |= more
    sampling = {
        "model": model, "positive": positive, "negative": negative,
        "seed": made.seed, "cfg": made.cfg, "sampler": made.sampler, "schedule": made.schedule,
        "noise_rule": made.noise_rule,
    }  # fmt: skip
    first = {"latent": _edge("masked" if "masked" in nodes else "empty", "latent"), "steps": made.steps}
    first |= {"denoise": made.image.denoise} if made.image else {}
    if made.variation is not None:
        nodes |= _variation(made.variation, made, first["latent"])
        first["noise"] = _edge("noise", "latent")
    nodes["sample"] = _node("KSampler", **sampling, **first)
    last = "sample"
    if made.hires is not None:
        nodes |= _second_pass(made, made.hires, sampling, vae)
        last = "refine"
    nodes["decode"] = _node("VAEDecode", vae=vae, latent=_edge(last, "latent"))
    nodes["save"] = _node("SaveImage", images=_finished(nodes))
    return {"format": FORMAT, "nodes": nodes, "inputs": _inputs(nodes), "outputs": [_output()]}


def _models(made: Parameters) -> tuple[dict[str, Any], Any, Any, Any]:
    """Return the loaders, and the edges of model, CLIP and VAE."""
    nodes: dict[str, Any] = {"checkpoint": _node("LoadCheckpoint", checkpoint=made.model)}
    model, clip, vae = (_edge("checkpoint", output) for output in ("model", "clip", "vae"))
    for n, (name, weight) in enumerate(made.loras, 1):
        strength = max(-10.0, min(10.0, weight))
        lora: dict[str, Any] = {"lora": name, "model_strength": strength, "clip_strength": strength}
        nodes[f"lora-{n}"] = _node("LoadLora", model=model, clip=clip, **lora)
        model, clip = _edge(f"lora-{n}", "model"), _edge(f"lora-{n}", "clip")
    if made.vae:
        nodes["vae"] = _node("LoadVAE", vae=made.vae)
        vae = _edge("vae", "vae")
    return nodes, model, clip, vae


def _controls(made: Parameters) -> tuple[dict[str, Any], Any, Any]:
    """Return the nodes of the ControlNets, and the edges of both conditionings."""
    nodes: dict[str, Any] = {}
    ends = {name: _edge(name, "conditioning") for name in ("positive", "negative")}
    for n, one in enumerate(made.controls, 1):
        name = f"control-{n}"
        nodes[f"{name}-net"] = _node("LoadControlNet", controlnet=one.file)
        nodes[f"{name}-picture"] = _node("LoadImage", image=one.picture, alpha="drop")
        image = _edge(f"{name}-picture", "image")
        if one.prepared:
            nodes[f"{name}-prepared"] = _node(one.prepared, image=image)
            image = _edge(f"{name}-prepared", "image")
        acts: dict[str, Any] = {"strength": one.strength, "start": one.start, "end": one.end, "fit": one.fit}
        net = _edge(f"{name}-net", "controlnet")
        nodes[name] = _node("ApplyControlNet", **ends, controlnet=net, image=image, **acts)
        ends = {end: _edge(name, end) for end in ends}
    return nodes, ends["positive"], ends["negative"]


def _variation(variation: tuple[int, float], made: Parameters, latent: Any) -> dict[str, Any]:
    """Return the nodes that mix the noises of two seeds by spherical interpolation."""
    seeds = {"noise-1": made.seed, "noise-2": variation[0]}
    nodes = {id: _node("Noise", latent=latent, seed=seed, noise_rule=made.noise_rule) for id, seed in seeds.items()}
    both: dict[str, Any] = {"a": _edge("noise-1", "latent"), "b": _edge("noise-2", "latent")}
    return {**nodes, "noise": _node("NoiseBlend", **both, amount=variation[1])}


def with_loras(document: Mapping[str, Any], loras: list[tuple[str, float]]) -> Mapping[str, Any] | None:
    """Return a workflow with LoRAs after its one checkpoint; None if it has not exactly one."""
    nodes = document["nodes"]
    loaders = [id for id, node in nodes.items() if node["type"] == "LoadCheckpoint"]
    if len(loaders) != 1:
        return None
    chain, _, _, _ = _models(Parameters("", loras=loras))
    names = {id: _free(f"{loaders[0]}-{id}", nodes) for id in chain if id != "checkpoint"} | {"checkpoint": loaders[0]}
    last = names[list(chain)[-1]]
    moved = {output: {"node": last, "output": output} for output in ("model", "clip")}
    changed = {id: {**node, "inputs": _moved(node.get("inputs", {}), loaders[0], moved)} for id, node in nodes.items()}
    for id, node in chain.items():
        if id != "checkpoint":
            inputs = {name: _renamed(value, names) for name, value in node["inputs"].items()}
            changed[names[id]] = {**node, "inputs": inputs}
    return {**document, "nodes": changed}


def _free(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _free(f"{name}-2", taken)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    return {**value, "node": names[value["node"]]} if type(value) is dict else value


def _moved(value: Any, loader: str, moved: Mapping[str, Any]) -> Any:
    """Return a value with the edges from a loader's outputs moved."""
    if type(value) is list:
        return [_moved(item, loader, moved) for item in value]
    if type(value) is not dict:
        return value
    if value.keys() == {"node", "output"}:
        return moved.get(value["output"], value) if value["node"] == loader else value
    return value if value.keys() == {"literal"} else {name: _moved(item, loader, moved) for name, item in value.items()}


def _start(made: Parameters, vae: Any) -> dict[str, Any]:
    """Return the nodes that make the first latent: `empty`, or `masked` with a mask."""
    sides: dict[str, Any] = {name: rounded(side) for name, side in (("width", made.width), ("height", made.height))}
    image = made.image
    if image is None:
        return {"empty": _node("EmptyLatent", **sides, batch=1)}
    nodes = {"picture": _node("LoadImage", image=image.picture, alpha="drop")}
    if not image.mask:
        nodes["fit"] = _node("ImageScale", image=_edge("picture", "image"), **sides, fit=image.fit)
        return {**nodes, "empty": _node("VAEEncode", vae=vae, image=_edge("fit", "image"))}
    return {**nodes, **_masked(image, sides, vae)}


def _masked(image: Source, sides: Mapping[str, Any], vae: Any) -> dict[str, Any]:
    nodes = {"mask": _node("LoadMask", image=image.mask, channel="luminance", invert=image.inverted)}
    mask, picture = _edge("mask", "mask"), _edge("picture", "image")
    if image.padding is None:
        more: dict[str, Any] = {"fit": image.fit}
        nodes["fit"] = _node("ImageScale", image=picture, mask=mask, **sides, **more)
        picture, mask = _edge("fit", "image"), _edge("fit", "mask")
    if image.feather:
        nodes["soft"] = _node("MaskFeather", mask=mask, pixels=image.feather)
        mask = _edge("soft", "mask")
    if image.padding is not None:
        nodes["crop"] = _node("InpaintCrop", image=picture, mask=mask, **sides, context=image.padding)
        picture, mask = _edge("crop", "image"), _edge("crop", "mask")
    if image.fill:
        nodes["fill"] = _node("InpaintFill", image=picture, mask=mask, fill=image.fill)
        picture = _edge("fill", "image")
    nodes["encode"] = _node("VAEEncode", vae=vae, image=picture)
    nodes["masked"] = _node("SetLatentMask", latent=_edge("encode", "latent"), mask=mask, resize="cover")
    return nodes


def _finished(nodes: dict[str, Any]) -> Any:
    """Return the edge of the finished picture. Outside of a mask it is the picture that it was made from."""
    if "masked" not in nodes:
        return _edge("decode", "image")
    mask = _edge("soft", "mask") if "soft" in nodes else nodes["masked"]["inputs"]["mask"]
    made = _edge("decode", "image")
    if "crop" in nodes:
        crop = nodes["crop"]["inputs"]
        back = {"image": crop["image"], "part": made, "mask": crop["mask"], "region": _edge("crop", "region")}
        nodes["whole"] = _node("InpaintStitch", **back)
    else:
        nodes["whole"] = _node("ImageComposite", image=_edge("fit", "image"), over=made, mask=mask)
    return _edge("whole", "image")


def _second_pass(made: Parameters, hires: SecondPass, sampling: Mapping[str, Any], vae: Any) -> dict[str, Any]:
    first = _edge("sample", "latent")
    if hires.latent:
        nodes = {"enlarge": _node("LatentUpscale", latent=first, width=0, height=0, factor=hires.factor)}
    else:
        nodes = {"first": _node("VAEDecode", vae=vae, latent=first), **_larger(made, hires)}
        nodes["enlarge"] = _node("VAEEncode", vae=vae, image=_edge("larger", "image"))
    more: dict[str, Any] = {
        "latent": _edge("enlarge", "latent"),
        "steps": hires.steps,
        "denoise": min(1.0, max(0.0, hires.denoise)),
    }
    return {**nodes, "refine": _node("KSampler", **sampling, **more)}


def _larger(made: Parameters, hires: SecondPass) -> dict[str, Any]:
    if not hires.upscaler:
        return {"larger": _node("ImageScale", image=_edge("first", "image"), factor=hires.factor, multiple_of=8)}
    width, height = (rounded(hires.factor * side) for side in (made.width, made.height))
    return {
        "upscale": _node("UpscaleWithModel", image=_edge("first", "image"), upscaler=hires.upscaler),
        "larger": _node("ImageScale", image=_edge("upscale", "image"), width=width, height=height),
    }


def rounded(side: float) -> int:
    """Return a side in pixels as a multiple of 8."""
    return max(8, round(side / 8) * 8)


def _node(type: str, version: int = 1, /, **inputs: Any) -> dict[str, Any]:
    return {"type": type, "version": version, "inputs": inputs}


def _edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def _inputs(nodes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the named inputs of the workflow. Inputs that both passes share are set for both."""
    passes = [id for id in ("sample", "refine") if id in nodes]
    targets = {"prompt": [("positive", "text")], "negative": [("negative", "text")]}
    targets |= {name: [(id, name) for id in passes] for name in ("seed", "steps", "cfg")}
    targets["seed"] += [("noise-1", "seed")] if "noise-1" in nodes else []
    return [
        {"name": name, "to": [{"node": node, "input": input} for node, input in found]}
        for name, found in targets.items()
    ]


def _output() -> dict[str, Any]:
    return {"name": "image", "from": _edge("save", "images")}
