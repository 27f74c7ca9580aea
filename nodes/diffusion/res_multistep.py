"""RES, the refined exponential solver in its multistep form (Zhang et al. 2023, "Improved Order Analysis and Design of
Exponential Integrator for Diffusion Models Sampling"), deterministic and ancestral.

With lambda = -log(sigma) and h = lambda_next - lambda, the exact solution for an x0 that is linear in lambda through
the last two predictions is x_next = exp(-h) x + h (b1 x0 + b2 x0_old), where b2 = phi_2(-h) / c, b1 = phi_1(-h) - b2
and c h is the distance in lambda from x0 to x0_old.
"""

from itertools import pairwise
from math import expm1, log

from torch import Tensor

from latentloom.nodes.diffusion.euler import ancestral_step
from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise


def res_multistep(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:
    """RES(2M), the ODE. First order in the first step and in a step to 0."""
    return res_multistep_ancestral(denoised, x, sigmas, noise, report, eta=0.0)


def res_multistep_ancestral(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """RES(2M) to sigma_down, then noise up to sigma_next; the old prediction is placed from the last sigma_down."""
    x0_old, down_old = x, 0.0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        down, up = ancestral_step(sigma, sigma_next, eta)
        if i == 0 or down == 0:
            x = x * (down / sigma) + x0 * (1 - down / sigma)
        else:
            h = log(sigma / down)
            c = log(down_old / sigmas[i - 1].item()) / h
            phi_1 = -expm1(-h) / h
            b2 = (1 - phi_1) / h / c
            x = x * (down / sigma) + (x0 * (phi_1 - b2) + x0_old * b2) * h
        if up > 0:
            x = x + noise(sigmas[i], sigmas[i + 1]) * (up * s_noise)
        x0_old, down_old = x0, down
    return x
