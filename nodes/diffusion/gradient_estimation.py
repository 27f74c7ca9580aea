"""Sampling as gradient descent on the distance to the data (Permenter & Yuan 2023, "Interpreting and Improving
Diffusion Models from an Optimization Perspective", algorithm 2)."""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise

_GAMMA = 2.0  # the paper's value


def gradient_estimation(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """Euler steps along gamma d + (1 - gamma) d_old with gamma 2, one model call per step.

    The first step is along d; a step to 0 returns x0.
    """
    d_old: Tensor | None = None
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        d = (x - x0) / sigma
        if sigma_next == 0:
            x = x0
        else:
            estimate = d if d_old is None else d * _GAMMA + d_old * (1 - _GAMMA)
            x = x + estimate * (sigma_next - sigma)
        d_old = d
    return x
