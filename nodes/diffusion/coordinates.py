"""In which variables a sampler computes.

Samplers are written for x = x0 + sigma n. In a flow, x = (1 - sigma) x0 + sigma n, the steps that only go towards x0
are the same; but noise put on top adds up by squares only in x / (1 - sigma) = x0 + sigma / (1 - sigma) n. There a
sampler that adds noise keeps the mean of what it draws; in the flow's own variables it does not.
"""

from __future__ import annotations

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report

MOST_NOISE = 1 - 1e-4  # the largest sigma of a flow that has a finite sigma / (1 - sigma)


class Coordinates:
    """The variables of the model's space: nothing changes."""

    def __init__(self, sigmas: Tensor, largest: float) -> None:
        """`sigmas` are those of the run, `largest` is the model's largest one."""
        self.sigmas = sigmas
        self.largest = largest

    def enter(self, x: Tensor) -> Tensor:
        """x at the first sigma, for the sampler."""
        return x

    def leave(self, x: Tensor) -> Tensor:
        """The sampler's x at the last sigma, for the model's space."""
        return x

    def denoised(self, denoised: Denoised) -> Denoised:
        """The denoiser as the sampler calls it."""
        return denoised

    def report(self, report: Report) -> Report:
        """What is told of a step, as the sampler tells it."""
        return report


class Exploding(Coordinates):
    """A flow's x and sigma as x / (1 - sigma) and sigma / (1 - sigma)."""

    def __init__(self, sigmas: Tensor) -> None:
        """`sigmas` are the flow's. A first one of 1, where x is noise alone, is taken a little lower."""
        self._flow = sigmas.double()
        self._whole = bool(self._flow[0] > MOST_NOISE)
        if self._whole:
            self._flow[0] = min(float(self._flow[0]), max(MOST_NOISE, (1 + float(self._flow[1])) / 2))
        super().__init__((self._flow / (1 - self._flow)).float(), MOST_NOISE / (1 - MOST_NOISE))

    def enter(self, x: Tensor) -> Tensor:
        """x / (1 - sigma); noise alone at its level."""
        return x * float(self.sigmas[0]) if self._whole else x / (1 - float(self._flow[0]))

    def leave(self, x: Tensor) -> Tensor:
        """Back by the last sigma."""
        return x * (1 - float(self._flow[-1]))

    def denoised(self, denoised: Denoised) -> Denoised:
        """Calls the flow's denoiser with its own x and sigma."""

        def call(x: Tensor, sigma: Tensor) -> Tensor:
            return denoised(x / (1 + sigma.item()), sigma / (1 + sigma))

        return call

    def report(self, report: Report) -> Report:
        """Tells the flow's own x."""
        shares = (1 - self._flow).tolist()

        def told(index: int, x: Tensor, denoised: Tensor) -> None:
            report(index, x * shares[index], denoised)

        return told
