"""The space of Stable Diffusion: x = x0 + sigma n, for networks that receive the variance-preserving x_t."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from latentloom.nodes.diffusion.coordinates import Coordinates
from latentloom.nodes.diffusion.prediction import (
    Network,
    Predict,
    PredictionKind,
    initial_latent,
    prediction,
    timestep_of,
)
from latentloom.nodes.diffusion.schedules import beta_table, betas_of, zero_snr_table

LCM_TIMESTEPS = 50  # Luo et al. 2023, section 4.3: every 20th of 1000


def table_of(info: Mapping[str, Any]) -> Tensor:
    """Return the sigmas of a model by its facts, ascending, one per timestep of its training or distillation."""
    table = beta_table(betas_of(*info["betas"], info.get("beta_schedule", "scaled_linear"), info.get("trained_betas")))
    table = zero_snr_table(table) if info.get("zero_snr") else table
    stride = stride_of(info, len(table))
    return table[stride - 1 :: stride]


def stride_of(info: Mapping[str, Any], timesteps: int = 1000) -> int:
    """Return the distance between a model's timesteps: a latent consistency model is distilled on 50 of 1000."""
    return timesteps // LCM_TIMESTEPS if info["prediction"] == "lcm" else 1


class VarianceExploding:
    """x = x0 + sigma n; see `Space`."""

    def __init__(self, table: Tensor, kind: PredictionKind, stride: int = 1) -> None:
        """`kind` is the network's prediction kind; `table` holds the sigmas of every stride-th timestep."""
        self.table = table
        self._stride = stride
        self._kind = kind
        self._log_sigmas = table.log().float()

    def start(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Return the latent plus noise of level sigma; see `initial_latent`."""
        return initial_latent(noise, latent, sigma, self.table[-1])

    def noised(self, latent: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Return latent + sigma * noise."""
        return latent + noise * sigma

    def left(self, x: Tensor, sigma: float) -> Tensor:  # noqa: ARG002
        """Return x unchanged."""
        return x

    def level(self, sigma: float) -> float:
        """Return sigma."""
        return sigma

    def seen(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return the variance-preserving x / sqrt(sigma^2 + 1)."""
        return x / (sigma**2 + 1) ** 0.5

    def time(self, sigma: float) -> float:
        """Return the nearest training timestep."""
        return float((timestep_of(torch.tensor(sigma), self._log_sigmas) + 1) * self._stride - 1)

    def raised(self, sigmas: Tensor, churn: float) -> Tensor:
        """Return the sigmas times 1 + churn."""
        return sigmas * (1 + churn)

    def prediction(self, network: Network) -> Predict:
        """Adapt the network to a prediction of x0. The network receives integer timesteps."""
        return prediction(network, self._kind, self.table, self._stride)

    def velocity(self, x: Tensor, x0: Tensor, sigma: float) -> Tensor:
        """Return v = (x / (sigma^2 + 1) - x0) * sqrt(sigma^2 + 1) / sigma (Salimans & Ho 2022)."""
        return (x / (sigma**2 + 1) - x0) * ((sigma**2 + 1) ** 0.5 / sigma)

    def from_velocity(self, x: Tensor, v: Tensor, sigma: float) -> Tensor:
        """Return x0 from v; the inverse of `velocity`."""
        return x / (sigma**2 + 1) - v * (sigma / (sigma**2 + 1) ** 0.5)

    def coordinates(self, sigmas: Tensor, *, stochastic: bool) -> Coordinates:  # noqa: ARG002
        """Return the variables of this space, for which samplers are written."""
        return Coordinates(sigmas, float(self.table[-1].float()))
