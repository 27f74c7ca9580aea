"""Whether a ControlNet or T2I-Adapter fits the model that it is to guide."""

from latentloom.engine import ControlNet, Model
from latentloom.engine.errors import BadValueError
from latentloom.nodes.families.stable_diffusion.facts import TITLES

TRANSFORMERS = {"flux": "Flux.1", "sd3": "Stable Diffusion 3", "qwen_image": "Qwen-Image", "z_image": "Z-Image"}
"""The families of transformers that have ControlNets."""


def check_fits(model: Model, handle: ControlNet, *, unet: bool) -> None:
    """Raise BadValueError for a control of another family or, for transformers, of another size."""
    wanted, found = model.info.get("context"), handle.info.get("context")
    family, own = model.info.get("family", ""), handle.info.get("family", "")
    if (own in TRANSFORMERS or not unet) and family != own:
        raise misfit(model, handle, f"one for {_title(family)}", f"one for {_title(own)}")
    if wanted is not None and found is not None and wanted != found:
        raise misfit(model, handle, f"one for text embeddings {wanted} wide", f"one for {found}")
    inner, width = model.info.get("inner"), handle.info.get("inner")
    if None not in (inner, width) and inner != width:
        raise misfit(model, handle, f"one that is {inner} wide inside", f"one that is {width} wide")
    if is_adapter(handle) and family and (family == "sdxl") != (own == "sdxl"):
        raise misfit(model, handle, f"one for {TITLES[family]}", f"one for {TITLES[own]}")


def is_adapter(handle: ControlNet) -> bool:
    """Whether it is a T2I-Adapter."""
    return bool(handle.info.get("t2i_adapter"))


def _title(family: str) -> str:
    return {**TITLES, **TRANSFORMERS}.get(family, family or "another model")


def misfit(model: Model, handle: ControlNet, expected: str, got: str) -> BadValueError:
    """Return the error for a control that does not fit."""
    what = "T2I-Adapter" if is_adapter(handle) else "ControlNet"
    return BadValueError(
        f"the {what} '{handle.files[0].name}' does not fit '{model.files[0].name}'",
        expected=expected,
        got=got,
        hint=f"a {what} works only with the model family it was trained on, and for transformers its size too",
    )
