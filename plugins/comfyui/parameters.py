"""Imports the generation parameters that AUTOMATIC1111 (also Forge and other forks) and InvokeAI embed in pictures."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from latentloom.engine.document.strict_json import parse
from latentloom.engine.document.workflow import FORMAT
from latentloom.engine.errors import LoomError, brief
from latentloom.plugins.comfyui.carriers import texts_in
from latentloom.plugins.comfyui.report import Report, counted

MAX_TEXT = 1_000_000
SAMPLERS = {
    "euler a": "euler_ancestral", "euler": "euler", "lms": "lms", "heun": "heun", "dpm2": "dpm_2",
    "dpm2 a": "dpm_2_ancestral", "dpm++ 2s a": "dpmpp_2s_ancestral", "dpm++ 2m": "dpmpp_2m",
    "dpm++ sde": "dpmpp_sde", "dpm++ 2m sde": "dpmpp_2m_sde", "dpm++ 2m sde heun": "dpmpp_2m_sde_heun",
    "dpm++ 3m sde": "dpmpp_3m_sde", "ddim": "ddim", "plms": "pndm", "unipc": "uni_pc", "lcm": "lcm",
}  # fmt: skip
SCHEDULES = {
    "karras": "karras", "exponential": "exponential", "sgm uniform": "sgm_uniform", "kl optimal": "kl_optimal",
    "simple": "simple", "normal": "normal", "uniform": "normal", "ddim": "ddim_uniform", "beta": "beta",
}  # fmt: skip
KARRAS = frozenset({
    "dpmpp_2m", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_2s_ancestral", "dpm_2", "dpm_2_ancestral",
    "lms",
})  # fmt: skip  # the meaning of "Automatic"
INVOKE_SAMPLERS = {
    "euler": ("euler", "normal"), "euler_k": ("euler", "karras"), "euler_a": ("euler_ancestral", "normal"),
    "heun": ("heun", "normal"), "heun_k": ("heun", "karras"), "dpmpp_2m": ("dpmpp_2m", "normal"),
    "dpmpp_2m_k": ("dpmpp_2m", "karras"), "dpmpp_2m_sde": ("dpmpp_2m_sde", "normal"),
    "dpmpp_2m_sde_k": ("dpmpp_2m_sde", "karras"), "dpmpp_sde": ("dpmpp_sde", "normal"),
    "dpmpp_sde_k": ("dpmpp_sde", "karras"), "dpmpp_3m": ("dpmpp_3m_sde", "normal"),
    "dpmpp_3m_k": ("dpmpp_3m_sde", "karras"), "ddim": ("ddim", "normal"), "ddpm": ("ddpm", "normal"),
    "lms": ("lms", "normal"), "lms_k": ("lms", "karras"), "pndm": ("pndm", "normal"), "unipc": ("uni_pc", "normal"),
    "unipc_k": ("uni_pc", "karras"), "lcm": ("lcm", "normal"), "kdpm_2": ("dpm_2", "normal"),
    "kdpm_2_a": ("dpm_2_ancestral", "normal"),
}  # fmt: skip
_PAIR = re.compile(r'([A-Za-z][\w +/-]{0,60}):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_LORA = re.compile(r"<lora:([^:<>]{1,200})(?::(-?\d{0,3}(?:\.\d{1,6})?))?(?::[^<>]{0,100})?>")
_TAG = re.compile(r"<(?:hypernet|lyco):[^<>]{0,300}>")
_SIZE = re.compile(r"\s*(\d{1,5})\s*x\s*(\d{1,5})\s*\Z")


@dataclass(slots=True)
class Parameters:
    """The generation parameters of a picture. Unknown parameters have the default of the program."""

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
    hires: tuple[float, int, float, bool] | None = None  # factor, steps, denoise, whether latents are upscaled


def import_picture(data: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the workflow document for a picture's parameters, and the report; None for other files."""
    texts = texts_in(data, ("parameters", "invokeai_metadata"))
    if "parameters" in texts and "Steps: " in texts["parameters"][-MAX_TEXT:]:
        report = Report("AUTOMATIC1111, parameters")
        return document_of(_a1111(texts["parameters"][:MAX_TEXT], report), report), report.record()
    try:
        known = parse(texts["invokeai_metadata"]) if "invokeai_metadata" in texts else None
    except LoomError:
        return None
    if type(known) is not dict or "positive_prompt" not in known:
        return None
    report = Report("InvokeAI, parameters")
    return document_of(_invoke(known, report), report), report.record()


# AUTOMATIC1111: the prompt, the negative prompt, and a line of pairs


def _a1111(text: str, report: Report) -> Parameters:
    body, _, last = text.strip().rpartition("\n")
    prompt, _, negative = body.partition("\nNegative prompt:")
    if body.startswith("Negative prompt:"):
        prompt, negative = "", body.removeprefix("Negative prompt:")
    pairs = {name.strip(): value.strip() for name, value in _PAIR.findall(last)}
    given = _Given(pairs, report)
    found = Parameters(report.source, negative=negative.strip())
    found.prompt, found.loras = _without_loras(prompt.strip(), report)
    found.negative = _TAG.sub("", found.negative)
    found.sampler, found.schedule = _sampler(given, report)
    found.steps, found.seed = given.whole("Steps", 20), given.whole("Seed", 0)
    found.cfg, found.clip_skip = given.number("CFG scale", 7.0), max(1, given.whole("Clip skip", 1))
    size = _SIZE.match(given.text("Size", "512x512"))
    found.width, found.height = (int(size[1]), int(size[2])) if size else (512, 512)
    found.model, found.vae = given.text("Model", ""), given.text("VAE", "")
    if given.text("RNG", "GPU") != "GPU":
        found.noise_rule = "comfyui"
    found.hires = _hires(given, found.steps, report)
    given.ignore(
        "Model hash", "VAE hash", "Version", "Lora hashes", "Hashes", "TI hashes", "Created Date", "Civitai resources"
    )
    given.end()
    return found


def _sampler(given: "_Given", report: Report) -> tuple[str, str]:
    name, schedule = given.text("Sampler", "Euler").lower(), given.text("Schedule type", "").lower()
    for suffix in (" karras", " exponential"):
        if not schedule and name.endswith(suffix):
            name, schedule = name.removesuffix(suffix), suffix.strip()
    sampler = SAMPLERS.get(name)
    if sampler is None:
        report.note("", "changed", f"there is no sampler '{brief(name)[1:-1]}' here; euler stands for it")
        sampler = "euler"
    if schedule == "automatic":
        schedule = "exponential" if sampler == "dpmpp_3m_sde" else "karras" if sampler in KARRAS else "normal"
    found = SCHEDULES.get(schedule or "normal")
    if found is None:
        report.note("", "changed", f"there is no schedule '{brief(schedule)[1:-1]}' here; normal stands for it")
    return sampler, found or "normal"


def _hires(given: "_Given", steps: int, report: Report) -> tuple[float, int, float, bool] | None:
    factor, denoise = given.number("Hires upscale", 0.0), given.number("Denoising strength", 0.0)
    upscaler, again = given.text("Hires upscaler", "Latent"), given.whole("Hires steps", 0)
    if not factor:
        if denoise:
            report.note("", "lost", "the picture that it was made from is not in the file; it starts from noise here")
        return None
    latent = upscaler.startswith("Latent")
    if not latent:
        report.note("", "changed", f"the picture is enlarged by lanczos, not by '{brief(upscaler)[1:-1]}'")
    return min(8.0, max(1.0, factor)), again or steps, denoise or 0.7, latent


def _without_loras(prompt: str, report: Report) -> tuple[str, list[tuple[str, float]]]:
    found = [(name, float(weight or 1)) for name, weight in _LORA.findall(prompt) if weight not in ("-", ".")]
    left = len(_TAG.findall(prompt))
    if left:
        report.note("", "lost", f"{counted(left, 'tag')} of the prompt for other networks than LoRAs")
    return _TAG.sub("", _LORA.sub("", prompt)).strip(), found


class _Given:
    """Name-value pairs that are read one by one. Unread pairs are reported."""

    def __init__(self, pairs: Mapping[str, str], report: Report) -> None:
        self._left = dict(pairs)
        self._report = report

    def text(self, name: str, default: str) -> str:
        """Read a text without its quotes."""
        return self._left.pop(name, default).strip('"')

    def number(self, name: str, default: float) -> float:
        """Read a number. An invalid number is reported and replaced by the default."""
        text = self._left.pop(name, "")
        try:
            found = float(text) if text else default
        except ValueError:
            found = float("inf")
        if abs(found) < 1e6:
            return found
        self._report.note("", "lost", f"'{name}' is {brief(text)}, which is no number")
        return default

    def whole(self, name: str, default: int) -> int:
        """Read an integer, like `number`."""
        text = self._left.pop(name, "")
        if text.isascii() and text.isdigit() and len(text) < 21:
            return int(text)
        if text:
            self._report.note("", "lost", f"'{name}' is {brief(text)}, which is no whole number")
        return default

    def ignore(self, *names: str) -> None:
        """Mark pairs as read whose loss has no effect."""
        for name in names:
            self._left.pop(name, None)

    def end(self) -> None:
        """Report the unread pairs."""
        if self._left:
            names = ", ".join(sorted(self._left)[:8])
            self._report.note("", "lost", f"{counted(len(self._left), 'parameter')} that nothing here reads: {names}")


# InvokeAI: an object


def _invoke(known: Mapping[str, Any], report: Report) -> Parameters:
    found = Parameters(report.source, noise_rule="comfyui")
    found.prompt, found.negative = (_said(known, name, "") for name in ("positive_prompt", "negative_prompt"))
    found.steps, found.seed = _said(known, "steps", 20), _said(known, "seed", 0)
    found.width, found.height = _said(known, "width", 512), _said(known, "height", 512)
    found.cfg = float(_said(known, "cfg_scale", 7.0))
    found.clip_skip = 1 + _said(known, "clip_skip", 0)
    name = _said(known, "scheduler", "euler")
    if name not in INVOKE_SAMPLERS:
        report.note("", "changed", f"there is no sampler '{brief(name)[1:-1]}' here; euler stands for it")
    found.sampler, found.schedule = INVOKE_SAMPLERS.get(name, ("euler", "normal"))
    found.model, found.vae = _model(known.get("model")), _model(known.get("vae"))
    found.loras = list(_invoke_loras(known.get("loras")))
    used = {"positive_prompt", "negative_prompt", "steps", "seed", "width", "height", "cfg_scale", "clip_skip"}
    used |= {"scheduler", "model", "vae", "loras", "generation_mode", "app_version", "rand_device", "_canvas_objects"}
    left = sorted(name for name, value in known.items() if name not in used and value not in (None, [], {}, 0, ""))
    if left:
        report.note("", "lost", f"{counted(len(left), 'parameter')} that nothing here reads: {', '.join(left[:8])}")
    return found


def _said(known: Mapping[str, Any], name: str, default: Any) -> Any:
    value = known.get(name, default)
    kinds = (int, float) if type(default) is float else (type(default),)
    return value if type(value) in kinds and (type(value) is str or abs(value) < 2**64) else default


def _model(value: Any) -> str:
    name = value.get("name", value.get("model_name")) if type(value) is dict else None
    return name if type(name) is str else ""


def _invoke_loras(value: Any) -> Iterator[tuple[str, float]]:
    for item in value if type(value) is list else []:
        name = _model(item.get("model", item.get("lora"))) if type(item) is dict else ""
        if name:
            yield name, float(_said(item, "weight", 1.0))


# The document


def document_of(made: Parameters, report: Report) -> dict[str, Any]:
    """Return a text-to-image workflow with these parameters, with a second pass if there was one."""
    report.note(
        "", "approximated", "the noise of the steps and the rounding of the other program differ: so do details"
    )
    nodes: dict[str, Any] = {"checkpoint": _node("LoadCheckpoint", checkpoint=_file(made.model, "a model", report))}
    model, clip = _edge("checkpoint", "model"), _edge("checkpoint", "clip")
    for n, (name, weight) in enumerate(made.loras, 1):
        strength = max(-10.0, min(10.0, weight))
        lora: dict[str, Any] = {
            "lora": _file(name, "a LoRA", report),
            "model_strength": strength,
            "clip_strength": strength,
        }
        nodes[f"lora-{n}"] = _node("LoadLora", model=model, clip=clip, **lora)
        model, clip = _edge(f"lora-{n}", "model"), _edge(f"lora-{n}", "clip")
    vae = _edge("checkpoint", "vae")
    if made.vae and made.vae.lower() not in ("none", "automatic"):
        nodes["vae"] = _node("LoadVAE", vae=_file(made.vae, "a VAE", report))
        vae = _edge("vae", "vae")
    for name, text in (("positive", made.prompt), ("negative", made.negative)):
        nodes[name] = _node("CLIPEncode", 2, clip=clip, text=text, grammar="a1111", clip_skip=min(24, made.clip_skip))
    sides: dict[str, Any] = {
        name: max(8, round(side / 8) * 8) for name, side in (("width", made.width), ("height", made.height))
    }
    nodes["empty"] = _node("EmptyLatent", **sides, batch=1)
    sampling = {
        "model": model, "positive": _edge("positive", "conditioning"), "negative": _edge("negative", "conditioning"),
        "seed": made.seed, "cfg": made.cfg, "sampler": made.sampler, "schedule": made.schedule,
        "noise_rule": made.noise_rule,
    }  # fmt: skip
    nodes["sample"] = _node("KSampler", **sampling, latent=_edge("empty", "latent"), steps=made.steps)
    last = "sample"
    if made.hires is not None:
        nodes |= _second_pass(made.hires, sampling, vae)
        last = "refine"
    nodes["decode"] = _node("VAEDecode", vae=vae, latent=_edge(last, "latent"))
    nodes["save"] = _node("SaveImage", images=_edge("decode", "image"))
    return {"format": FORMAT, "nodes": nodes, "inputs": _inputs(nodes), "outputs": [_output()]}


def _second_pass(hires: tuple[float, int, float, bool], sampling: Mapping[str, Any], vae: Any) -> dict[str, Any]:
    factor, steps, denoise, latent = hires
    first = _edge("sample", "latent")
    if latent:
        nodes = {"enlarge": _node("LatentUpscale", latent=first, width=0, height=0, factor=factor)}
    else:
        nodes = {
            "first": _node("VAEDecode", vae=vae, latent=first),
            "larger": _node("ImageScale", image=_edge("first", "image"), factor=factor, multiple_of=8),
            "enlarge": _node("VAEEncode", vae=vae, image=_edge("larger", "image")),
        }
    more: dict[str, Any] = {
        "latent": _edge("enlarge", "latent"),
        "steps": steps,
        "denoise": min(1.0, max(0.0, denoise)),
    }
    return {**nodes, "refine": _node("KSampler", **sampling, **more)}


def _node(type: str, version: int = 1, /, **inputs: Any) -> dict[str, Any]:
    return {"type": type, "version": version, "inputs": inputs}


def _edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def _inputs(nodes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the named inputs of the workflow. Inputs that both passes share are set for both."""
    passes = [id for id in ("sample", "refine") if id in nodes]
    targets = {"prompt": [("positive", "text")], "negative": [("negative", "text")]}
    targets |= {name: [(id, name) for id in passes] for name in ("seed", "steps", "cfg")}
    return [
        {"name": name, "to": [{"node": node, "input": input} for node, input in found]}
        for name, found in targets.items()
    ]


def _output() -> dict[str, Any]:
    return {"name": "image", "from": _edge("save", "images")}


def _file(name: str, what: str, report: Report) -> str:
    """Return the most likely file for a name."""
    name = name.replace("\\", "/").strip() or "model"
    if name.lower().endswith((".safetensors", ".ckpt", ".pt")):
        return name
    report.note(
        "", "changed", f"'{brief(name)[1:-1]}' names {what}; the file '{brief(name)[1:-1]}.safetensors' is meant"
    )
    return f"{name}.safetensors"
