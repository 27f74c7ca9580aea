"""What a denoiser learns: to undo noise of a random level, by the mean squared error of what it predicts.

Epsilon, v or x0 (Ho et al. 2020; Salimans & Ho 2022) for Stable Diffusion, the velocity (Lipman et al. 2022) for flows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from latentloom.engine import Model
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.flow import shifted
from latentloom.nodes.diffusion.space import space_of

if TYPE_CHECKING:
    from latentloom.nodes.diffusion.prediction import PredictionKind


@dataclass(frozen=True, slots=True)
class Example:
    """Noised latents [B, C, h, w] with their time [B], what the network should answer, and the weight of each error."""

    x: Tensor
    time: Tensor
    target: Tensor
    weight: Tensor


class Objective(Protocol):
    """Makes examples of latents."""

    def __call__(self, latents: Tensor, noise: Tensor, shares: Tensor) -> Example:
        """Noise scaled latents; `shares` [B] in 0..1 choose the levels, 1 is the most noise."""


def objective_of(model: Model, gamma: float) -> Objective:
    """Return what a model was trained to do. `gamma` caps the signal-to-noise ratio of the weights; 0: no weights.

    Raises BadValueError for a distilled model, which learns otherwise.
    """
    kind = model.info["prediction"]
    if kind == "flow":
        return Velocity()
    if kind not in ("epsilon", "v", "sample"):
        raise BadValueError(
            f"'{model.files[0].name}' is distilled, and cannot be trained like other models",
            expected="a model that predicts epsilon, v, x0 or the velocity of a flow",
            got=kind,
            hint="train on the model that it was distilled from",
        )
    return Noise(space_of(model).table.float(), kind, gamma)


@dataclass(frozen=True, slots=True)
class Noise:
    """The objective of Stable Diffusion. `table` holds the sigmas of the timesteps, ascending."""

    table: Tensor
    kind: PredictionKind
    gamma: float

    def __call__(self, latents: Tensor, noise: Tensor, shares: Tensor) -> Example:
        """See `Objective`. The timesteps are evenly distributed."""
        time = (shares * len(self.table)).long().clamp(max=len(self.table) - 1)
        sigma = self.table.to(latents.device)[time][:, None, None, None]
        signal = (sigma**2 + 1) ** -0.5
        target = {"epsilon": noise, "v": signal * (noise - sigma * latents), "sample": latents}[self.kind]
        return Example(signal * (latents + sigma * noise), time, target, self._weight(sigma.flatten() ** -2))

    def _weight(self, snr: Tensor) -> Tensor:
        """min(snr, gamma) in units of the error of x0 (Hang et al. 2023), for what the network predicts."""
        if not self.gamma:
            return torch.ones_like(snr)
        capped = snr.clamp(max=self.gamma)
        return {"epsilon": capped / snr, "v": capped / (snr + 1), "sample": capped}[self.kind]


class Velocity:
    """The objective of flow matching. Levels are logit-normal (Esser et al. 2024, section 3.1)."""

    def __call__(self, latents: Tensor, noise: Tensor, shares: Tensor) -> Example:
        """See `Objective`."""
        sigma = torch.special.ndtri(shares.clamp(1e-4, 1 - 1e-4)).sigmoid()
        level = sigma[:, None, None, None]
        return Example((1 - level) * latents + level * noise, sigma, noise - latents, torch.ones_like(sigma))


def drawn(shape: tuple[int, ...], seed: list[int], shift: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return noise, and shares that are spread over the batch, both drawn from numbers.

    The shares are even for a shift of 1; a larger one gives more noise (Esser et al. 2024, eq. 23).
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    even = (np.arange(shape[0]) + rng.random(shape[0])) / shape[0]
    shares = shifted(torch.from_numpy(rng.permutation(even)).float(), shift)
    return torch.randn(shape, generator=generator), shares
