"""The update steps of DDPM, DDIM and LCM, written for x = x0 + sigma * noise.

In the papers' variables x_t = x / sqrt(sigma^2 + 1) and alpha_bar_t = 1 / (sigma^2 + 1).
"""

from itertools import pairwise

from torch import Tensor

from latentloom.nodes.diffusion.sampler import Denoised, Report, StepNoise


def ddim(denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report) -> Tensor:  # noqa: ARG001
    """Song et al. (2021), eq. 12 with eta 0: keep the predicted noise and lower its level.

    Equal to `euler` except for rounding.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        x = x0 + (x - x0) * (sigma_next / sigma)
    return x


def ddpm(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    s_noise: float = 1.0,
) -> Tensor:
    """Ho et al. (2020), eq. 6-7: draw from the posterior q(x_next | x, x0), with the smaller of the two variances.

    Its mean is x0 + r (x - x0) and its variance is sigma_next^2 (1 - r), where r = sigma_next^2 / sigma^2. A step to 0
    adds no noise. Equal to `euler_ancestral` except for rounding.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas.tolist())):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        r = (sigma_next / sigma) ** 2
        x = x0 + (x - x0) * r
        if sigma_next > 0:
            x = x + noise(sigmas[i], sigmas[i + 1]) * (sigma_next * (1 - r) ** 0.5 * s_noise)
    return x


def lcm(
    denoised: Denoised,
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    report: Report,
    s_noise: float = 1.0,
) -> Tensor:
    """Multistep consistency sampling of Luo et al. (2023): jump to x0, then add fresh noise of the next level.

    The paper's boundary scalings c_skip and c_out are left out (they are 0 and 1 at all but the smallest timesteps).
    """
    for i, sigma_next in enumerate(sigmas[1:].tolist()):
        x0 = denoised(x, sigmas[i])
        report(i, x, x0)
        x = x0 + noise(sigmas[i], sigmas[i + 1]) * (sigma_next * s_noise) if sigma_next > 0 else x0
    return x
