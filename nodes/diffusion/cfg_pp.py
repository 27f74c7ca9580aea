"""CFG++ (Chung et al. 2024, algorithm 2): steps to the guided prediction, with the noise of the negative prediction.

A guidance scale around 1 is already strong: the paper's lambda is between 0 and 1, which keeps samples near the data
manifold.
"""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.euler import ancestral_step
from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise, Unguided


def euler_cfg_pp(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,  # noqa: ARG001
    report: Report,
    unguided: Unguided | None = None,
) -> Tensor:
    """Euler's method; without `unguided` it is `euler`."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        x = x0 + _noise_of(x, x0, unguided) * (sigma_next / sigma)
    return x


def euler_ancestral_cfg_pp(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
    unguided: Unguided | None = None,
) -> Tensor:
    """Steps to sigma_down, then noise up to sigma_next; without `unguided` it is `euler_ancestral`."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        x = x0 + _noise_of(x, x0, unguided) * (sigma_down / sigma)
        if sigma_next > 0:
            x = x + noise(sigmas[i], sigmas[i + 1]) * (sigma_up * s_noise)
    return x


def _noise_of(x: Tensor, x0: Tensor, unguided: Unguided | None) -> Tensor:
    """Return sigma times the noise in x according to the negative prediction."""
    return x - (x0 if unguided is None else unguided())
