"""Checks of pictures before they are saved, by the checkers of plugins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from latentloom.engine.errors import NodeError, PluginError, brief
from latentloom.engine.files.pictures import to_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

Action = Literal["flag", "blur", "refuse"]
Checker = Callable[[Any], "tuple[Action, str] | None"]
CELLS = 8  # a blurred picture has as many cells in each direction


class PictureRefusedError(NodeError):
    """A checker refused a picture, so it was not saved."""

    code = "picture_refused"


class Finding(NamedTuple):
    """What a checker wants done with a picture, and why."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A picture [H, W, C] that may be saved, and what each checker said: "passed", or its action and reason."""

    pixels: "Floats"
    said: Mapping[str, str]


def check(pixels: "Floats", checkers: Mapping[str, Checker]) -> Checked:
    """Show a picture to all checkers; it is blurred if one of them wants it.

    Raises PictureRefusedError, which names the checker, and PluginError for a checker that fails: a picture that could
    not be checked is not saved.
    """
    findings = {name: _finding(name, checker, pixels) for name, checker in checkers.items()}
    for name, found in findings.items():
        if found is not None and found.action == "refuse":
            raise PictureRefusedError(
                f"the checker '{name}' refused a picture: {found.reason}",
                hint="change the prompt or the seed, or remove the plugin with this checker",
            )
    blurred = any(found is not None and found.action == "blur" for found in findings.values())
    said = {name: "passed" if found is None else f"{found.action}: {found.reason}" for name, found in findings.items()}
    return Checked(_blurred(pixels) if blurred else pixels, said)


def _finding(name: str, checker: Checker, pixels: "Floats") -> Finding | None:
    shown = pixels.view()
    shown.flags.writeable = False
    try:
        found = checker(shown)
    except Exception as error:  # plugin code
        raise PluginError(f"the checker '{name}' failed", got=f"{type(error).__name__}: {error}"[:200]) from error
    if found is None:
        return None
    if isinstance(found, tuple) and len(found) == 2 and found[0] in get_args(Action):
        return Finding(found[0], brief(str(found[1]), 200)[1:-1])
    expected = "None, or one of " + ", ".join(get_args(Action)) + " with a reason"
    raise PluginError(f"the checker '{name}' gave a wrong answer", expected=expected, got=brief(found))


def _blurred(pixels: "Floats") -> "Floats":
    """Reduce a picture to a few cells of mean colours, enlarged again."""
    from PIL import Image as Pil

    height, width, _ = pixels.shape
    picture = Pil.fromarray(to_bytes(pixels))
    small = picture.resize((min(CELLS, width), min(CELLS, height)), Pil.Resampling.BOX)
    return np.asarray(small.resize((width, height), Pil.Resampling.BICUBIC), np.float32) / np.float32(255)
