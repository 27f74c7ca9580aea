"""iPNDM (Zhang & Chen 2023, "Fast Sampling of Diffusion Models with Exponential Integrator", section 3.4)."""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise

_WEIGHTS = ([1.0], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24])


def ipndm_v(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """`ipndm` with weights for steps of unlike length, those of its authors' code (diff-sampler).

    With equal steps they equal the weights of `ipndm`. With unequal steps they differ from the Adams-Bashforth weights
    of `lms`.
    """
    levels = sigmas.tolist()
    ds: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(pairwise(levels)):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        ds = [(x - x0) / sigma, *ds[:3]]
        if sigma_next == 0:
            x = x0
        else:
            steps = [levels[n + 1] - levels[n] for n in range(i, i - len(ds), -1)]
            for weight, d in zip(_uneven(steps), ds, strict=True):
                x = x + d * (weight * steps[0])
    return x


def _uneven(steps: list[float]) -> list[float]:
    """Return the weights of the last slopes. steps[0] is the next step, the others are the steps before it."""
    h, *old = steps
    if not old:
        return [1.0]
    a = old[0]
    second = h / a / 2
    weights = [1 + second, -second]
    if len(old) > 1:
        b = old[1]
        third = (1 - h**2 / (3 * a * (a + b))) / 2
        weights = [weights[0] + third, weights[1] - (1 + a / b) * third, third * a / b]
    if len(old) > 2:
        c = old[2]
        reach = h * (h + a) * (h + a + b) / (a * (a + b) * (a + b + c))
        fourth = ((1 - h / (3 * (h + a))) / 2 + (1 - h / (2 * (h + a))) * h / (6 * (h + a + b))) * reach
        ratio = a * (a + b) / (b * (b + c))
        weights = [
            weights[0] + fourth,
            weights[1] - (1 + a / b + ratio) * fourth,
            weights[2] + (a / b + ratio * (1 + b / c)) * fourth,
            -fourth * ratio * a / b,
        ]
    return weights


def ipndm(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """Adams-Bashforth of order 4 with the weights of equal steps, of lower orders while it starts.

    Unlike PNDM it needs only one model call in each of its first steps. A step to 0 returns x0.
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
