"""UniPC (Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework"), data prediction, order 3.

In x = x0 + sigma * noise, with lambda = -log(sigma) and h = lambda_next - lambda, predictor and corrector read
x_next = exp(-h) x + (1 - exp(-h)) m_0 - B(h) sum_k rho_k D_k / r_k, where D_k are differences to m_0 of earlier (and,
for the corrector, of the new) predictions. The weights are computed in float64: in float32 the phi functions lose
their precision by cancellation.
"""

from dataclasses import dataclass
from math import expm1, log
from typing import Literal

import numpy as np
from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise

# The reference code ends at 0.001, but recomputes it as sqrt(1 - alpha_bar) in float32, which gives exactly this value.
_SIGMA_END = 2**-10


@dataclass(frozen=True, slots=True)
class _Step:
    """Weights of one step: of x, of m_0, and of the differences m_k - m_0 (the corrector's last is the new one)."""

    x: float
    m_0: float
    predictor: list[float]
    corrector: list[float]


def _step(s: list[float], i: int, order: int, variant: Literal["bh1", "bh2"]) -> _Step:
    """The weights for the step from s[i] to s[i + 1]; r_k, R_p, b and B(h) as in the paper."""
    h = log(s[i] / s[i + 1])
    r = np.array([log(s[i] / s[i - k]) / h for k in range(1, order)] + [1.0])
    hh = -h
    B = hh if variant == "bh1" else expm1(hh)
    R = np.stack([r**k for k in range(order)])
    b = np.empty(order)
    phi, factorial = expm1(hh) / hh - 1, 1
    for k in range(order):
        b[k] = phi * factorial / B
        factorial *= k + 2
        phi = phi / hh - 1 / factorial
    rho_p = np.array([0.5]) if order == 2 else np.linalg.solve(R[:-1, :-1], b[:-1])
    rho_c = np.array([0.5]) if order == 1 else np.linalg.solve(R, b)
    return _Step(
        x=s[i + 1] / s[i],
        m_0=-expm1(hh),
        predictor=(-B * rho_p / r[:-1]).tolist(),
        corrector=(-B * rho_c / r).tolist(),
    )


def _uni_pc(denoised: Denoised, x: Tensor, sigmas: Tensor, report: Report, variant: Literal["bh1", "bh2"]) -> Tensor:
    s = sigmas.tolist()
    n = len(s) - 1
    if n < 1:
        return x
    if s[-1] == 0:
        s[-1] = min(_SIGMA_END, s[-2] / 2)
    order = max(1, min(3, n - 1))
    steps = [_step(s, i, min(order, i + 1, n - i), variant) for i in range(n)]
    ms: list[Tensor] = []
    x_last = x
    for i, step in enumerate(steps):
        m = denoised(x, sigmas[i])
        report(i, x, m)
        if i > 0:
            last = steps[i - 1]
            x = x_last * last.x + ms[0] * last.m_0
            for c, m_k in zip(last.corrector, [*ms[1 : len(last.corrector)], m], strict=True):
                x = x + (m_k - ms[0]) * c
        ms = [m, *ms[:2]]
        x_last = x
        x = x * step.x + m * step.m_0
        for c, m_k in zip(step.predictor, ms[1:], strict=False):
            x = x + (m_k - m) * c
    return x


def uni_pc(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """UniPC with B(h) = h. The comfyui rule, which is ours, ends at sigma 2^-10 where the sigmas end with 0."""
    return _uni_pc(denoised, x, sigmas, report, "bh1")


def uni_pc_bh2(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """UniPC with B(h) = exp(h) - 1; ends like `uni_pc`."""
    return _uni_pc(denoised, x, sigmas, report, "bh2")
