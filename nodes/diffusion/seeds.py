"""SEEDS, stochastic exponential integrators of one step (Gonzalez et al. 2023, "SEEDS: Exponential SDE Solvers for Fast
High-Quality Sampling from Diffusion Models", algorithms 2 and 3).

With lambda = -log(sigma) each stage solves the SDE of noise level eta from the start of the step; the linear part is
solved exactly. The stages of a step share one noise path: noise drawn for a part of the step decays in later parts.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import exp, expm1, log, sqrt

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise


def seeds_2(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SEEDS-2 with its stage in the middle of the step; a step to 0 gives x0."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        if sigma_next == 0:
            x = x0
        else:
            step = _Step(sigma, sigma_next, (0.5,), eta, s_noise)
            drawn = step.draw(noise, sigmas[i], sigmas[i + 1])
            u = step.to(0, x, x0 * step.weight(0), drawn)
            x = step.to(1, x, denoised(u, sigmas.new_tensor(step.sigmas[0])) * step.weight(1), drawn)
    return x


def seeds_3(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SEEDS-3 with stages after one and two thirds of the step; a step to 0 gives x0."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        if sigma_next == 0:
            x = x0
        else:
            step = _Step(sigma, sigma_next, (1 / 3, 2 / 3), eta, s_noise)
            drawn = step.draw(noise, sigmas[i], sigmas[i + 1])
            u = step.to(0, x, x0 * step.weight(0), drawn)
            x0_1 = denoised(u, sigmas.new_tensor(step.sigmas[0]))
            slope = 2 * step.slope(1)
            u = step.to(1, x, x0 * (step.weight(1) - slope) + x0_1 * slope, drawn)
            x0_2 = denoised(u, sigmas.new_tensor(step.sigmas[1]))
            slope = 1.5 * step.slope(2)
            x = step.to(2, x, x0 * (step.weight(2) - slope) + x0_2 * slope, drawn)
    return x


class _Step:
    """The coefficients of one step. Its stages are at `shares` of the step in lambda; the last stage is its end."""

    def __init__(self, sigma: float, sigma_next: float, shares: Sequence[float], eta: float, s_noise: float) -> None:
        self._sigma, self._eta, self._s_noise = sigma, eta, s_noise
        h = log(sigma / sigma_next)
        self._h = [*(share * h for share in shares), h]
        self.sigmas = [*(sigma * exp(-share * h) for share in shares), sigma_next]

    def weight(self, stage: int) -> float:
        """Return the weight of a constant x0, -expm1(-(1 + eta) h)."""
        return -expm1(-(1 + self._eta) * self._h[stage])

    def slope(self, stage: int) -> float:
        """Return the weight of an x0 that grows from 0 to 1 over the stage, 1 - phi_1."""
        h = (1 + self._eta) * self._h[stage]
        return 1 + expm1(-h) / h

    def draw(self, noise: StepNoise, first: Tensor, last: Tensor) -> list[Tensor]:
        """Draw noise for each part of the step; none if eta or s_noise is 0."""
        if self._eta * self._s_noise == 0:
            return []
        inner = [first.new_tensor(sigma) for sigma in self.sigmas[:-1]]
        return [noise(high, low) for high, low in pairwise([first, *inner, last])]

    def to(self, stage: int, x: Tensor, x0: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """Return x at the end of a stage; `x0` is already weighted."""
        sigma = self.sigmas[stage]
        found = x * (sigma / self._sigma * exp(-self._eta * self._h[stage])) + x0
        for part in range(stage + 1 if drawn else 0):
            found = found + drawn[part] * (self._fading(stage - part) * sigma * self._s_noise)
        return found

    def _fading(self, parts: int) -> float:
        """The deviation of noise that was drawn `parts` parts ago; all parts have the same length."""
        least, most = (self._h[parts - 1] if parts else 0.0), self._h[parts]
        return sqrt(expm1(-2 * least * self._eta) - expm1(-2 * most * self._eta))
