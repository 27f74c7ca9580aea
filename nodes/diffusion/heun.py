"""Second-order single-step methods on the probability-flow ODE: Heun's and the midpoint method (DPM-Solver-2)."""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.euler import ancestral_step
from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise, churned

FAR = 900.0  # sigma / sigma_down from which a midpoint step is replaced by an Euler step


def heun(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    churn: float = 0.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Algorithm 2 (Heun steps) of Karras et al. (2022); the step to 0 is Euler's."""
    for i, sigma_next in enumerate(sigmas[1:].tolist()):
        x, sigma_hat = churned(x, sigmas, i, noise, churn, s_noise)
        x0, sigma = denoised(x, sigma_hat), sigma_hat.item()
        report(i, x, x0)
        d = (x - x0) / sigma
        if sigma_next > 0:
            x_2 = x + d * (sigma_next - sigma)
            d_2 = (x_2 - denoised(x_2, sigmas[i + 1])) / sigma_next
            d = (d + d_2) / 2
        x = x + d * (sigma_next - sigma)
    return x


def heunpp2(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """Heun++ (Carzit, sd-webui-samplers-scheduler): the slopes at the next two sigmas count by their level of noise.

    The last step is an Euler step; the last but one looks one sigma ahead.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        d = (x - x0) / sigma
        ahead = min(3, len(sigmas) - 1 - i)
        slopes, x_n = [d], x
        for n in range(i + 1, i + ahead):
            x_n = x_n + slopes[-1] * (sigmas[n] - sigmas[n - 1]).item()
            slopes.append((x_n - denoised(x_n, sigmas[n])) / sigmas[n].item())
        shares = [sigmas[n].item() / (ahead * sigmas[0].item()) for n in range(i + 1, i + ahead)]
        for share, slope in zip(shares, slopes[1:], strict=True):
            d = d + (slope - slopes[0]) * share
        x = x + d * (sigma_next - sigma)
    return x


def _midpoint(denoised: Denoised, x: Tensor, d: Tensor, sigma: Tensor, sigma_next: float) -> Tensor:
    """The step from sigma to sigma_next > 0 with the slope at their geometric mean."""
    s = sigma.item()
    sigma_mid = (s * sigma_next) ** 0.5
    x_2 = x + d * (sigma_mid - s)
    d_2 = (x_2 - denoised(x_2, sigma.new_tensor(sigma_mid))) / sigma_mid
    return x + d_2 * (sigma_next - s)


def dpm_2(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    churn: float = 0.0,
    s_noise: float = 1.0,
) -> Tensor:
    """DPM-Solver-2 of Lu et al. (2022) as a plain midpoint rule in sigma, midpoint in log sigma (k-diffusion's dpm_2).

    The paper weights the slopes with exponential integrators; this rule uses Karras' d. The step to 0 is an Euler step.
    """
    for i, sigma_next in enumerate(sigmas[1:].tolist()):
        x, sigma_hat = churned(x, sigmas, i, noise, churn, s_noise)
        x0 = denoised(x, sigma_hat)
        report(i, x, x0)
        d = (x - x0) / sigma_hat.item()
        x = _midpoint(denoised, x, d, sigma_hat, sigma_next) if sigma_next > 0 else x - d * sigma_hat.item()
    return x


def dpm_2_ancestral(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """`dpm_2` steps to sigma_down, then noise up to sigma_next (k-diffusion).

    A midpoint step multiplies the change of x0 on the way by sqrt(sigma / sigma_down). From the pure noise of a flow
    or of zero terminal SNR that factor is in the hundreds and leaves only noise, so that step is Euler's.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        d = (x - x0) / sigma
        if sigma_down > 0:
            far = sigma > FAR * sigma_down
            x = x + d * (sigma_down - sigma) if far else _midpoint(denoised, x, d, sigmas[i], sigma_down)
            x = x + noise(sigmas[i], sigmas[i + 1]) * (sigma_up * s_noise)
        else:
            x = x + d * (sigma_down - sigma)
    return x
