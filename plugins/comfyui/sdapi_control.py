"""ControlNet units in requests of AUTOMATIC1111's web API: the script `controlnet` of its best-known extension."""

from collections.abc import Mapping, Sequence
from typing import Any

from latentloom.engine.errors import BadValueError, brief
from latentloom.plugins.comfyui.generation import Control
from latentloom.plugins.comfyui.sdapi import NOTHING, Request, file_of

INPUT = "alwayson_scripts"
SCRIPT = "controlnet"
MAX_UNITS = 8
MODULES = {
    "": "", "none": "", "canny": "CannyEdges", "invert": "InvertImage",
    "invert (from white bg & black line)": "InvertImage",
}  # fmt: skip
"""The node that prepares the picture of a unit, by the name of the preprocessor."""
FITS = {
    "just resize": "stretch", "crop and resize": "fill", "resize and fill": "pad", "0": "stretch", "1": "fill",
    "2": "pad", "inner fit (scale to fit)": "fill", "outer fit (shrink to fit)": "pad",
}  # fmt: skip
USUAL: Mapping[str, tuple[Any, ...]] = {
    "enabled": (True,), "pixel_perfect": (True, False), "low_vram": (True, False), "lowvram": (True, False),
    "processor_res": (-1, 64, 512), "threshold_a": (-1, 64, 0.5, 100), "threshold_b": (-1, 64, 0.5, 200),
    "control_mode": (0, "0", "Balanced"), "hr_option": ("Both",), "resize_mode": (), "save_detected_map": (True, False),
    "input_mode": ("simple",), "advanced_weighting": (),
}  # fmt: skip
"""Fields of a unit without an effect, and their values that have none in that program either."""
READ = ("image", "input_image", "model", "module", "weight", "guidance_start", "guidance_end", "resize_mode")


def units_of(request: Request) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the enabled units of a request, and what of its scripts has no effect. Raises BadValueError."""
    scripts, unused = request.mapping(INPUT), list[str]()
    found: list[dict[str, Any]] = []
    for name, script in scripts.items():
        arguments = script.get("args") if type(script) is dict else None
        if name.lower() != SCRIPT:
            unused += [f"{INPUT}.{brief(name)[1:-1]}"] if arguments else []
            continue
        for unit in arguments if type(arguments) is list else []:
            if type(unit) is not dict:
                raise BadValueError("wrong type", input=INPUT, expected="a ControlNet unit", got=brief(unit))
            if unit.get("enabled", True) and unit.get("model") not in (None, "", "None", "none"):
                found.append(unit)
    if len(found) > MAX_UNITS:
        raise BadValueError("too many units", input=INPUT, expected=f"at most {MAX_UNITS}", got=str(len(found)))
    return found, unused


def picture_of(unit: Mapping[str, Any]) -> Any:
    """Return the encoded picture of a unit. Raises BadValueError if there is none."""
    given = unit.get("image") or unit.get("input_image")
    given = given.get("image") if type(given) is dict else given
    if not given:
        raise BadValueError("a ControlNet unit has no image", input=INPUT)
    return given


def control_of(unit: Mapping[str, Any], picture: str, names: Sequence[str]) -> tuple[Control, list[str]]:
    """Return the ControlNet of a unit, and the fields without an effect. `names` are the installed files.

    Raises BadValueError.
    """
    fields = Request(unit)
    module = fields.text("module", "none").lower()
    if module not in MODULES:
        raise BadValueError(
            f"there is no preprocessor '{brief(module)[1:-1]}'", input=INPUT, expected="none, canny or invert"
        )
    fit = str(unit.get("resize_mode", 1)).lower()
    if fit not in FITS:
        raise BadValueError("there is no such resize_mode", input=INPUT, expected="0, 1 or 2", got=brief(fit))
    made = Control(
        picture, file_of(fields.text("model"), names, INPUT), fields.number("weight", 1.0, 0, 2),
        fields.number("guidance_start", 0.0, 0, 1), fields.number("guidance_end", 1.0, 0, 1),
        FITS[fit], MODULES[module],
    )  # fmt: skip
    left = {name: value for name, value in unit.items() if name not in READ}
    unused = [name for name, value in left.items() if value not in (*NOTHING, *USUAL.get(name, ()))]
    return made, [f"{INPUT}.{SCRIPT}.{name}" for name in sorted(unused)]
