"""SDE variants of DPM-Solver++ (Lu et al. 2022, appendix on "SDE-DPM-Solver++"; 3M by Crowson, k-diffusion).

They solve the reverse-time SDE with noise level eta: 1 is the diffusion of DDPM, 0 the ODE. The noise should come from
one Brownian path, so that runs with different step counts give similar results.
"""

from collections.abc import Callable
from itertools import pairwise
from math import exp, expm1, log

from torch import Tensor

from latentloom.nodes.diffusion.euler import ancestral_step
from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise


def dpmpp_sde(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++(2S) with r = 1/2 (k-diffusion): two stages that draw from the same Brownian path."""
    lambdas = sigmas.log().neg()
    sigmas_s = (lambdas[:-1] + (lambdas[1:] - lambdas[:-1]) * 0.5).neg().exp()
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        if sigma_next == 0:
            x = x0
        else:
            down, up = ancestral_step(sigma, sigmas_s[i].item(), eta)
            u = x * (down / sigma) + x0 * (1 - down / sigma)
            u = u + noise(sigmas[i], sigmas_s[i]) * (up * s_noise)
            D = denoised(u, sigmas_s[i])
            down, up = ancestral_step(sigma, sigma_next, eta)
            x = x * (down / sigma) + D * (1 - down / sigma)
            x = x + noise(sigmas[i], sigmas[i + 1]) * (up * s_noise)
    return x


def dpmpp_2m_sde(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++(2M) with the midpoint rule for the slope of x0 in lambda; a step to 0 gives x0."""
    return _two_steps(denoised, x, sigmas, noise, report, eta, s_noise, lambda h: -expm1(-h) / 2)


def dpmpp_2m_sde_heun(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++(2M) with the slope of x0 in lambda integrated exactly, the paper's other choice."""
    return _two_steps(denoised, x, sigmas, noise, report, eta, s_noise, lambda h: 1 + expm1(-h) / h)


def _two_steps(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float,
    s_noise: float,
    weight: Callable[[float], float],
) -> Tensor:
    """The loop of both 2M samplers; `weight` gives the weight of the change of x0 over a step of (1 + eta) h."""
    old_x0, h_last = None, 0.0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        if sigma_next == 0:
            x = x0
        else:
            h = log(sigma / sigma_next)
            x = x * exp(-(1 + eta) * h) + x0 * -expm1(-(1 + eta) * h)
            if old_x0 is not None:
                x = x + (x0 - old_x0) * (weight((1 + eta) * h) * h / h_last)
            x = x + noise(sigmas[i], sigmas[i + 1]) * (sigma_next * (-expm1(-2 * eta * h)) ** 0.5 * s_noise)
            h_last = h
        old_x0 = x0
    return x


def dpmpp_3m_sde(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """DPM-Solver++(3M) SDE (k-diffusion): slope and curvature of x0 in lambda from the last three predictions.

    phi_2 and phi_3 are those of exponential integrators; the first two steps are of first and second order.
    """
    x0_1, x0_2 = x, x
    h_1, h_2 = 0.0, 0.0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        if sigma_next == 0:
            x = x0
        else:
            h = log(sigma / sigma_next)
            h_eta = (1 + eta) * h
            phi_2 = expm1(-h_eta) / h_eta + 1
            x = x * exp(-h_eta) + x0 * -expm1(-h_eta)
            if i == 1:
                x = x + (x0 - x0_1) * (phi_2 * h / h_1)
            elif i > 1:
                r0, r1 = h_1 / h, h_2 / h
                phi_3 = phi_2 / h_eta - 0.5
                d1_0, d1_1 = (x0 - x0_1) / r0, (x0_1 - x0_2) / r1
                d1 = d1_0 + (d1_0 - d1_1) * (r0 / (r0 + r1))
                d2 = (d1_0 - d1_1) / (r0 + r1)
                x = x + d1 * phi_2 - d2 * phi_3
            x = x + noise(sigmas[i], sigmas[i + 1]) * (sigma_next * (-expm1(-2 * eta * h)) ** 0.5 * s_noise)
            h_1, h_2 = h, h_1
        x0_1, x0_2 = x0, x0_1
    return x
