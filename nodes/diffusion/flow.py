"""The space of flow matching (Lipman et al. 2022, Liu et al. 2022): x = (1 - sigma) x0 + sigma n, sigma in 0..1.

The network receives sigma and predicts the velocity v = n - x0. Sigmas are shifted towards noise (Esser et al. 2024,
section 5.3.2), because a larger picture needs more noise to hide its content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from latentloom.nodes.diffusion.coordinates import MOST_NOISE, Coordinates, Exploding
from latentloom.nodes.diffusion.prediction import Condition, Network, Predict
from latentloom.nodes.diffusion.timeline import Moment

TIMESTEPS = 1000


def shifted(t: Tensor, shift: float) -> Tensor:
    """Shift times 0..1 towards 1: sigma / (1 - sigma) = shift * t / (1 - t) (Esser et al. 2024, eq. 23)."""
    return shift * t / (1 + (shift - 1) * t)


def flow_table(rule: Mapping[str, Any], cells: tuple[int, ...], steps: int) -> Tensor:
    """Return the sigmas of a model with a shift rule, ascending, for a latent of `cells` (height, width).

    `rule` is {"shift": factor}, or {"by": "size", "low": [tokens, mu], "high": [tokens, mu], "patch"} or {"by":
    "size_and_steps", "patch"}, where the factor is e^mu. "count" is the number of sigmas, 1000 by default.
    """
    count = rule.get("count", TIMESTEPS)
    t = torch.arange(1, count + 1, dtype=torch.float64) / count
    return shifted(t, shift_of(rule, cells, steps))


def shift_of(rule: Mapping[str, Any], cells: tuple[int, ...], steps: int) -> float:
    """Return the shift factor of a rule; see `flow_table`."""
    if "by" not in rule:
        return float(rule["shift"])
    patch = rule["patch"]
    tokens = -(-cells[0] // patch) * -(-cells[1] // patch)
    if rule["by"] == "size":
        return math.exp(_line(tokens, *rule["low"], *rule["high"]))
    return math.exp(_by_steps(tokens, steps))


def _line(tokens: int, low: int, base: float, high: int, top: float) -> float:
    """The line through (low, base) and (high, top), extrapolated beyond both."""
    slope = (top - base) / (high - low)
    return tokens * slope + (base - slope * low)


def _by_steps(tokens: int, steps: int) -> float:
    """Flux.2's fit: mu is linear in the tokens for 200 and for 10 steps, and linear in the steps between them."""
    at_200 = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return at_200
    at_10 = 8.73809524e-05 * tokens + 1.89833333
    slope = (at_200 - at_10) / 190
    return slope * steps + (at_200 - 200 * slope)


def stretched(sigmas: Tensor, terminal: float) -> Tensor:
    """Stretch sigmas [n + 1] that end with 0, so that the last but one is `terminal`; a single step is unchanged."""
    rest = 1 - sigmas[:-1]
    if rest[-1] == 0:
        return sigmas
    return torch.cat([1 - rest * ((1 - terminal) / rest[-1]), sigmas[-1:]])


class Flow:
    """x = (1 - sigma) x0 + sigma n; see `Space`."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def start(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Mix latent and noise. A latent that already has noise is only scaled, as `level` defines it."""
        if not noise.any():
            return latent * (1 - min(sigma, MOST_NOISE))
        return self.noised(latent, noise, sigma)

    def noised(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Return (1 - sigma) latent + sigma noise."""
        return noise * sigma + latent * (1 - sigma)

    def left(self, x: Tensor, sigma: float) -> Tensor:
        """Return x / (1 - sigma), which is x0 + `level(sigma)` n."""
        return x if sigma == 0 else x / (1 - min(sigma, MOST_NOISE))

    def level(self, sigma: float) -> float:
        """Return sigma / (1 - sigma); it is finite at 1 too."""
        sigma = min(sigma, MOST_NOISE)
        return sigma / (1 - sigma)

    def seen(self, x: Tensor, sigma: Tensor | float) -> Tensor:  # noqa: ARG002
        """Return x unchanged."""
        return x

    def time(self, sigma: float) -> float:
        """Return 1000 sigma."""
        return sigma * TIMESTEPS

    def raised(self, sigmas: Tensor, churn: float) -> Tensor:
        """Return sigmas whose `level` is multiplied by 1 + churn."""
        if not churn:
            return sigmas
        level = sigmas.clamp(max=MOST_NOISE) / (1 - sigmas.clamp(max=MOST_NOISE)) * (1 + churn)
        return level / (1 + level)

    def prediction(self, network: Network) -> Predict:
        """Adapt the network to a prediction of x0. The network receives sigma as float32 [B]."""

        def predict(x: Tensor, moment: Moment, condition: Condition) -> Tensor:
            sigma = torch.full((x.shape[0],), moment.sigma, dtype=torch.float32, device=x.device)
            return x - network(x, sigma, **condition).to(x.dtype) * moment.sigma

        return predict

    def velocity(self, x: Tensor, x0: Tensor, sigma: float) -> Tensor:
        """Return v = (x - x0) / sigma."""
        return (x - x0) / sigma

    def from_velocity(self, x: Tensor, v: Tensor, sigma: float) -> Tensor:
        """Return x0 = x - sigma v."""
        return x - v * sigma

    def coordinates(self, sigmas: Tensor, *, stochastic: bool) -> Coordinates:
        """Return the flow's variables for a deterministic sampler, x / (1 - sigma) for one that adds noise."""
        return Exploding(sigmas) if stochastic else Coordinates(sigmas, float(self.table[-1]))
