"""What a patch of the stage "sampling" may change: a run under construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.engine.types.values import Conditioning, Model, Patch
from latentloom.nodes.diffusion.seamless import EDGES, Axes

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine import Context
    from latentloom.nodes.diffusion.entries import Entry
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.guidance import Rule
    from latentloom.nodes.diffusion.prediction import Condition, Predict
    from latentloom.nodes.diffusion.space import Space
    from latentloom.nodes.diffusion.timeline import Moment, Timeline

SAMPLING = "sampling"


class Innermost:
    """The network's own prediction. What is put around it here sees what the network sees: a tile, an area."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def __call__(self, x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        """The prediction of x0."""
        return self._predict(x, moment, condition)

    def wrap(self, wrap: Callable[[Predict], Predict]) -> None:
        """Put something around the network, whoever calls it."""
        self._predict = wrap(self._predict)


@dataclass(slots=True)
class Steering:
    """The parts that a denoiser is made of. A patch's function gets it and the patch, and changes what it must.

    A patch adds to what others did, so that their order decides what is inside and what is outside, and nothing is
    lost: `lead` sets the rule, which one patch of a model may do, `wrap_rule` puts another around it, `wrap` puts
    something around every prediction, `inner.wrap` around the network itself.

    `module` is the loaded UNet, `networks` has the ControlNets besides; `hooks` undoes after the run what was done to
    them. `branches` holds "positive", "negative" and what a rule asks for besides. `entries` makes entries of a further
    conditioning. `repaint` makes the noise mask of a moment out of the run's. `cells` is the latent's height and width,
    `space` the model's. `seamless` says where the picture goes round, `joint` that something looks at all of a
    batch, so that its items must go through the network together.
    """

    module: Any
    networks: Sequence[Any]
    inner: Innermost
    branches: dict[str, Branch]
    rule: Rule
    cfg: float
    entries: Callable[[Conditioning], tuple[Entry, ...]]
    hooks: ExitStack
    downscale: int
    cells: tuple[int, int]
    space: Space
    timeline: Timeline
    seamless: Axes = EDGES
    repaint: Callable[[Tensor, Moment], Tensor] | None = None
    joint: bool = False
    predict: Predict = field(init=False)
    _leader: str = field(default="", init=False)
    _around: list[Callable[[Rule], Rule]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.predict = self.inner

    def lead(self, name: str, rule: Rule) -> None:
        """Set the rule that others go around. Raises BadValueError where another patch, named by its node, did so."""
        if self._leader:
            raise BadValueError(
                "two nodes set the rule of guidance",
                expected="one of them",
                got=f"{self._leader} and {name}",
                hint="take one of them out of the chain of the model",
            )
        self._leader, self.rule = name, rule

    def new_branch(self, name: str) -> str:
        """A name for a branch that no patch before has taken."""
        count = sum(known.startswith(name) for known in self.branches)
        return f"{name}{count + 1}" if count else name

    def wrap_rule(self, around: Callable[[Rule], Rule]) -> None:
        """Put a rule around the others, whichever is set as theirs."""
        self._around.append(around)

    def wrap(self, around: Callable[[Predict], Predict]) -> None:
        """Put something around every branch's prediction; branches that shared one share the new one."""
        known = {id(branch.predict): branch.predict for branch in self.branches.values()}
        made = {key: around(predict) for key, predict in {**known, id(self.predict): self.predict}.items()}
        self.predict = made[id(self.predict)]
        self.branches = {
            name: replace(branch, predict=made[id(branch.predict)]) for name, branch in self.branches.items()
        }

    def whole_rule(self) -> Rule:
        """The rule with all that goes around it, in the order in which it was put there."""
        rule = self.rule
        for around in self._around:
            rule = around(rule)
        return rule


def sampling_patches(ctx: Context, model: Model) -> list[Patch]:
    """The patches of a model that steer a run; `ctx.load` leaves them out."""
    return [patch for patch in model.patches if ctx.facts("patch", patch.kind).get("stage") == SAMPLING]
