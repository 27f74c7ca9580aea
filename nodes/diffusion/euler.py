"""Euler's method on the probability-flow ODE, and its ancestral variant."""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise, churned


def euler(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    churn: float = 0.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Algorithm 2 of Karras et al. (2022) without its second-order correction."""
    for i, sigma_next in enumerate(sigmas[1:].tolist()):
        x, sigma_hat = churned(x, sigmas, i, noise, churn, s_noise)
        x0 = denoised(x, sigma_hat)
        report(i, x, x0)
        d = (x - x0) / sigma_hat.item()
        x = x + d * (sigma_next - sigma_hat.item())
    return x


def ancestral_step(sigma: float, sigma_next: float, eta: float = 1.0) -> tuple[float, float]:
    """Split a step into one down to sigma_down and noise of sigma_up that leads back up to sigma_next.

    With eta 1 the step draws from the posterior q(x_next | x, x0) of DDPM (Ho et al. 2020, eq. 7); with eta 0 it adds
    no noise.
    """
    sigma_up = min(sigma_next, eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
    return (sigma_next**2 - sigma_up**2) ** 0.5, sigma_up


def euler_ancestral(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Euler steps to sigma_down, then noise up to sigma_next (k-diffusion's ancestral sampling)."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        d = (x - x0) / sigma
        x = x + d * (sigma_down - sigma)
        if sigma_next > 0:
            x = x + noise(sigmas[i], sigmas[i + 1]) * (sigma_up * s_noise)
    return x
