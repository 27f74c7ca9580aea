"""iPNDM (Zhang & Chen 2023, "Fast Sampling of Diffusion Models with Exponential Integrator", section 3.4)."""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise

_WEIGHTS = ([1.0], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24])


def ipndm(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """Adams-Bashforth of order 4 with the weights of equal steps, of lower orders while it starts.

    Unlike PNDM it needs no more than one model call in its first steps. A step to 0 gives x0.
    """
    ds: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        ds = [(x - x0) / sigma, *ds[:3]]
        if sigma_next == 0:
            x = x0
        else:
            for weight, d in zip(_WEIGHTS[len(ds) - 1], ds, strict=True):
                x = x + d * (weight * (sigma_next - sigma))
    return x
