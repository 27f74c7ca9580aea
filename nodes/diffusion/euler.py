"""Euler's method on the probability-flow ODE, and its ancestral variant."""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise


def euler(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """Algorithm 2 of Karras et al. (2022) without its second-order correction and without churn."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        d = (x - x0) / sigma
        x = x + d * (sigma_next - sigma)
    return x


def ancestral_step(sigma: float, sigma_next: float, eta: float = 1.0) -> tuple[float, float]:
    """Split a step into one down to sigma_down and noise of sigma_up that leads back up to sigma_next.

    With eta 1 it is the posterior q(x_next | x, x0) of DDPM (Ho et al. 2020, eq. 7); with eta 0 nothing is added.
    """
    sigma_up = min(sigma_next, eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
    return (sigma_next**2 - sigma_up**2) ** 0.5, sigma_up


def euler_ancestral(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:
    """Euler steps to sigma_down, then noise up to sigma_next (k-diffusion's ancestral sampling, eta 1)."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next)
        d = (x - x0) / sigma
        x = x + d * (sigma_down - sigma)
        if sigma_next > 0:
            x = x + noise(sigmas[i], sigmas[i + 1]) * sigma_up
    return x
