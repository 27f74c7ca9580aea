"""DPM-Solver++ (Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling"), deterministic and ancestral.

With lambda = -log(sigma) and h = lambda_next - lambda, the exact solution for a constant x0 is
x_next = exp(-h) x + (1 - exp(-h)) x0, where exp(-h) = sigma_next / sigma. A step to 0 returns x0.
"""

from itertools import pairwise
from math import log

from torch import Tensor

from latentloom.nodes.diffusion.euler import ancestral_step
from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise


def dpmpp_2m(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """DPM-Solver++(2M), algorithm 2: multistep, the slope of x0 in lambda from the last two predictions.

    First order in the first step and in a step to 0.
    """
    old_x0, h_last = None, 0.0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        if sigma_next == 0:
            x = x0
        else:
            h = log(sigma / sigma_next)
            D = x0 if old_x0 is None else x0 + (x0 - old_x0) * (h / (2 * h_last))
            x = x * (sigma_next / sigma) + D * (1 - sigma_next / sigma)
            h_last = h
        old_x0 = x0
    return x


def dpmpp_2s_ancestral(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """DPM-Solver++(2S), algorithm 1 with r = 1/2, to sigma_down, then noise up to sigma_next (k-diffusion)."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        if sigma_down == 0:
            x = x0
        else:
            sigma_s = (sigma * sigma_down) ** 0.5
            u = x * (sigma_s / sigma) + x0 * (1 - sigma_s / sigma)
            D = denoised(u, sigmas.new_tensor(sigma_s))
            x = x * (sigma_down / sigma) + D * (1 - sigma_down / sigma)
            x = x + noise(sigmas[i], sigmas[i + 1]) * (sigma_up * s_noise)
    return x
