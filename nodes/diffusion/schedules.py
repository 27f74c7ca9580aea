"""Noise schedules: the sigmas at which a sampler calls the model, descending and ending with 0.

All schedules share one signature, `schedule(steps, table)`. `table` holds the model's sigmas in ascending order, one
per training timestep; the sigmas of a flow end at 1. The result is float32. The place of the rounding is part of the
definition, because a Brownian tree distinguishes sigmas that differ in the last digit: sigmas are float32, but their
logarithms are computed from the float64 table (with a float32 table `normal` and `sgm_uniform` may differ by 1e-7).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from latentloom.engine.errors import BadValueError

MOST_STEPS = 1_000_000  # of a schedule whose last steps a run takes
Schedule = Callable[[int, Tensor], Tensor]


def scaled_linear_table(beta_start: float = 0.00085, beta_end: float = 0.012, n: int = 1000) -> Tensor:
    """Return the sigmas of a model trained on betas with evenly spaced square roots (Rombach et al. 2022)."""
    return beta_table(betas_of(beta_start, beta_end, n, "scaled_linear"))


def betas_of(start: float, end: float, n: int, schedule: str, trained: Sequence[float] | None = None) -> Tensor:
    """Return the betas of the training, float64 [n].

    They are `trained` if given, else evenly spaced ("linear"), with evenly spaced square roots ("scaled_linear"), or
    from a squared cosine ("squaredcos_cap_v2", Nichol & Dhariwal 2021).
    """
    if trained:
        return torch.tensor(trained, dtype=torch.float64)
    if schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, n, dtype=torch.float64) ** 2
    if schedule == "linear":
        return torch.linspace(start, end, n, dtype=torch.float64)
    alpha_bar = torch.cos((torch.arange(n + 1, dtype=torch.float64) / n + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


def beta_table(betas: Tensor) -> Tensor:
    """Return the sigmas of a model trained on betas, float64.

    sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t), where alpha_bar_t = prod(1 - beta).
    """
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def zero_snr_table(table: Tensor) -> Tensor:
    """Convert a table to that of a model with zero terminal SNR (Lin et al. 2024, algorithm 1).

    sqrt(alpha_bar) is shifted to end at 0 and scaled to keep its first value. An infinite last sigma is not usable in
    computations, so the last alpha_bar is 2^-24, a sigma of 4096 (as in diffusers).
    """
    root = (1 + table**2) ** -0.5
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = root**2
    alpha_bar[-1] = 2**-24
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def _ending_with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas.float(), torch.zeros(1)])


def _bounds(table: Tensor) -> tuple[float, float]:
    """Return sigma_min and sigma_max, rounded to float32."""
    sigma_min, sigma_max = table[[0, -1]].float().tolist()
    return sigma_min, sigma_max


def _at_timesteps(t: Tensor, table: Tensor) -> Tensor:
    """Interpolate sigma at fractional timesteps, linearly in log sigma."""
    log_sigmas = table.log().float()
    low, high, w = t.floor().long(), t.ceil().long(), t.frac()
    return ((1 - w) * log_sigmas[low] + w * log_sigmas[high]).exp()


def _evenly(count: int, table: Tensor) -> Tensor:
    """Return `count` sigmas at evenly spaced timesteps, from the last to the first.

    The times of a flow end at its smallest sigma, which is already shifted, and are then shifted again like the table.
    diffusers and ComfyUI do the same.
    """
    if not is_flow(table):
        return _at_timesteps(torch.linspace(len(table) - 1, 0, count), table)
    times = torch.linspace(1, float(table[0]), count, dtype=torch.float64)
    shift = float(table[0] / (1 - table[0])) * (len(table) - 1)
    return shift * times / (1 + (shift - 1) * times)


def is_flow(table: Tensor) -> bool:
    """Whether the sigmas are those of a flow: they end at 1, which is pure noise."""
    return float(table[-1]) == 1


def normal(steps: int, table: Tensor) -> Tensor:
    """Timesteps evenly spaced from the last to the first ("linspace" in Lin et al. 2024, table 2)."""
    return _ending_with_zero(_evenly(steps, table))


def sgm_uniform(steps: int, table: Tensor) -> Tensor:
    """Timesteps evenly spaced from the last one, the first one left out (Stability AI's generative-models)."""
    return _ending_with_zero(_evenly(steps + 1, table)[:-1])


def simple(steps: int, table: Tensor) -> Tensor:
    """Every len(table)/steps-th sigma of the table, from the largest ("trailing" in Lin et al. 2024)."""
    stride = len(table) / steps
    return _ending_with_zero(table[[len(table) - 1 - int(i * stride) for i in range(steps)]])


def ddim_uniform(steps: int, table: Tensor) -> Tensor:
    """The DDIM paper's uniform stride, offset by one (Song et al. 2021, "leading" in Lin et al. 2024).

    It starts below sigma_max. It has more than `steps` steps if the remainder of len(table) / steps is large enough: 7
    gives 8, 12 gives 13.
    """
    stride = max(len(table) // steps, 1)
    return _ending_with_zero(table[1::stride].flip(0))


def karras(steps: int, table: Tensor, rho: float = 7.0) -> Tensor:
    """Karras et al. (2022), eq. 5: sigmas evenly spaced in sigma^(1/rho)."""
    sigma_min, sigma_max = _bounds(table)
    ramp = torch.linspace(0, 1, steps)
    min_inv_rho, max_inv_rho = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _ending_with_zero((max_inv_rho + ramp * (min_inv_rho - max_inv_rho)) ** rho)


def exponential(steps: int, table: Tensor) -> Tensor:
    """Sigmas evenly spaced in log sigma, the log-SNR schedule of DPM-Solver (Lu et al. 2022)."""
    sigma_min, sigma_max = _bounds(table)
    return _ending_with_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), steps).exp())


def beta(steps: int, table: Tensor, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Timesteps at the quantiles of a Beta(0.6, 0.6) distribution (Lee et al. 2024, "Beta Sampling is All You Need").

    As in ComfyUI, timesteps are rounded to integers and repeated ones are dropped, so large step counts give fewer.
    """
    quantiles = betaincinv(alpha, beta, 1 - np.linspace(0, 1, steps, endpoint=False))
    t = np.rint(quantiles * (len(table) - 1)).astype(np.int64)
    return _ending_with_zero(table[torch.from_numpy(t).unique_consecutive()])


def linear_quadratic(steps: int, table: Tensor, threshold: float = 0.025) -> Tensor:
    """Half of the steps descend linearly by `threshold` of sigma_max, the rest as a parabola (Polyak et al. 2024).

    With L linear steps the removed noise is threshold * i / L, then threshold + (threshold / L) u + c u^2 with
    u = i - L, where c is chosen so that the last value is 1.
    """
    sigma_max = _bounds(table)[1]
    L = steps // 2
    if L == 0:
        return torch.tensor([sigma_max, 0.0])
    slope = threshold / L
    c = (1 - slope * steps) / (steps - L) ** 2
    removed = [slope * i + c * max(i - L, 0) ** 2 for i in range(steps)]
    return _ending_with_zero(torch.tensor([1 - r for r in removed]) * sigma_max)


def kl_optimal(steps: int, table: Tensor) -> Tensor:
    """The schedule that is optimal in KL for a Gaussian (Sabour et al. 2024, "Align Your Steps", theorem 3.1)."""
    sigma_min, sigma_max = _bounds(table)
    w = torch.arange(steps) / max(steps - 1, 1)
    return _ending_with_zero((w * math.atan(sigma_min) + (1 - w) * math.atan(sigma_max)).double().tan())


AYS_SD1 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
"""The sigmas of 10 steps that Sabour et al. (2024) found for SD 1.5 and SDXL."""


def ays_sd1(steps: int, table: Tensor) -> Tensor:
    """Align Your Steps for SD 1.x (Sabour et al. 2024), log-linear between its sigmas for other numbers of steps."""
    return _aligned(AYS_SD1, steps, table)


def ays_sdxl(steps: int, table: Tensor) -> Tensor:
    """Align Your Steps for SDXL (Sabour et al. 2024), log-linear between its sigmas for other numbers of steps."""
    return _aligned(AYS_SDXL, steps, table)


def _aligned(sigmas: Sequence[float], steps: int, table: Tensor) -> Tensor:
    if is_flow(table):
        raise BadValueError(
            "the schedule is a list of sigmas for Stable Diffusion",
            expected="SD 1.x, SD 2.x or SDXL",
            got="a flow-matching model",
            hint="take 'simple' or 'beta'",
        )
    places = np.linspace(0, len(sigmas) - 1, steps + 1)
    found = np.exp(np.interp(places, np.arange(len(sigmas)), np.log(sigmas)))
    return _ending_with_zero(torch.from_numpy(found[:-1]))


def laplace(steps: int, table: Tensor, mu: float = 0.0, beta: float = 0.5) -> Tensor:
    """Quantiles of a Laplace distribution of the log SNR / 2, within the table (Hang & Gu 2024).

    Sigmas are clamped to the table and repeated ones are dropped, so large step counts give fewer.
    """
    sigma_min, sigma_max = _bounds(table)
    places = torch.linspace(0, 1, steps, dtype=torch.float64)
    distance = -torch.log(1 - 2 * (0.5 - places).abs() + 1e-5)
    sigmas = (mu + beta * torch.sign(0.5 - places) * distance).exp().clamp(sigma_min, sigma_max)
    return _ending_with_zero(sigmas.float().unique_consecutive())


def sd_turbo(steps: int, table: Tensor) -> Tensor:
    """The timesteps that SD Turbo and SDXL Turbo were distilled at (Sauer et al. 2023): the first of ten even ones.

    Ten steps at most.
    """
    tenth = len(table) // 10
    return _ending_with_zero(table[[len(table) - 1 - tenth * i for i in range(min(steps, 10))]])


def builtin_schedules() -> dict[str, Schedule]:
    """Return all schedules by name, in the order in which an interface shows them."""
    return {
        "normal": normal,
        "karras": karras,
        "exponential": exponential,
        "sgm_uniform": sgm_uniform,
        "simple": simple,
        "ddim_uniform": ddim_uniform,
        "beta": beta,
        "linear_quadratic": linear_quadratic,
        "kl_optimal": kl_optimal,
        "ays_sd1": ays_sd1,
        "ays_sdxl": ays_sdxl,
        "laplace": laplace,
        "sd_turbo": sd_turbo,
    }


def sigmas_for(
    schedule: Schedule, steps: int, table: Tensor, denoise: float = 1.0, discard_penultimate: bool = False
) -> Tensor:
    """Return the sigmas of a run of `steps` steps that removes only the last `denoise` (0..1) of the noise.

    They are the last steps + 1 sigmas of a schedule of int(steps / denoise) steps; denoise 0 gives no sigmas, so no
    steps. `discard_penultimate` requests one extra step and drops the smallest nonzero sigma, for samplers whose last
    model call is poor there. Repeated sigmas, which `simple` has above len(table) steps, are dropped.
    Raises ValueError for steps or denoise out of range, BadValueError if the schedule is too long.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not 0 <= denoise <= 1:
        raise ValueError(f"denoise must be 0..1, got {denoise}")
    if denoise == 0:
        return torch.empty(0)
    whole = denoise > 0.9999
    if steps / denoise > MOST_STEPS:
        raise BadValueError(
            "the schedule is too long: with denoise below 1 a run uses only its last steps",
            expected=f"at most {MOST_STEPS} steps, which are the steps of the run divided by denoise",
            got=f"{steps} / {denoise:g}",
        )
    total = steps if whole else int(steps / denoise)
    sigmas = schedule(total + 1, table) if discard_penultimate else schedule(total, table)
    if discard_penultimate:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    return (sigmas if whole else sigmas[-(steps + 1) :]).unique_consecutive()
