"""Second-order single-step methods on the probability-flow ODE: Heun's and the midpoint method (DPM-Solver-2)."""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.euler import ancestral_step
from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise


def heun(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """Algorithm 2 (Heun steps) of Karras et al. (2022) without churn; the step to 0 is Euler's."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        d = (x - x0) / sigma
        if sigma_next > 0:
            x_2 = x + d * (sigma_next - sigma)
            d_2 = (x_2 - denoised(x_2, sigmas[i + 1])) / sigma_next
            d = (d + d_2) / 2
        x = x + d * (sigma_next - sigma)
    return x


def _midpoint(denoised: Denoised, x: Tensor, d: Tensor, sigmas: Tensor, i: int, sigma_next: float) -> Tensor:
    """The step from sigmas[i] to sigma_next > 0 with the slope at their geometric mean."""
    sigma = sigmas[i].item()
    sigma_mid = (sigma * sigma_next) ** 0.5
    x_2 = x + d * (sigma_mid - sigma)
    d_2 = (x_2 - denoised(x_2, sigmas.new_tensor(sigma_mid))) / sigma_mid
    return x + d_2 * (sigma_next - sigma)


def dpm_2(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """DPM-Solver-2 of Lu et al. (2022) as a plain midpoint rule in sigma, midpoint in log sigma (k-diffusion's dpm_2).

    The paper weighs the slopes with exponential integrators; this rule keeps Karras' d. The step to 0 is Euler's.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        d = (x - x0) / sigma
        x = _midpoint(denoised, x, d, sigmas, i, sigma_next) if sigma_next > 0 else x + d * (sigma_next - sigma)
    return x


def dpm_2_ancestral(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:
    """`dpm_2` steps to sigma_down, then noise up to sigma_next (k-diffusion, eta 1)."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next)
        d = (x - x0) / sigma
        if sigma_down > 0:
            x = _midpoint(denoised, x, d, sigmas, i, sigma_down)
            x = x + noise(sigmas[i], sigmas[i + 1]) * sigma_up
        else:
            x = x + d * (sigma_down - sigma)
    return x
