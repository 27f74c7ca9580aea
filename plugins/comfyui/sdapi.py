"""Requests of AUTOMATIC1111's web API (`/sdapi/v1`): from a request's body to generation parameters. Pure functions."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from latentloom.engine.errors import BadValueError, brief, nearest
from latentloom.plugins.comfyui.generation import Parameters, SecondPass, Source, rounded
from latentloom.plugins.comfyui.parameters import (
    SAMPLER_NAMES,
    SAMPLERS,
    SCHEDULE_NAMES,
    SCHEDULES,
    automatic,
    without_loras,
)
from latentloom.plugins.comfyui.report import Report

MAX_PICTURES = 100  # of one request
MAX_SEED = 2**64 - 1
FITS = ("stretch", "fill", "pad", "stretch")  # by `resize_mode`
FILLS = ("neighbours", "", "noise", "colour")  # by `inpainting_fill`
QUIET = frozenset({
    "send_images", "save_images", "do_not_save_samples", "do_not_save_grid", "override_settings_restore_afterwards",
    "include_init_images", "force_task_id", "sampler_index", "initial_noise_multiplier", "image_cfg_scale",
    "seed_resize_from_h", "seed_resize_from_w", "firstphase_width", "firstphase_height", "s_tmax",
    "s_noise", "hr_prompt", "hr_negative_prompt", "hr_sampler_name", "hr_scheduler", "hr_checkpoint_name",
})  # fmt: skip  # their usual values have no effect
NOTHING: tuple[Any, ...] = (None, "", 0, False, [], {}, -1)
_TITLE = re.compile(r"\s*\[[0-9a-f]{4,64}\]\Z")


class Installed(NamedTuple):
    """The names of the installed files and methods."""

    checkpoints: Sequence[str]
    vaes: Sequence[str]
    loras: Sequence[str]
    upscalers: Sequence[str]
    samplers: Sequence[str]
    schedules: Sequence[str]
    controlnets: Sequence[str] = ()


class Request:
    """The fields of a body, read one by one. Unread fields with an effect are reported."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._left = dict(body)

    def text(self, name: str, default: str = "") -> str:
        """Read a text. Raises BadValueError."""
        value = self._left.pop(name, None)
        if value is None:
            return default
        if type(value) is not str:
            raise BadValueError("wrong type", input=name, expected="a text", got=brief(value))
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Read a number within bounds. Raises BadValueError."""
        value = self._left.pop(name, None)
        value = default if value is None else value
        if type(value) not in (int, float) or not low <= value <= high:
            raise BadValueError("out of range", input=name, expected=f"{low:g}..{high:g}", got=brief(value))
        return float(value)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Read an integer within bounds, which may be written as 7.0. Raises BadValueError."""
        value = self._left.pop(name, None)
        value = default if value is None else value
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise BadValueError("out of range", input=name, expected=f"{low}..{high}", got=brief(value))
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Read a truth value; numbers count as in Python."""
        value = self._left.pop(name, None)
        return default if value is None else bool(value)

    def drop(self, *names: str) -> None:
        """Mark fields as read."""
        for name in names:
            self._left.pop(name, None)

    def mapping(self, name: str) -> dict[str, Any]:
        """Read an object. Raises BadValueError."""
        value = self._left.pop(name, None)
        if value is not None and type(value) is not dict:
            raise BadValueError("wrong type", input=name, expected="an object", got=brief(value))
        return value or {}

    def items(self, name: str) -> list[Any]:
        """Read a list; [] if it is missing. Raises BadValueError."""
        value = self._left.pop(name, None)
        if value is not None and type(value) is not list:
            raise BadValueError("wrong type", input=name, expected="a list", got=brief(value))
        return value or []

    def unread(self) -> list[str]:
        """Return the names of the unread fields that would have an effect in the other program."""
        return sorted(name for name, value in self._left.items() if name not in QUIET and value not in NOTHING)


def parameters_of(request: Request, installed: Installed, report: Report) -> Parameters:
    """Return the parameters that text and picture requests share, without a model. Raises BadValueError."""
    made = Parameters(report.source, negative=without_loras(request.text("negative_prompt"), report)[0])
    made.prompt, loras = without_loras(request.text("prompt"), report)
    made.loras = [(file_of(name, installed.loras, "prompt"), weight) for name, weight in loras]
    made.sampler, made.schedule = methods_of(request, installed)
    made.steps, made.cfg = request.whole("steps", 50, 1, 10_000), request.number("cfg_scale", 7.0, 0, 100)
    made.width, made.height = (rounded(request.whole(name, 512, 8, 16_384)) for name in ("width", "height"))
    return made


def methods_of(request: Request, installed: Installed) -> tuple[str, str]:
    """Return sampler and schedule by any name of theirs, such as `DPM++ 2M Karras`. Raises BadValueError."""
    name = request.text("sampler_name") or request.text("sampler_index") or "Euler"
    schedule = request.text("scheduler").lower()
    lower = name.lower()
    for suffix in (" karras", " exponential"):
        if schedule in ("", "automatic") and lower.endswith(suffix):
            lower, schedule = lower.removesuffix(suffix), suffix.strip()
    sampler = SAMPLERS.get(lower, lower.removeprefix("k_"))
    if sampler not in installed.samplers:
        raise _unknown("sampler", name, SAMPLER_NAMES, "sampler_name")
    if schedule in ("", "automatic"):
        return sampler, automatic(sampler)
    found = SCHEDULES.get(schedule, schedule)
    if found not in installed.schedules:
        raise _unknown("schedule", schedule, SCHEDULE_NAMES, "scheduler")
    return sampler, found


def _unknown(what: str, name: str, names: Mapping[str, Any], input: str) -> BadValueError:
    near = nearest(name, names)
    return BadValueError(f"there is no {what} '{brief(name)[1:-1]}'", input=input, nearest=near)


def file_of(name: str, names: Sequence[str], input: str) -> str:
    """Return the installed file for a name, title or stem. Raises BadValueError."""
    wanted = _TITLE.sub("", name.replace("\\", "/")).strip().lower()
    stems = {file: file.lower().removesuffix(PurePosixPath(file).suffix.lower()) for file in names}
    for file in names:
        if wanted == file.lower():
            return file
    for file, stem in stems.items():
        if wanted in (stem, PurePosixPath(stem).name, PurePosixPath(file.lower()).name):
            return file
    raise BadValueError(f"there is no file '{brief(name)[1:-1]}'", input=input, nearest=nearest(name, names))


def variation_of(request: Request) -> tuple[int, float]:
    """Return the second seed of a request and the share of its noise. A seed of -1 is to be drawn.

    Raises BadValueError.
    """
    return request.whole("subseed", -1, -1, MAX_SEED), request.number("subseed_strength", 0.0, 0, 1)


def second_pass(request: Request, made: Parameters, installed: Installed) -> SecondPass | None:
    """Return the second pass ("hires fix") of a request. Raises BadValueError."""
    factor = request.number("hr_scale", 2.0, 1.0, 8.0)
    width = request.whole("hr_resize_x", 0, 0, 16_384)
    height = request.whole("hr_resize_y", 0, 0, 16_384)
    upscaler = request.text("hr_upscaler", "Latent")
    steps = request.whole("hr_second_pass_steps", 0, 0, 10_000) or made.steps
    denoise = request.number("denoising_strength", 0.75, 0, 1)
    if not request.flag("enable_hr"):
        return None
    factor = max(width / made.width, height / made.height) if width or height else factor
    latent, plain = upscaler.lower().startswith("latent"), upscaler.lower() in ("none", "lanczos", "nearest", "")
    file = "" if latent or plain else file_of(upscaler, installed.upscalers, "hr_upscaler")
    return SecondPass(min(8.0, max(0.05, factor)), steps, denoise, latent, file)


def source_of(request: Request, picture: str, mask: str) -> Source:
    """Return how a picture is made from another one. `picture` and `mask` are stored files. Raises BadValueError."""
    fit = FITS[request.whole("resize_mode", 0, 0, 3)]
    denoise = request.number("denoising_strength", 0.75, 0, 1)
    feather = request.whole("mask_blur", 4, 0, 512)
    feather = max(request.whole("mask_blur_x", feather, 0, 512), request.whole("mask_blur_y", feather, 0, 512))
    fill = FILLS[request.whole("inpainting_fill", 0, 0, 3)]
    whole = not request.flag("inpaint_full_res", True)
    padding = request.whole("inpaint_full_res_padding", 0, 0, 4_096)
    inverted = request.flag("inpainting_mask_invert")
    return Source(picture, mask, inverted, fit, denoise, 2 * feather, fill, None if whole else padding)


def img2img_steps(steps: int, denoise: float) -> int:
    """Return the number of steps that are run of `steps` at a denoising strength."""
    return min(steps, int(min(denoise, 0.999) * steps) + 1)


def names_of(methods: dict[str, str]) -> dict[str, str]:
    """Return the first name of each method."""
    return {method: name for name, method in reversed(methods.items())}


def infotext(made: Parameters, seed: int) -> str:
    """Return the text in which that program writes parameters into its pictures."""
    names, schedules = names_of(SAMPLER_NAMES), names_of(SCHEDULE_NAMES)
    pairs = {
        "Steps": made.steps, "Sampler": names.get(made.sampler, made.sampler),
        "Schedule type": schedules.get(made.schedule, made.schedule), "CFG scale": made.cfg, "Seed": seed,
        "Size": f"{made.width}x{made.height}", "Model": PurePosixPath(made.model).stem,
    }  # fmt: skip
    pairs |= {"VAE": made.vae} if made.vae else {}
    pairs |= {"Denoising strength": made.image.denoise} if made.image else {}
    if made.variation is not None:
        pairs |= {"Variation seed": made.variation[0], "Variation seed strength": made.variation[1]}
    pairs |= {"Clip skip": made.clip_skip} if made.clip_skip > 1 else {}
    if made.hires:
        pairs |= {"Denoising strength": made.hires.denoise, "Hires upscale": round(made.hires.factor, 4)}
        pairs |= {"Hires steps": made.hires.steps, "Hires upscaler": "Latent" if made.hires.latent else "Lanczos"}
    tags = "".join(f" <lora:{PurePosixPath(name).stem}:{weight:g}>" for name, weight in made.loras)
    negative = f"\nNegative prompt: {made.negative}" if made.negative else ""
    line = ", ".join(f"{name}: {value}" for name, value in {**pairs, "Version": "latentloom"}.items())
    return f"{made.prompt}{tags}{negative}\n{line}"
