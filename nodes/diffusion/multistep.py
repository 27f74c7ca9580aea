"""Linear multistep methods: they reuse the slopes d = (x - x0) / sigma of earlier steps, one model call per step.

x_next = x + sum_j c_j d_{i-j}. The methods differ in the variable of the polynomial through the slopes: LMS uses
sigma, DEIS the time of the variance-preserving process, PNDM equal steps of time.
"""

from itertools import pairwise
from math import log

import numpy as np
import numpy.typing as npt
from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise

Array = npt.NDArray[np.float64]


def _lagrange(nodes: Array, tau: Array) -> Array:
    """The Lagrange polynomials of `nodes` at the points tau: [len(nodes), len(tau)]."""
    rows = []
    for j, t_j in enumerate(nodes):
        others = np.delete(nodes, j)[:, None]
        rows.append(np.prod((tau - others) / (t_j - others), axis=0))
    return np.stack(rows)


def _multistep(
    denoised: Denoised, x: Tensor, sigmas: Tensor, report: Report, coefficients: list[list[float]]
) -> Tensor:
    ds: list[Tensor] = []
    for i, sigma in enumerate(sigmas[:-1].tolist()):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        ds = [(x - x0) / sigma, *ds[:3]]
        for c, d in zip(coefficients[i], ds, strict=False):
            x = x + d * c
    return x


def lms(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """Adams-Bashforth of order 4 for unequal steps in sigma (Crowson, k-diffusion).

    Lower orders in the first steps; first order in a step to 0, where the extrapolation would be the farthest.
    """
    s = np.array(sigmas.tolist())
    tau, weights = np.polynomial.legendre.leggauss(4)
    coefficients = []
    for i, (sigma, sigma_next) in enumerate(pairwise(s)):
        nodes = s[i::-1][: 4 if sigma_next > 0 else 1]
        half = (sigma_next - sigma) / 2
        coefficients.append((_lagrange(nodes, sigma + half * (1 + tau)) @ weights * half).tolist())
    return _multistep(denoised, x, sigmas, report, coefficients)


# The linear VP process (Song et al. 2021) with sigma 80 at t = 1 and 0.002 at t = 0.001, as in Karras et al. (2022):
# sigma^2 + 1 = exp(beta_d t^2 / 2 + beta_min t).
_BETA_D = 2 * (log(0.002**2 + 1) / 1e-3 - log(80**2 + 1)) / (1e-3 - 1)
_BETA_MIN = log(80**2 + 1) - _BETA_D / 2


def _vp_time(sigma: Array) -> Array:
    return (np.sqrt(_BETA_MIN**2 + 2 * _BETA_D * np.log1p(sigma**2)) - _BETA_MIN) / _BETA_D


def _vp_dsigma_dt(t: Array) -> Array:
    sigma = np.sqrt(np.expm1(_BETA_D * t**2 / 2 + _BETA_MIN * t))
    slope: Array = (_BETA_D * t + _BETA_MIN) * (sigma**2 + 1) / (2 * sigma)
    return slope


def deis(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """tAB-DEIS of order 3 (Zhang & Chen 2023): the slopes' polynomial is taken in the VP process's time.

    As in ComfyUI, the integral is the sum over 10,000 points, including both ends, times a 10,000th of the interval;
    this changes a result by 1e-5 compared with the exact integral. First order in a step to 0.
    """
    s = sigmas.tolist()
    t = _vp_time(np.array(s))
    coefficients = []
    for i, (sigma, sigma_next) in enumerate(pairwise(s)):
        if i == 0 or sigma_next == 0:
            coefficients.append([sigma_next - sigma])
        else:
            tau = np.linspace(t[i], t[i + 1], 10_000)
            dsigma = _vp_dsigma_dt(tau) * (t[i + 1] - t[i]) / len(tau)
            coefficients.append((_lagrange(t[i::-1][:3], tau) @ dsigma).tolist())
    return _multistep(denoised, x, sigmas, report, coefficients)


def pndm(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """PLMS of Liu et al. (2022), "Pseudo Numerical Methods": Adams-Bashforth with the weights of equal time steps.

    The first step is a Heun step (one extra model call), as in Stable Diffusion, instead of the paper's Runge-Kutta.
    """
    weights = ([1.0], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24])
    ds: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        ds = [(x - x0) / sigma, *ds[:3]]
        d = ds[0] * weights[len(ds) - 1][0]
        for w, d_j in zip(weights[len(ds) - 1][1:], ds[1:], strict=True):
            d = d + d_j * w
        if i == 0 and sigma_next > 0:
            x_2 = x + d * (sigma_next - sigma)
            d = (d + (x_2 - denoised(x_2, sigmas[1])) / sigma_next) / 2
        x = x + d * (sigma_next - sigma)
    return x
