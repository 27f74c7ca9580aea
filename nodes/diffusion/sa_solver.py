"""SA-Solver, stochastic Adams methods (Xue et al. 2023, "SA-Solver: Stochastic Adams Solver for Fast Sampling of
Diffusion Models", algorithm 1 and appendix).

The predictor fits a polynomial in lambda = -log(sigma) to the last three predictions of x0, the corrector to the last
four. The polynomial is integrated exactly together with the linear part of an SDE of noise level tau. tau is eta in
the middle of the process and 0 outside it, where noise reduces quality.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import exp, expm1, log, sqrt

import numpy as np
import torch
from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise

PREDICTOR, CORRECTOR = 3, 4  # orders
NOISY = (0.5711889, 5.0924077)  # where tau is eta: from 20 to 80 % of Stable Diffusion's timesteps


def sa_solver(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Predict, evaluate, correct: one model call for each step."""
    return _solved(denoised, x, sigmas, noise, report, eta, s_noise, again=False)


def sa_solver_pece(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Predict, evaluate, correct, evaluate: the prediction is made again where the corrector has led."""
    return _solved(denoised, x, sigmas, noise, report, eta, s_noise, again=True)


def _solved(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float,
    s_noise: float,
    *,
    again: bool,
) -> Tensor:
    levels = sigmas.tolist()
    if len(levels) < 2:
        return x
    lambdas = [-log(sigma) for sigma in levels if sigma > 0]
    ends_at_0 = levels[-1] == 0
    x0s: list[Tensor] = []
    predicted, tau, drawn = x, 0.0, torch.zeros_like(x)
    for i, (sigma, sigma_next) in enumerate(pairwise(levels)):
        x0 = denoised(predicted, sigmas[i])
        report(i, predicted, x0)
        x0s = [*x0s, x0][-CORRECTOR:]
        left = len(levels) - 1 - i  # remaining steps, including this one
        order = min(CORRECTOR, len(x0s), left) if ends_at_0 else min(CORRECTOR, len(x0s))
        if i > 0 and order > 0:
            x = _adams(x, x0s, lambdas[i + 1 - order : i + 1], lambdas[i - 1], lambdas[i], tau) + drawn
            if again:
                x0s[-1] = x0 = denoised(x, sigmas[i])
        else:
            x = predicted
        if sigma_next == 0:
            x = x0
        else:
            tau = eta if NOISY[0] <= sigma_next <= NOISY[1] else 0.0
            order = min(PREDICTOR, len(x0s), left - 1) if ends_at_0 else min(PREDICTOR, len(x0s))
            predicted = _adams(x, x0s, lambdas[i + 1 - order : i + 1], lambdas[i], lambdas[i + 1], tau)
            if tau * s_noise > 0:
                deviation = sqrt(-expm1(-2 * tau**2 * log(sigma / sigma_next)))
                drawn = noise(sigmas[i], sigmas[i + 1]) * (sigma_next * deviation * s_noise)
                predicted = predicted + drawn
            else:
                drawn = torch.zeros_like(x)
            if i == len(levels) - 2:
                x = predicted
    return x


def _adams(x: Tensor, x0s: Sequence[Tensor], nodes: Sequence[float], start: float, end: float, tau: float) -> Tensor:
    """Take x from lambda `start` to `end`. The last predictions in x0s belong to the lambdas in `nodes`."""
    h, rate = end - start, 1 + tau**2
    places = np.array(nodes) - end
    weights = np.linalg.solve(np.vander(places, increasing=True).T, _moments(h, rate, len(nodes)))
    found = x * exp(-h * rate)
    for weight, x0 in zip(weights.tolist(), x0s[-len(nodes) :], strict=True):
        found = found + x0 * weight
    return found


def _moments(h: float, rate: float, count: int) -> list[float]:
    """The integrals of rate e^(rate u) u^p over u from -h to 0, for p = 0, 1, ..., each from the last one by parts."""
    found = [-expm1(-rate * h)]
    for p in range(1, count):
        found.append(-((-h) ** p) * exp(-rate * h) - p / rate * found[-1])
    return found
