"""ER-SDE-Solver-3 for the variance-exploding process (Cui et al. 2023, "Elucidating the Solution Space of Extended
Reverse-Time SDE for Diffusion Models", algorithm 3 and section 4.2)."""

from collections.abc import Callable
from itertools import pairwise
from math import exp

import numpy as np
from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise

_POINTS = 200  # per integral over a step


def _phi(sigma: float) -> float:
    """The paper's noise scale ER SDE 5: sigma (exp(sigma^0.3) + 10)."""
    return sigma * (exp(sigma**0.3) + 10)


def _integral(f: Callable[[float], float], low: float, high: float) -> float:
    width = (high - low) / _POINTS
    return float(np.sum([f(low + i * width) for i in range(_POINTS)])) * width


def _added(sigma: float, sigma_next: float, r: float) -> float:
    """The deviation of the noise that a step adds, to reach sigma_next after the noise in x was scaled by r."""
    return float(max(sigma_next**2 - (sigma * r) ** 2, 0.0) ** 0.5)


def er_sde(
    denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report, s_noise: float = 1.0
) -> Tensor:
    """Taylor steps of order 3 in sigma, of lower orders while they start; a step to 0 gives x0.

    The integrals of 1 / phi are sums over 200 points from sigma_next up, as in the paper's code.
    """
    s = sigmas.tolist()
    x0_old, slope_old = x, x
    for i, (sigma, sigma_next) in enumerate(pairwise(s)):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        if sigma_next == 0:
            return x0
        phi, dt = _phi(sigma_next), sigma_next - sigma
        r = phi / _phi(sigma)
        x = x * r + x0 * (1 - r)
        if i > 0:
            slope = (x0 - x0_old) / (sigma - s[i - 1])
            x = x + slope * (dt + phi * _integral(lambda u: 1 / _phi(u), sigma_next, sigma))
            if i > 1:
                curvature = (slope - slope_old) / ((sigma - s[i - 2]) / 2)
                second = _integral(lambda u, at=sigma: (u - at) / _phi(u), sigma_next, sigma)
                x = x + curvature * (dt**2 / 2 + phi * second)
            slope_old = slope
        x = x + noise(sigmas[i], sigmas[i + 1]) * (_added(sigma, sigma_next, r) * s_noise)
        x0_old = x0
    return x
