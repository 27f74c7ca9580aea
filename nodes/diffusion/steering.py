"""What a patch of the stage "sampling" may change: a run under construction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentloom.engine.types.values import Conditioning, Model, Patch

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine import Context
    from latentloom.nodes.diffusion.entries import Entry
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.guidance import Rule
    from latentloom.nodes.diffusion.prediction import Predict
    from latentloom.nodes.diffusion.timeline import Moment

SAMPLING = "sampling"


@dataclass(slots=True)
class Steering:
    """The parts that a denoiser is made of. A patch's function gets it and the patch, and changes what it must.

    `module` is the loaded network, and `hooks` undoes after the run what was done to it. `branches` holds "positive",
    "negative" and what a rule asks for besides. `entries` makes entries of a further conditioning. `repaint` makes the
    noise mask of a moment out of the run's. `cells` is the latent's height and width. `joint` says that something looks
    at all of a batch, so that its items must go through the network together.
    """

    module: Any
    predict: Predict
    branches: dict[str, Branch]
    rule: Rule
    cfg: float
    entries: Callable[[Conditioning], tuple[Entry, ...]]
    hooks: ExitStack
    downscale: int
    cells: tuple[int, int]
    repaint: Callable[[Tensor, Moment], Tensor] | None = None
    joint: bool = False


def sampling_patches(ctx: Context, model: Model) -> list[Patch]:
    """The patches of a model that steer a run; `ctx.load` leaves them out."""
    return [patch for patch in model.patches if ctx.facts("patch", patch.kind).get("stage") == SAMPLING]
