"""Self-attention guidance (Hong et al. 2023): guides away from a prediction for x with blurred salient parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import conv2d, interpolate, pad

from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.seamless import EDGES, Axes

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.guidance import Call, Rule
    from latentloom.nodes.diffusion.prediction import Condition, Predict
    from latentloom.nodes.diffusion.timeline import Moment

KERNEL = 9  # width of the blur in cells
LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1"


class Watch:
    """Records how much attention each position of the middle block receives during a prediction."""

    def __init__(self, predict: Predict) -> None:
        self.seen: Tensor | None = None  # [B, places]
        self._predict, self._on = predict, False

    def __call__(self, x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        """Compute the prediction and record its attention."""
        self._on = True
        try:
            return self._predict(x, moment, condition)
        finally:
            self._on = False

    def wrapped(self, before: Any) -> Callable[..., Tensor]:
        """Return an attention processor that records the attention and then calls the original one."""

        def process(layer: Any, hidden: Tensor, *arguments: Any, **more: Any) -> Tensor:
            if self._on:
                q, k = (
                    part.unflatten(2, (layer.heads, -1)).transpose(1, 2)
                    for part in (layer.to_q(hidden), layer.to_k(hidden))
                )
                maps = ((q * layer.scale).float() @ k.float().transpose(-1, -2)).softmax(dim=-1)
                self.seen = maps.mean(dim=1).sum(dim=1)
            found: Tensor = before(layer, hidden, *arguments, **more)
            return found

        return process


def self_attentive(rule: Rule, watch: Watch, branch: str, scale: float, sigma: float, axes: Axes = EDGES) -> Rule:
    """The paper's algorithm 2 for predictions of x0; `branch` is the branch that is recorded and blurred."""

    def follow(call: Call) -> Tensor:
        (plain,) = call.ask(branch)
        seen = watch.seen  # read now: rules may evaluate the branch again for another x
        assert seen is not None
        x0 = rule(call)
        mask = (seen[: len(plain)] > 1).to(plain)  # positions with more attention than the average, 1
        noise = call.x - plain
        x = torch.lerp(plain, blurred(plain, sigma, axes), _spread(mask, plain)) + noise
        (worse,) = call.at(x).ask(branch)
        return x0 - scale * (noise - (x - worse))

    return follow


def _spread(mask: Tensor, like: Tensor) -> Tensor:
    """Resize a mask of positions [B, places] to cells, [B, 1, h, w]."""
    height, width = like.shape[2:]
    while height * width > mask.shape[1]:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != mask.shape[1]:
        raise BadValueError(
            "self-attention guidance needs the attention of the whole picture",
            expected="a negative conditioning without areas, and a model without tiles",
            got=f"{mask.shape[1]} places",
        )
    return interpolate(mask.unflatten(1, (1, height, width)), like.shape[2:])


def blurred(x: Tensor, sigma: float, axes: Axes = EDGES) -> Tensor:
    """Blur x [B, C, h, w] with a Gaussian kernel of 9x9 cells. Padding is mirrored, or circular along `axes`."""
    place = torch.arange(KERNEL, dtype=torch.float32, device=x.device) - KERNEL // 2
    line = torch.exp(-((place / sigma) ** 2) / 2)
    line = (line / line.sum()).to(x.dtype)
    kernel = (line[:, None] * line[None, :]).expand(x.shape[1], 1, -1, -1)
    edge = KERNEL // 2
    mirror = "reflect" if min(x.shape[2:]) > edge else "replicate"
    wide = pad(x, (edge, edge, 0, 0), mode="circular" if axes.horizontal and x.shape[3] >= edge else mirror)
    wide = pad(wide, (0, 0, edge, edge), mode="circular" if axes.vertical and x.shape[2] >= edge else mirror)
    return conv2d(wide, kernel, groups=x.shape[1])
