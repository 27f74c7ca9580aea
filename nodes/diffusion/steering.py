"""The parts of a run that a patch of the stage "sampling" may change."""

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
    """The network's own prediction. Wrappers set here receive the same x as the network, e.g. one tile or one area."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def __call__(self, x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        """Return the prediction of x0."""
        return self._predict(x, moment, condition)

    def wrap(self, wrap: Callable[[Predict], Predict]) -> None:
        """Wrap the network's prediction, for all callers."""
        self._predict = wrap(self._predict)


@dataclass(slots=True)
class Steering:
    """The parts of a denoiser. A patch's function receives them together with the patch, and changes them.

    Patches add to the changes of earlier patches, so their order defines the nesting and no change is lost: `lead`
    sets the rule, which only one patch of a model may do; `wrap_rule` wraps the rule; `wrap` wraps every prediction;
    `inner.wrap` wraps the network itself.

    `module` is the loaded denoiser network; `networks` also has the ControlNets. `hooks` reverts changes to them after
    the run. `branches` holds "positive", "negative" and further branches that a rule needs. `entries` converts the
    conditioning of a further branch, by the branch's name, to entries. `repaint` computes the noise mask at a moment
    from that of the run. `cells` is the latent's height and width, `space` the model's space. `seamless` holds the axes
    along which the picture wraps.
    `joint` means that a patch reads the whole batch, so its items must go through the network together.
    """

    module: Any
    networks: Sequence[Any]
    inner: Innermost
    branches: dict[str, Branch]
    rule: Rule
    cfg: float
    entries: Callable[[str, Conditioning], tuple[Entry, ...]]
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
        """Set the innermost rule. Raises BadValueError if another patch has set it; `name` is the patch's node."""
        if self._leader:
            raise BadValueError(
                "two nodes set the guidance rule",
                expected="one of them",
                got=f"{self._leader} and {name}",
                hint="remove one of them from the chain of the model",
            )
        self._leader, self.rule = name, rule

    def new_branch(self, name: str) -> str:
        """Return a branch name that no earlier patch uses."""
        count = sum(known.startswith(name) for known in self.branches)
        return f"{name}{count + 1}" if count else name

    def wrap_rule(self, around: Callable[[Rule], Rule]) -> None:
        """Wrap the rule, also if `lead` sets it later."""
        self._around.append(around)

    def wrap(self, around: Callable[[Predict], Predict]) -> None:
        """Wrap every branch's prediction. Branches that shared a prediction share the wrapped one."""
        known = {id(branch.predict): branch.predict for branch in self.branches.values()}
        made = {key: around(predict) for key, predict in {**known, id(self.predict): self.predict}.items()}
        self.predict = made[id(self.predict)]
        self.branches = {
            name: replace(branch, predict=made[id(branch.predict)]) for name, branch in self.branches.items()
        }

    def whole_rule(self) -> Rule:
        """Return the rule with its wrappers, in the order in which they were added."""
        rule = self.rule
        for around in self._around:
            rule = around(rule)
        return rule


def sampling_patches(ctx: Context, model: Model) -> list[Patch]:
    """Return the model's patches of the stage "sampling", which `ctx.load` does not apply."""
    return [patch for patch in model.patches if ctx.facts("patch", patch.kind).get("stage") == SAMPLING]
