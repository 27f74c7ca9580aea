"""Imports the generation parameters that AUTOMATIC1111 (also Forge and other forks) and InvokeAI embed in pictures."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from latentloom.engine.document.strict_json import parse
from latentloom.engine.errors import LoomError, brief
from latentloom.plugins.comfyui.carriers import texts_in
from latentloom.plugins.comfyui.generation import Parameters, SecondPass, document_of
from latentloom.plugins.comfyui.report import Report, counted

MAX_TEXT = 1_000_000
SAMPLER_NAMES: dict[str, str] = {
    "DPM++ 2M": "dpmpp_2m", "DPM++ SDE": "dpmpp_sde", "DPM++ 2M SDE": "dpmpp_2m_sde",
    "DPM++ 2M SDE Heun": "dpmpp_2m_sde_heun", "DPM++ 2S a": "dpmpp_2s_ancestral", "DPM++ 3M SDE": "dpmpp_3m_sde",
    "Euler a": "euler_ancestral", "Euler": "euler", "LMS": "lms", "Heun": "heun", "DPM2": "dpm_2",
    "DPM2 a": "dpm_2_ancestral", "DDIM": "ddim", "PLMS": "pndm", "UniPC": "uni_pc", "LCM": "lcm",
}  # fmt: skip
SAMPLERS = {name.lower(): sampler for name, sampler in SAMPLER_NAMES.items()}
SCHEDULE_NAMES: dict[str, str] = {
    "Karras": "karras", "Exponential": "exponential", "SGM Uniform": "sgm_uniform", "KL Optimal": "kl_optimal",
    "Simple": "simple", "Normal": "normal", "Uniform": "normal", "DDIM": "ddim_uniform", "Beta": "beta",
}  # fmt: skip
SCHEDULES = {name.lower(): schedule for name, schedule in SCHEDULE_NAMES.items()}
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
_LORA = re.compile(r"<lora:([^:<>]{1,200})(?::(-?\d{0,3}(?:\.\d{1,6})?))?(?::([^<>]{0,100}))?>")
_TAG = re.compile(r"<(?:hypernet|lyco):[^<>]{0,300}>")
_SIZE = re.compile(r"\s*(\d{1,5})\s*x\s*(\d{1,5})\s*\Z")


def import_picture(data: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the workflow document for a picture's parameters, and the report; None for other files."""
    texts = texts_in(data, ("parameters", "invokeai_metadata", "sd-metadata"))
    if "parameters" in texts and "Steps: " in texts["parameters"][-MAX_TEXT:]:
        report = Report("AUTOMATIC1111, parameters")
        return document_of(_a1111(texts["parameters"][:MAX_TEXT], report), report), report.record()
    try:
        known = parse(texts["invokeai_metadata"]) if "invokeai_metadata" in texts else None
        known = _older(parse(texts["sd-metadata"])) if known is None and "sd-metadata" in texts else known
    except LoomError:
        return None
    if type(known) is not dict or "positive_prompt" not in known:
        return None
    report = Report("InvokeAI, parameters")
    return document_of(_invoke(known, report), report), report.record()


# AUTOMATIC1111: the prompt, the negative prompt, and a line of pairs


def pairs_of(text: str) -> dict[str, str]:
    """Return the parts of the text by name: `Prompt`, `Negative prompt`, and each pair of its last line."""
    prompt, negative, pairs = _parts(text[:MAX_TEXT])
    return {"Prompt": prompt, "Negative prompt": negative, **pairs} if pairs else {}


def _parts(text: str) -> tuple[str, str, dict[str, str]]:
    body, _, last = text.strip().rpartition("\n")
    prompt, _, negative = body.partition("\nNegative prompt:")
    if body.startswith("Negative prompt:"):
        prompt, negative = "", body.removeprefix("Negative prompt:")
    pairs = {name.strip(): value.strip() for name, value in _PAIR.findall(last)}
    return prompt.strip(), negative.strip(), pairs


def _a1111(text: str, report: Report) -> Parameters:
    prompt, negative, pairs = _parts(text)
    given = _Given(pairs, report)
    found = Parameters(report.source, negative=negative)
    found.prompt, loras = without_loras(prompt, report)
    found.loras = [(_file(name, "a LoRA", report), weight) for name, weight in loras]
    found.negative, unused = without_loras(negative, report)
    if unused:
        report.note("", "lost", f"{counted(len(unused), 'LoRA')} in the negative prompt, which has no effect there")
    found.sampler, found.schedule = _sampler(given, report)
    found.steps, found.seed = given.whole("Steps", 20), given.whole("Seed", 0)
    found.cfg, found.clip_skip = given.number("CFG scale", 7.0), max(1, given.whole("Clip skip", 1))
    said = given.text("Size", "512x512")
    size = _SIZE.match(said)
    if size is None:
        report.note("", "lost", f"'Size' is {brief(said)}, which is no width and height; 512x512 counts")
    found.width, found.height = (int(size[1]), int(size[2])) if size else (512, 512)
    found.model = _file(given.text("Model", ""), "a model", report)
    found.vae = _vae(given.text("VAE", ""), report)
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
        report.note("", "changed", f"there is no sampler '{brief(name)[1:-1]}' here; euler is used instead")
        sampler = "euler"
    if schedule == "automatic":
        schedule = automatic(sampler)
    found = SCHEDULES.get(schedule or "normal")
    if found is None:
        report.note("", "changed", f"there is no schedule '{brief(schedule)[1:-1]}' here; normal is used instead")
    return sampler, found or "normal"


def automatic(sampler: str) -> str:
    """Return the schedule that "Automatic" means for a sampler."""
    return "exponential" if sampler == "dpmpp_3m_sde" else "karras" if sampler in KARRAS else "normal"


def _hires(given: "_Given", steps: int, report: Report) -> SecondPass | None:
    factor, denoise = given.number("Hires upscale", 0.0), given.number("Denoising strength", 0.0)
    upscaler, again = given.text("Hires upscaler", "Latent"), given.whole("Hires steps", 0)
    if not factor:
        if denoise:
            report.note("", "lost", "the source image is not in the file; sampling starts from noise")
        return None
    latent = upscaler.startswith("Latent")
    if not latent:
        report.note("", "changed", f"the image is enlarged by lanczos, not by '{brief(upscaler)[1:-1]}'")
    return SecondPass(min(8.0, max(1.0, factor)), again or steps, denoise or 0.7, latent)


def without_loras(prompt: str, report: Report) -> tuple[str, list[tuple[str, float]]]:
    """Return a prompt without its tags for networks, and names and weights of the LoRAs."""
    tags = [tag for tag in _LORA.findall(prompt) if tag[1] not in ("-", ".")]
    found = [(name, float(weight or 1)) for name, weight, _ in tags]
    for name, _, more in tags:
        if more:
            report.note("", "lost", f"what the tag of the LoRA '{name}' says beside one weight: {brief(more)}")
    left = len(_TAG.findall(prompt))
    if left:
        report.note("", "lost", f"{counted(left, 'tag')} of the prompt for networks other than LoRAs")
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
        self._report.note("", "lost", f"'{name}' is {brief(text)}, which is not a number")
        return default

    def whole(self, name: str, default: int) -> int:
        """Read an integer, like `number`."""
        text = self._left.pop(name, "")
        if text.isascii() and text.isdigit() and len(text) < 21:
            return int(text)
        if text:
            self._report.note("", "lost", f"'{name}' is {brief(text)}, which is not an integer")
        return default

    def ignore(self, *names: str) -> None:
        """Mark pairs as read whose loss has no effect."""
        for name in names:
            self._left.pop(name, None)

    def end(self) -> None:
        """Report the unread pairs."""
        if self._left:
            names = ", ".join(sorted(self._left)[:8])
            self._report.note("", "lost", f"{counted(len(self._left), 'parameter')} not used here: {names}")


# InvokeAI: an object


def _invoke(known: Mapping[str, Any], report: Report) -> Parameters:
    found = Parameters(report.source, noise_rule="comfyui")
    _report_unread(known, report)
    found.prompt, found.negative = (_said(known, name, "") for name in ("positive_prompt", "negative_prompt"))
    found.steps, found.seed = _said(known, "steps", 20), _said(known, "seed", 0)
    found.width, found.height = _said(known, "width", 512), _said(known, "height", 512)
    found.cfg = float(_said(known, "cfg_scale", 7.0))
    found.clip_skip = 1 + _said(known, "clip_skip", 0)
    name = _said(known, "scheduler", "euler")
    if name not in INVOKE_SAMPLERS:
        report.note("", "changed", f"there is no sampler '{brief(name)[1:-1]}' here; euler is used instead")
    found.sampler, found.schedule = INVOKE_SAMPLERS.get(name, ("euler", "normal"))
    found.model, found.vae = (
        _file(_model(known.get("model")), "a model", report),
        _vae(_model(known.get("vae")), report),
    )
    found.loras = [
        (_file(name, "a LoRA", report), weight) for name, weight in _invoke_loras(known.get("loras"), report)
    ]
    used = {"positive_prompt", "negative_prompt", "steps", "seed", "width", "height", "cfg_scale", "clip_skip"}
    used |= {"scheduler", "model", "vae", "loras", "generation_mode", "app_version", "rand_device", "_canvas_objects"}
    left = sorted(name for name, value in known.items() if name not in used and value not in (None, [], {}, 0, ""))
    if left:
        report.note("", "lost", f"{counted(len(left), 'parameter')} not used here: {', '.join(left[:8])}")
    return found


def _older(data: Any) -> Any:
    """Return what InvokeAI 2 wrote under the names of later versions; None for anything else."""
    image = data.get("image") if type(data) is dict else None
    if type(image) is not dict or "prompt" not in image:
        return None
    parts = image["prompt"] if type(image["prompt"]) is list else [image["prompt"]]
    texts = [part.get("prompt") if type(part) is dict else part for part in parts]
    prompt = " ".join(text for text in texts if type(text) is str)[:MAX_TEXT]
    sampler = str(image.get("sampler", "k_lms"))
    scheduler = OLDER_SAMPLERS.get(sampler, sampler.removeprefix("k_"))
    renamed = {
        "positive_prompt": _NEGATIVE.sub("", prompt).strip(),
        "negative_prompt": ", ".join(_NEGATIVE.findall(prompt)),
        "scheduler": scheduler,
        "model": {"name": data.get("model_weights", data.get("model"))},
    }
    return {**{name: value for name, value in image.items() if name not in ("prompt", "sampler", "type")}, **renamed}


OLDER_SAMPLERS = {
    "plms": "pndm", "k_dpm_2": "kdpm_2", "k_dpm_2_a": "kdpm_2_a", "k_dpmpp_2": "dpmpp_2m", "k_dpmpp_2_a": "dpmpp_sde",
}  # fmt: skip
_NEGATIVE = re.compile(r"\[([^\[\]]{1,2000})\]")
_READ = {**dict.fromkeys(("positive_prompt", "negative_prompt", "scheduler"), ""),
         **dict.fromkeys(("steps", "seed", "width", "height", "clip_skip"), 0), "cfg_scale": 0.0}  # fmt: skip


def _report_unread(known: Mapping[str, Any], report: Report) -> None:
    """Report values of a wrong type, for which defaults count."""
    for name, empty in _READ.items():
        if known.get(name) is not None and _said(known, name, empty) != known[name]:
            report.note("", "lost", f"'{name}' is {brief(known[name])}, which cannot be read; the default counts")


def _said(known: Mapping[str, Any], name: str, default: Any) -> Any:
    value = known.get(name, default)
    kinds = (int, float) if type(default) is float else (type(default),)
    return value if type(value) in kinds and (type(value) is str or abs(value) < 2**64) else default


def _model(value: Any) -> str:
    name = value.get("name", value.get("model_name")) if type(value) is dict else None
    return name if type(name) is str else ""


def _invoke_loras(value: Any, report: Report) -> Iterator[tuple[str, float]]:
    items = value if type(value) is list else []
    unread = len(items) + (value is not None and type(value) is not list)
    for item in items:
        name = _model(item.get("model", item.get("lora"))) if type(item) is dict else ""
        if name:
            unread -= 1
            weight = item.get("weight", 1.0)
            if _said(item, "weight", 1.0) != weight:
                report.note("", "lost", f"the weight of the LoRA '{brief(name)[1:-1]}' is {brief(weight)}; 1 counts")
            yield name, float(_said(item, "weight", 1.0))
    if unread:
        report.note("", "lost", f"{counted(unread, 'LoRA')} without a name that can be read")


# Files


def _file(name: str, what: str, report: Report) -> str:
    """Return the most likely file for a name."""
    name = name.replace("\\", "/").strip() or "model"
    if name.lower().endswith((".safetensors", ".ckpt", ".pt")):
        return name
    report.note(
        "", "changed", f"'{brief(name)[1:-1]}' names {what}; the file '{brief(name)[1:-1]}.safetensors' is meant"
    )
    return f"{name}.safetensors"


def _vae(name: str, report: Report) -> str:
    return "" if name.lower() in ("", "none", "automatic") else _file(name, "a VAE", report)
