"""The variables in which a sampler computes.

Samplers are written for x = x0 + sigma n. In a flow, x = (1 - sigma) x0 + sigma n, steps that only move towards x0 are
the same. A sampler that adds noise relies on variances that add up, which holds only for x / (1 - sigma) = x0 +
sigma / (1 - sigma) n. In these variables it keeps the mean of the samples; in the flow's own variables it does not.
"""

from __future__ import annotations

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report

MOST_NOISE = 1 - 1e-4  # sigmas of a flow are limited to this, so that sigma / (1 - sigma) is finite


class Coordinates:
    """The variables of the model's space: nothing is converted."""

    def __init__(self, sigmas: Tensor, largest: float) -> None:
        """`sigmas` are the sigmas of the run, `largest` is the largest sigma of the model."""
        self.sigmas = sigmas
        self.largest = largest

    def enter(self, x: Tensor) -> Tensor:
        """Convert x at the first sigma to the sampler's variables."""
        return x

    def leave(self, x: Tensor) -> Tensor:
        """Convert the sampler's x at the last sigma to the model's space."""
        return x

    def denoised(self, denoised: Denoised) -> Denoised:
        """Return the denoiser that the sampler calls."""
        return denoised

    def report(self, report: Report) -> Report:
        """Return the report function that the sampler calls."""
        return report


class Exploding(Coordinates):
    """A flow's x and sigma as x / (1 - sigma) and sigma / (1 - sigma)."""

    def __init__(self, sigmas: Tensor) -> None:
        """`sigmas` are those of the flow. A first sigma of 1, where x is pure noise, is lowered slightly."""
        self._flow = sigmas.double()
        self._whole = bool(self._flow[0] > MOST_NOISE)
        if self._whole:
            self._flow[0] = min(float(self._flow[0]), max(MOST_NOISE, (1 + float(self._flow[1])) / 2))
        super().__init__((self._flow / (1 - self._flow)).float(), MOST_NOISE / (1 - MOST_NOISE))

    def enter(self, x: Tensor) -> Tensor:
        """Return x / (1 - sigma); pure noise is scaled to its level."""
        return x * float(self.sigmas[0]) if self._whole else x / (1 - float(self._flow[0]))

    def leave(self, x: Tensor) -> Tensor:
        """Return x (1 - sigma) for the last sigma."""
        return x * (1 - float(self._flow[-1]))

    def denoised(self, denoised: Denoised) -> Denoised:
        """Return a denoiser that calls the flow's denoiser with the flow's x and sigma."""

        def call(x: Tensor, sigma: Tensor) -> Tensor:
            return denoised(x / (1 + sigma.item()), sigma / (1 + sigma))

        return call

    def report(self, report: Report) -> Report:
        """Return a report function that reports the flow's x."""
        shares = (1 - self._flow).tolist()

        def told(index: int, x: Tensor, denoised: Tensor) -> None:
            report(index, x * shares[index], denoised)

        return told
